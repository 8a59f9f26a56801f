"""What a sweep does. A folder holds the trials of one plan."""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lstm_jax.config import changes
from lstm_jax.runs.configs import find_task, text_of
from lstm_jax.sweeps.space import Space, described
from lstm_jax.training.metadata import Monitor
from lstm_jax.training.run_errors import RunError

SAMPLERS = ("tpe", "random")
FREE = frozenset(
    {
        "train.block",
        "train.checkpoint_every",
        "train.device_bytes",
        "train.tensorboard",
    }
)
"""Keys that may change while a sweep goes on: no result depends on them. So may the
places of the data."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a sweep does; the same for all of its processes."""

    spaces: Sequence[Space]
    constants: Sequence[str]
    """Overrides of the config that all trials share."""
    config: Any
    """The config without the keys that vary."""
    monitor: Monitor | None = None
    """The metric that trials are compared by; ``None`` where the data were not read.
    Its direction is that of the study."""
    sampler: str = "tpe"
    seed: int = 0
    prune: bool = False

    def record(self) -> dict[str, Any]:
        """The plan as JSON, kept in the study."""
        return {
            "space": described(self.spaces),
            "constants": [*self.constants],
            "config": text_of(self.config),
            "monitor": self.monitor and self.monitor.model_dump(),
            "sampler": self.sampler,
            "seed": self.seed,
            "prune": self.prune,
        }


def check_same_plan(directory: Path, known: Mapping[str, Any], plan: Plan) -> None:
    """Raises RunError if a sweep was started with another plan; names the difference.

    Args:
        directory: the folder of the sweep.
        known: the record of its plan.
        plan: the plan of this command.
    """
    now, moved = plan.record(), find_task(plan.config.task)[1].moved
    config = changes(tomllib.loads(known["config"]), tomllib.loads(now["config"]))
    config = {key: config[key] for key in config if key not in FREE | moved}
    settings = ("sampler", "seed", "prune")
    found = {
        "space": _differences(known["space"], now["space"]),
        "config": config,
        "metric": _differences(known["monitor"], now["monitor"] or known["monitor"]),
        "setting": _differences(
            {f"--{name}": known[name] for name in settings},
            {f"--{name}": now[name] for name in settings},
        ),
    }
    for kind, differences in found.items():
        for key, (before, after) in differences.items():
            raise RunError(
                f"{directory} is a sweep of another {kind}: {key} {_said(before)} "
                f"there, and {_said(after)} here; repeat the command that it was "
                f"started with, or name a new folder with --directory."
            )


def _differences(before, after):
    keys = [key for key in before | after if before.get(key) != after.get(key)]
    return {key: (before.get(key), after.get(key)) for key in keys}


def _said(value):
    return "is not set" if value is None else f"is {value}"
