"""A trained run, back in Python."""

import functools
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import PyTree
from lstm_jax.config import ConfigError
from lstm_jax.core.arguments import seed_key
from lstm_jax.runs.configs import (
    FREE_ON_RESUME,
    config_of,
    differences,
    find_task,
    make_task,
    monitor_of,
    read_config,
    rules,
)
from lstm_jax.runs.enough_memory import check_weights_fit
from lstm_jax.terminal import say
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.metadata import read_metadata
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.run_folder import Run
from lstm_jax.training.step import one_seed
from lstm_jax.training.task import Task
from lstm_jax.training.validation import Validation

SHOWN = 5
"""So many runs of a folder are named in an error."""


class Trained(NamedTuple):
    """A run that can be used."""

    run: Run
    task: Task
    params: PyTree
    """The best of every seed."""
    validation: Validation

    @property
    def seeds(self) -> int:
        return self.task.config.train.seeds

    @property
    def best_seed(self) -> int:
        """The index of the seed that was best in validation."""
        return self.validation.best_seed


def open_run(directory: str | Path) -> Run:
    """The run in a folder.

    Raises:
        RunError: there is no run; the message says what is there instead.
    """
    if os.path.isfile(directory):
        raise RunError(
            f"{directory} is a file, expected the folder of a run; list your runs with "
            f"lstm-jax runs FOLDER."
        )
    try:
        return Run.open(directory)
    except RunError as error:
        inside = _runs_in(directory)
        if not inside:
            raise
        more = ", ..." if len(inside) > SHOWN else ""
        raise RunError(
            f"{directory} is not a run, but a folder of runs; name one of them "
            f"({', '.join(inside[:SHOWN])}{more}), or list them with lstm-jax runs "
            f"{directory}."
        ) from error


def _runs_in(folder):
    """The runs one level below a folder that is not a run itself."""
    if not os.path.isdir(folder) or os.path.lexists(Path(folder) / "config.toml"):
        return []
    return sorted(str(path.parent) for path in Path(folder).glob("*/config.toml"))


def trained(directory: str | Path, overrides: Iterable[str] = ()) -> Trained:
    """A run with its best parameters, with ``overrides`` of its evaluation.

    Raises:
        RunError: there is no run, or it has no evaluation yet.
    """
    run = open_run(directory)
    config = config_of(run)
    kind = find_task(config.task)[1]
    config = config_of(run, _of_evaluation(overrides, kind.moved))
    metadata = read_metadata(run, kind.metadata_type)
    task = make_task(config, metadata)
    check_weights_fit(params_like(task))
    # On standard error: what is generated goes to standard output.
    warn = functools.partial(say, error=True)
    checkpoints = Checkpoints(run.path("checkpoints"), say=warn)
    step = checkpoints.last_good()
    if step is not None:
        check_checkpoint(run, config, metadata, checkpoints, step)
    best = None if step is None else checkpoints.restore_best(step, params_like(task))
    if step is None or best is None:
        raise RunError(
            f"{directory} has no checkpoint with an evaluation yet; train it further "
            f"with --resume."
        )
    history = checkpoints.facts(step)["validations"]
    validation = validation_of(task, history)
    return Trained(run, task, best, validation)


def validation_of(task: Task, history: Iterable[tuple[int, list[float]]]) -> Validation:
    """The best so far, patience and plateaus, from the evaluations of a run."""
    config = task.config
    monitor = monitor_of(config, task.metrics)
    return Validation.replay(rules(config, monitor), config.train.seeds, history)


def params_like(task: Task) -> PyTree:
    """The shapes of the parameters of a run, of all of its seeds."""
    seeds = task.config.train.seeds
    params = jax.eval_shape(lambda: task.init(seed_key(0)))
    if seeds == 1:
        return params
    stack = lambda p: jnp.stack([p] * seeds)
    return jax.eval_shape(lambda p: jax.tree.map(stack, p), params)


def check_checkpoint(
    run: Run,
    config: Any,
    metadata: Mapping[str, Any],
    checkpoints: Checkpoints,
    step: int,
) -> None:
    """Raises RunError if a checkpoint is of another run, config or number of seeds.

    Args:
        run: the run.
        config: its config.
        metadata: its metadata.
        checkpoints: where the checkpoint is.
        step: the step of the checkpoint.
    """
    folder, record = checkpoints.directory / str(step), checkpoints.record(step)
    remedy = (
        f"restore the checkpoints of {run.directory}, or use the run they belong to"
    )
    theirs = json.loads(record.get("run.json", "{}")).get("id", "")
    if theirs != metadata.get("id", ""):  # runs of older versions have none
        raise RunError(f"{folder} belongs to another run; {remedy}.")
    if record:
        # The whole config: keys that are newer have their defaults.
        kept = read_config(tomllib.loads(record["config.toml"]))
        free = FREE_ON_RESUME | find_task(config.task)[1].moved
        for key, (old, new) in differences(kept, config).items():
            if key not in free and not key.startswith("evaluation."):
                raise RunError(
                    f"{folder} was trained with {key}={old!r}, but "
                    f"{run.path('config.toml')} says {new!r}; {remedy}."
                )
    known, seeds = checkpoints.facts(step), config.train.seeds
    rows = [known["best_step"], *(losses for _, losses in known["validations"])]
    if any(len(row) != seeds for row in rows):
        raise RunError(f"{folder} has another number of seeds; {remedy}.")


def _of_evaluation(overrides, moved):
    """The overrides that a trained run may be used with; ConfigError for others."""
    overrides = [*overrides]
    for assignment in overrides:
        key = assignment.partition("=")[0].strip()
        if key not in moved and not key.startswith("evaluation."):
            places = " or ".join(f"{place}=VALUE" for place in sorted(moved))
            places = f", or {places} for data that moved" if places else ""
            raise ConfigError(
                f"{assignment} would change a run that is trained; only "
                f"evaluation.KEY=VALUE{places} can be set."
            )
    return overrides


def best_of(directory: str | Path) -> tuple[Run, Task, PyTree]:
    """A run, its task and the best parameters of its best seed; raises as `trained`."""
    found = trained(directory)
    params = one_seed(found.params, found.best_seed, found.seeds)
    return found.run, found.task, params
