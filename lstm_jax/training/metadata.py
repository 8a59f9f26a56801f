"""The types of run.json. Its values are used only if their types are right.

A task adds its own fields: see `lstm_jax.training.task.Task.metadata_type`.
"""

from typing import Any, Literal

import pydantic

from lstm_jax.training.run_errors import RunError
from lstm_jax.training.run_folder import RESTORED, Run


class Started(pydantic.BaseModel, strict=True):
    """One start of a run: the machine, the versions and the first step."""

    step: pydantic.NonNegativeInt
    """The step at which this start began."""
    device: str
    cores: int | None = None
    changed: dict[str, list[Any]] = {}
    """Config keys with another value from here on: the old one and the new one."""


class Origin(pydantic.BaseModel, strict=True):
    """The run whose best weights a run started from."""

    directory: str
    id: str
    seed: int
    best_step: int


class Monitor(pydantic.BaseModel, strict=True):
    """The metric that decides the best checkpoint, patience and plateau."""

    name: str = "valid_loss"
    better: Literal["lower", "higher"] = "lower"


class Metadata(pydantic.BaseModel, strict=True):
    """The fields that run.json has in every task. A task adds more."""

    parameters: int
    device: str
    python: str
    versions: dict[str, str]
    id: str = ""
    """The id of the run; runs of older versions have none."""
    monitor: Monitor = Monitor()
    seconds: pydantic.NonNegativeFloat = 0.0
    resumed: list[Started] = []
    diverged: dict[str, int] = {}
    """Seeds that diverged, and the step at which they did."""
    stopped_early: dict[str, int] = {}
    """Seeds whose patience ended, and the step at which it did."""
    init_from: Origin | None = None
    """The run whose weights it started from."""
    final_part: Literal["train", "valid", "test"] | None = None


def read_metadata(run: Run, kind: type[Metadata] = Metadata) -> dict[str, Any]:
    """Reads all of run.json.

    Args:
        run: the run.
        kind: the types of the required fields; other fields are allowed.

    Raises:
        RunError: the file is missing or corrupt, or a field is missing or has another
            type.
    """
    facts = run.read_json("run.json")
    try:
        kind.model_validate(facts)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        came = "" if first["type"] == "missing" else f" (it is {first['input']!r:.80})"
        raise RunError(
            f"{run.path('run.json')} is corrupt: {where}: {first['msg']}{came}; "
            f"{RESTORED}."
        ) from error
    return facts
