"""The types of run.json. What it says is used only if they are right.

A task adds what it describes itself: see `lstm_jax.training.task.Task.metadata_type`.
"""

from typing import Any, Literal

import pydantic

from lstm_jax.training.run_folder import RESTORED, Run, RunError


class Resumed(pydantic.BaseModel, strict=True):
    """Where and from which step a run was resumed."""

    step: pydantic.NonNegativeInt
    """The step from which it went on."""
    device: str


class Monitor(pydantic.BaseModel, strict=True):
    """The metric that best, patience and plateau go by."""

    name: str = "valid_loss"
    better: Literal["lower", "higher"] = "lower"


class Metadata(pydantic.BaseModel, strict=True):
    """What run.json holds, at least. A task extends it."""

    parameters: int
    device: str
    python: str
    versions: dict[str, str]
    id: str = ""
    """Of the run; runs of older versions have none."""
    monitor: Monitor = Monitor()
    seconds: pydantic.NonNegativeFloat = 0.0
    resumed: list[Resumed] = []
    diverged: dict[str, int] = {}
    final_part: Literal["train", "valid", "test"] | None = None


def read_metadata(run: Run, kind: type[Metadata] = Metadata) -> dict[str, Any]:
    """The contents of run.json, all of it.

    Args:
        run: the run.
        kind: the types that it must have; more is welcome.

    Raises:
        RunError: it is missing or corrupt, or something in it is missing or has
            another type.
    """
    facts = run.read_json("run.json")
    try:
        kind.model_validate(facts)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        came = "" if first["type"] == "missing" else f" (it is {first['input']!r:.80})"
        raise RunError(
            f"{run.path('run.json')} is damaged: {where}: {first['msg']}{came}; "
            f"{RESTORED}."
        ) from error
    return facts
