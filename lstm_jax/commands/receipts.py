"""What a receipt says of the recipe of a run, and whether it was followed."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NOT_THE_RECIPE = {
    "data.path",
    "run.directory",
    "train.block",
    "train.checkpoint_every",
}
"""What does not change what comes out: with other steps on the way, say, a run would
come to something that is of no recipe. What text there is at a path is looked at."""


def altering(overrides: Iterable[str]) -> list[str]:
    """Those that make another recipe of a config.

    >>> altering(["train.steps=2", "run.directory=/tmp/mine"])
    ['train.steps=2']
    """
    return [o for o in overrides if o.partition("=")[0] not in NOT_THE_RECIPE]


def recipe_of(config: Any) -> dict[str, Any]:
    """The values of a config, but for where things were on one machine."""
    values = dataclasses.asdict(config)
    if "data" in values:
        values["data"]["path"] = Path(values["data"]["path"]).name
    return {key: values[key] for key in values if key not in ("run", "seed")}
