"""What the commands start from: a config and its task, or a run and its weights."""

import difflib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import PyTree
from lstm_jax.config import ConfigError, build, override, read
from lstm_jax.tasks import TASKS
from lstm_jax.tasks.task import Task
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.record import Run, RunError
from lstm_jax.training.step import one_seed
from lstm_jax.training.validation import Rules, Validation


def read_config(values: dict[str, Any], overrides: Iterable[str] = ()) -> Any:
    """The config of a task, from the values of a file.

    Raises:
        ConfigError: naming what is wrong with it.
    """
    values = override(values, overrides)
    config_class, _ = find_task(values.get("task"))
    return build(config_class, values)


def find_task(name: Any) -> tuple[type, type[Task]]:
    """The config and the class of a task; ConfigError where there is none."""
    if not isinstance(name, str) or name not in TASKS:
        near = difflib.get_close_matches(str(name), TASKS, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"task is {name!r}; valid: {', '.join(TASKS)}{hint}")
    return TASKS[name]


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
    config = read_config(read(run.path("config.toml")), _of_evaluation(overrides))
    task = make_task(config, run.read_json("run.json"))
    # Not among what is generated, say.
    warn = lambda text: print(text, file=sys.stderr)
    checkpoints = Checkpoints(run.path("checkpoints"), say=warn)
    step = checkpoints.last_good()
    like = seed_axis(task.params, config.train.seeds)
    best = None if step is None else checkpoints.restore_best(step, like)
    if step is None or best is None:
        raise RunError(
            f"{directory} has no checkpoint with an evaluation yet; train it further."
        )
    history = checkpoints.facts(step)["validations"]
    validation = Validation.replay(rules(config), config.train.seeds, history)
    return Trained(run, task, best, validation)


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
