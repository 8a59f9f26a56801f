"""A config file becomes a config, a task, and the folder of a run."""

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lstm_jax.config import ConfigError, build, changes, dump, override, read
from lstm_jax.runs.old_keys import check_new, updated
from lstm_jax.tasks import TASKS
from lstm_jax.training import parallel
from lstm_jax.training.averaging import NtAsgd
from lstm_jax.training.metadata import Monitor
from lstm_jax.training.metrics import Metrics
from lstm_jax.training.run_folder import Run, RunConfig
from lstm_jax.training.schedules import Epochs, Plateau
from lstm_jax.training.task import Task
from lstm_jax.training.validation import Rules

FREE_ON_RESUME = parallel.KEYS | frozenset(
    {
        "optimizer.learning_rate",
        "run.directory",
        "train.block",
        "train.checkpoint_every",
        "train.device_bytes",
        "train.epochs",
        "train.evaluate_every",
        "train.patience",
        "train.steps",
        "train.tensorboard",
    }
)
"""Keys that may change on resume. So may the keys in ``moved`` of the task, which say
where the data are: the data themselves must be the same."""


def read_config(values: dict[str, Any], overrides: Iterable[str] = ()) -> Any:
    """The config of a task, from the values of a file.

    The file may have keys of older versions (`lstm_jax.runs.old_keys`), overrides not.

    Raises:
        ConfigError: naming what is wrong with it.
    """
    overrides = [*overrides]
    values = updated(values)
    # Once to learn the task, and then with the types of its keys.
    config_class, _ = find_task(override(values, overrides).get("task"))
    values = _one_length(override(values, overrides, config_class), overrides)
    check_new(values)
    return build(config_class, values)


def _one_length(values, overrides):
    """Drops ``train.epochs`` of the file if an override sets ``train.steps``, and drops
    ``train.steps`` if an override sets ``train.epochs``. TOML has no value that unsets
    a key."""
    named = {o.partition("=")[0].strip() for o in overrides}
    train = values.get("train")
    for one, other in (("steps", "epochs"), ("epochs", "steps")):
        only = f"train.{one}" in named and f"train.{other}" not in named
        if only and isinstance(train, dict):
            rest = {key: train[key] for key in train if key != other}
            return values | {"train": rest}
    return values


def config_of(run: Run, overrides: Iterable[str] = ()) -> Any:
    """The config of a run, from its config.toml; ConfigError names the file."""
    path = run.path("config.toml")
    values = read(path)
    try:
        config = read_config(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return read_config(values, overrides) if overrides else config


def find_task(name: Any) -> tuple[type, Any]:
    """The config and the class of a task; ConfigError where there is none."""
    if not isinstance(name, str) or name not in TASKS:
        near = difflib.get_close_matches(str(name), TASKS, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"task is {name!r}; valid: {', '.join(TASKS)}{hint}")
    return TASKS[name]


def make_task(config: Any, metadata: Mapping[str, Any] | None = None) -> Task:
    """The task of a config; with ``metadata``, that of a run that exists."""
    return find_task(config.task)[1](config, metadata)


def run_folder(config: Any, path: str | Path, overrides: Iterable[str]) -> Path:
    """The folder of the run of a config that was read from ``path``.

    The config.toml of a run stands for the folder it is in, which may have been moved
    or copied. Only the command line may name another folder.
    """
    named = any(o.partition("=")[0].strip() == "run.directory" for o in overrides)
    path = Path(path)
    parts = ("run.json", "metrics.jsonl", "checkpoints")
    is_run = any(os.path.lexists(path.with_name(part)) for part in parts)
    if not named and path.name == "config.toml" and is_run:
        return path.parent
    return Path(config.run.directory or Path("runs") / path.stem)


def text_of(config: Any) -> str:
    """A config as a run keeps it: without its folder, which may change."""
    return dump(dataclasses.replace(config, run=RunConfig()))


def differences(before: Any, after: Any) -> dict[str, tuple]:
    """The keys that two configs differ in, with both values."""
    return changes(tomllib.loads(text_of(before)), tomllib.loads(text_of(after)))


def monitor_of(config: Any, metrics: Metrics) -> Monitor:
    """The metric that a run goes by, of those of its task.

    Raises:
        ConfigError: the task does not have it.
    """
    name = config.train.monitor
    found = metrics.get(name.removeprefix("valid_"))
    if found is None or not name.startswith("valid_"):
        valid = ", ".join(f"valid_{known}" for known in metrics)
        raise ConfigError(f"train.monitor is {name!r}; valid: {valid}")
    return Monitor(name=name, better=found.better)


def rules(config: Any, monitor: Monitor | None = None) -> Rules:
    """What a run of this config does when validation gets no better."""
    optimizer, monitor = config.optimizer, monitor or Monitor()
    schedule, average = optimizer.schedule, optimizer.average
    falls = isinstance(schedule, Plateau)
    return Rules(
        patience=config.train.patience,
        plateau=schedule.after if falls else 0,
        decay=schedule.decay if falls else 1.0,
        non_monotone=average.after if isinstance(average, NtAsgd) else 0,
        higher_is_better=monitor.better == "higher",
    )


def total_steps(config: Any, steps_per_epoch: int | None) -> int:
    """Steps of the whole run; ConfigError where epochs are asked of endless data."""
    endless = steps_per_epoch is None
    if endless and isinstance(config.optimizer.schedule, Epochs):
        raise ConfigError(
            f"optimizer.schedule.kind is 'epochs', but the task {config.task} has "
            f"endless data; choose another schedule."
        )
    try:
        steps = config.train.total_steps(steps_per_epoch)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    every = config.optimizer.accumulate
    if steps % every:
        nearest = max(steps // every, 1) * every
        raise ConfigError(
            f"optimizer.accumulate is {every}, but {steps} is not a multiple of it: "
            f"the last {steps % every} steps would change nothing; set train.steps="
            f"{nearest}."
        )
    return steps
