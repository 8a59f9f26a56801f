"""What a receipt says of the recipe of a run, whether it was followed, and where."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lstm_jax.runs.load import Trained

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

    >>> altering(["train.steps=2", "run.directory=runs/mine"])
    ['train.steps=2']
    """
    return [o for o in overrides if o.partition("=")[0] not in NOT_THE_RECIPE]


def recipe_of(config: Any) -> dict[str, Any]:
    """The values of a config, but for where things were on one machine."""
    values = dataclasses.asdict(config)
    if "data" in values:
        values["data"]["path"] = Path(values["data"]["path"]).name
    return {key: values[key] for key in values if key not in ("run", "seed")}


def machine_of(runs: Iterable[Trained]) -> dict[str, Any]:
    """Where runs were trained: a list where it was not the same for all of them, or for
    all parts of one that was resumed."""
    parts = [part for run in runs for part in _parts(run)]
    found = {}
    for name in ("cpu", "cores", "device"):
        # In the order in which they came; None of runs older than the fact.
        values = list(dict.fromkeys(part.get(name) for part in parts))
        found[name] = values[0] if len(values) == 1 else values
    return found


def _parts(run):
    """The facts of every process of whose steps some are left in a run."""
    facts, last = run.run.read_json("run.json"), run.validation.history[-1][0]
    resumed = facts.get("resumed", [])
    starts = [0, *(part["step"] for part in resumed)]
    # Of a part is left what no later one has gone back behind.
    parts = zip([facts, *resumed], starts, strict=True)
    return [
        p for n, (p, start) in enumerate(parts) if start < min([*starts[n + 1 :], last])
    ]
