"""What the commands start from: a config and its task, or a run and its weights."""

import dataclasses
import difflib
import functools
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import PyTree
from lstm_jax.config import ConfigError, build, changes, dump, override, read
from lstm_jax.tasks import TASKS
from lstm_jax.tasks.task import RunConfig, Task
from lstm_jax.terminal import say
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.metadata import read_metadata
from lstm_jax.training.record import Run, RunError
from lstm_jax.training.step import one_seed
from lstm_jax.training.validation import Rules, Validation

FREE_ON_RESUME = {
    "data.path",
    "run.directory",
    "train.block",
    "train.checkpoint_every",
    "train.evaluate_every",
    "train.patience",
    "train.steps",
    "train.tensorboard",
}
"""Keys that a resumed run may have other values of; a text that has moved must still
be the same text."""


def read_config(values: dict[str, Any], overrides: Iterable[str] = ()) -> Any:
    """The config of a task, from the values of a file.

    Raises:
        ConfigError: naming what is wrong with it.
    """
    values = override(values, overrides)
    config_class, _ = find_task(values.get("task"))
    return build(config_class, values)


def config_of(run: Run, overrides: Iterable[str] = ()) -> Any:
    """The config that a run began with; ConfigError names its file."""
    path = run.path("config.toml")
    values = read(path)
    try:
        config = read_config(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return read_config(values, overrides) if overrides else config


def find_task(name: Any) -> tuple[type, type[Task]]:
    """The config and the class of a task; ConfigError where there is none."""
    if not isinstance(name, str) or name not in TASKS:
        near = difflib.get_close_matches(str(name), TASKS, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"task is {name!r}; valid: {', '.join(TASKS)}{hint}")
    return TASKS[name]


def run_folder(config: Any, path: str | Path, overrides: Iterable[str]) -> Path:
    """Where the run of a config is, which was read from ``path``.

    A run is where its folder is, whatever its config.toml said when it began: the
    folder may have been moved or copied since. Only the command line may name another.
    """
    named = any(o.partition("=")[0].strip() == "run.directory" for o in overrides)
    path = Path(path)
    parts = ("run.json", "metrics.jsonl", "checkpoints")
    is_run = any(os.path.lexists(path.with_name(part)) for part in parts)
    if not named and path.name == "config.toml" and is_run:
        return path.parent
    return Path(config.run.directory or Path("runs") / path.stem)


def text_of(config: Any) -> str:
    """A config as a run keeps it: all of it but its place, which may change."""
    return dump(dataclasses.replace(config, run=RunConfig()))


def differences(before: Any, after: Any) -> dict[str, tuple]:
    """The keys that two configs differ in, with both values."""
    return changes(tomllib.loads(text_of(before)), tomllib.loads(text_of(after)))


def make_task(config: Any, facts: Mapping[str, Any] | None = None) -> Task:
    """The task of a config."""
    return TASKS[config.task][1](config, facts)


def rules(config: Any) -> Rules:
    """How a run of this config answers to its validation losses."""
    optimizer = config.optimizer
    plateau = optimizer.schedule == "plateau"
    return Rules(
        patience=config.train.patience,
        plateau=optimizer.decay_after if plateau else 0,
        decay=optimizer.decay,
        non_monotone=optimizer.average_after if optimizer.average == "nt_asgd" else 0,
    )


def seed_axis(params: PyTree, seeds: int) -> PyTree:
    """Shapes of the parameters of so many seeds; ``params`` themselves for one."""
    if seeds == 1:
        return params
    stack = lambda p: jnp.stack([p] * seeds)
    return jax.eval_shape(lambda p: jax.tree.map(stack, p), params)


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
        """The index of the seed with the lowest validation loss."""
        return int(np.argmin(self.validation.best))


def trained(directory: str | Path, overrides: Iterable[str] = ()) -> Trained:
    """A run with its best parameters, to be evaluated as ``overrides`` say.

    Raises:
        RunError: there is none, or it has not come to an evaluation yet.
    """
    run = Run.open(directory)
    config = config_of(run, _of_evaluation(overrides))
    facts = read_metadata(run, find_task(config.task)[1].metadata_type)
    task = make_task(config, facts)
    # On standard error: what is generated goes to standard output.
    warn = functools.partial(say, error=True)
    checkpoints = Checkpoints(run.path("checkpoints"), say=warn)
    step = checkpoints.last_good()
    if step is not None:
        check_checkpoint(run, config, facts, checkpoints, step)
    like = seed_axis(task.params, config.train.seeds)
    best = None if step is None else checkpoints.restore_best(step, like)
    if step is None or best is None:
        raise RunError(
            f"{directory} has no checkpoint with an evaluation yet; train it further."
        )
    history = checkpoints.facts(step)["validations"]
    validation = Validation.replay(rules(config), config.train.seeds, history)
    return Trained(run, task, best, validation)


def check_checkpoint(
    run: Run, config: Any, facts: Mapping[str, Any], checkpoints: Checkpoints, step: int
) -> None:
    """Raises RunError if a checkpoint is of another run, config or number of seeds.

    Args:
        run: the run.
        config: its config.
        facts: its metadata.
        checkpoints: where the checkpoint is.
        step: the step of the checkpoint.
    """
    folder, record = checkpoints.directory / str(step), checkpoints.record(step)
    remedy = (
        f"bring the checkpoints of {run.directory} back, or use the run they are of"
    )
    theirs = json.loads(record.get("run.json", "{}")).get("id", "")
    if theirs != facts.get("id", ""):  # runs of older versions have none
        raise RunError(f"{folder} is a checkpoint of another run; {remedy}.")
    if record:
        # In full: keys may be newer than the checkpoint, and have their defaults.
        kept = read_config(tomllib.loads(record["config.toml"]))
        for key, (old, new) in differences(kept, config).items():
            if key not in FREE_ON_RESUME and not key.startswith("evaluation."):
                raise RunError(
                    f"{folder} was trained with {key}={old!r}, but "
                    f"{run.path('config.toml')} says {new!r}; {remedy}."
                )
    known, seeds = checkpoints.facts(step), config.train.seeds
    rows = [known["best_step"], *(losses for _, losses in known["validations"])]
    if any(len(row) != seeds for row in rows):
        raise RunError(f"{folder} is of another number of seeds; {remedy}.")


def _of_evaluation(overrides):
    """What a trained run may be used with otherwise than it was trained."""
    for assignment in overrides:
        if not assignment.startswith(("evaluation.", "data.path=")):
            raise ConfigError(
                f"{assignment} would change what was trained; expected "
                f"evaluation.KEY=VALUE, or data.path=FILE for a text that has moved."
            )
    return overrides


def best_of(directory: str | Path) -> tuple[Run, Task, PyTree]:
    """A run, its task and the best parameters of its best seed; raises as `trained`."""
    found = trained(directory)
    params = one_seed(found.params, found.best_seed, found.seeds)
    return found.run, found.task, params
