"""What a receipt says of the recipe of a run, whether it was followed, and where."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lstm_jax.runs.load import Trained
from lstm_jax.tasks import TASKS
from lstm_jax.training import parallel

NOT_THE_RECIPE = parallel.KEYS | frozenset(
    {"data.cache", "run.directory", "train.block", "train.checkpoint_every"}
)
"""What does not change what comes out: with other steps on the way, say, a run would
come to something that is of no recipe. What text there is at a path is looked at."""


NO_DATA = {"data.encoding", "data.column", "data.cache"}
"""Keys that say how data are read, not where they are."""


def data_paths(task: str) -> list[str]:
    """The keys of a task that have the path of a file.

    >>> data_paths("forecasting")
    ['data.path']
    """
    return sorted(TASKS[task][1].moved - NO_DATA)


def not_the_recipe(task: str) -> frozenset[str]:
    """Keys of a task that do not change what comes out."""
    return NOT_THE_RECIPE.union(data_paths(task))


def altering(overrides: Iterable[str], task: str) -> list[str]:
    """Those that make another recipe of a config.

    >>> altering(["train.steps=2", "data.path=my.csv"], "forecasting")
    ['train.steps=2']
    """
    free = not_the_recipe(task)
    return [o for o in overrides if o.partition("=")[0] not in free]


def recipe_of(config: Any) -> dict[str, Any]:
    """The values of a config, but for where things were on one machine."""
    values = dataclasses.asdict(config)
    for key in data_paths(config.task):
        table, _, name = key.partition(".")
        if values.get(table, {}).get(name):
            values[table][name] = Path(values[table][name]).name
    return {key: values[key] for key in values if key not in ("run", "seed")}


def machine_of(runs: Iterable[Trained]) -> dict[str, Any]:
    """The machine that runs were trained on; a list where there were several, also of
    one run that was resumed elsewhere."""
    parts = [part for run in runs for part in _parts(run)]
    found = {}
    for name in ("cpu", "cores", "device"):
        # In order of time; None if the run is older than this key.
        values = list(dict.fromkeys(part.get(name) for part in parts))
        found[name] = values[0] if len(values) == 1 else values
    return found


def _parts(run):
    """The metadata of every process whose steps are part of the run."""
    metadata, last = run.run.read_json("run.json"), run.validation.history[-1][0]
    resumed = metadata.get("resumed", [])
    starts = [0, *(part["step"] for part in resumed)]
    # A resume from an earlier checkpoint discards the steps after it.
    parts = zip([metadata, *resumed], starts, strict=True)
    return [
        p for n, (p, start) in enumerate(parts) if start < min([*starts[n + 1 :], last])
    ]
