"""Trials become runs: trained, continued, pruned or failed."""

import gc
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from lstm_jax.config import ConfigError
from lstm_jax.data.text import DataError
from lstm_jax.runs.configs import (
    make_task,
    monitor_of,
    read_config,
    rules,
    total_steps,
)
from lstm_jax.runs.init_from import source_of
from lstm_jax.runs.train import train_run
from lstm_jax.sweeps.plan import Plan
from lstm_jax.sweeps.study import Sweep, Trial
from lstm_jax.tables import figure
from lstm_jax.terminal import say
from lstm_jax.training.metadata import Monitor
from lstm_jax.training.run_folder import Run
from lstm_jax.training.trainer import Diverged
from lstm_jax.training.validation import Validation

POLL_SECONDS = 0.5
"""How often to look whether the trials of other processes have finished."""

FORGET_AFTER = 8
"""After so many trials, compiled programs are dropped. They take memory, and few trials
can use those of another."""


def metric_of(config: Any) -> Monitor:
    """The metric that trials of a config are compared by; reads the data.

    Raises:
        ConfigError: the task does not have it.
        DataError: the data cannot be read.
    """
    source = source_of(config)
    task = make_task(config, source and source.learned)
    return monitor_of(config, task.metrics)


def work(
    sweep: Sweep,
    plan: Plan,
    values: Mapping[str, Any],
    count: int,
    stopping: Callable[[], bool] = lambda: False,
) -> str | None:
    """Trains trials until all have finished, also those of other processes.

    A process that ends leaves its trial to the others.

    Args:
        sweep: the sweep.
        plan: its plan.
        values: the values of the config file.
        count: the number of trials.
        stopping: whether to stop after the trial that is being trained.

    Returns:
        The signal that stopped it; ``None`` if all trials have finished.

    Raises:
        RunError: a folder cannot be read or written.
    """
    waits, trained = False, 0
    while not sweep.is_done(count):
        trial = sweep.claim(plan, count)
        if trial is None:
            if not waits:
                say("waiting for the trials of other processes.")
            waits = True
            time.sleep(POLL_SECONDS)
            continue
        waits = False
        try:
            say(f"\ntrial {trial.number} of {count}: {' '.join(trial.sampled)}")
            stopped_by = train_trial(trial, sweep.monitor, values)
        finally:
            trial.give_back()
        if stopped_by or stopping():
            return stopped_by or "a request"
        trained += 1
        if trained % FORGET_AFTER == 0:
            jax.clear_caches()
            gc.collect()
    return None


def train_trial(
    trial: Trial, monitor: Monitor, values: Mapping[str, Any]
) -> str | None:
    """Trains a trial from wherever its run is, and finishes it in the study.

    A trial that does not fit its config, its data or the memory fails, and so does one
    that diverges.

    Args:
        trial: the trial.
        monitor: the metric that trials are compared by.
        values: the values of the config file.

    Returns:
        The signal that stopped it; ``None`` if the trial has finished.
    """
    try:
        config = read_config(dict(values), trial.overrides)
        watch = Watch(trial, monitor, config)
        begun = Run(trial.directory).has_begun
        outcome = train_run(config, trial.directory, resume=begun, listeners=[watch])
        by_user = outcome.stopped_by not in (None, STOP.name)
        if watch.stops:
            trial.pruned()
            say(f"trial {trial.number} is pruned at step {outcome.step:,}.")
            return outcome.stopped_by if by_user else None
        if not outcome.complete:
            return outcome.stopped_by
        value = value_of(outcome.run, config, monitor)
    except (ConfigError, DataError, Diverged) as error:
        return _fail(trial, error)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _fail(trial, "the device has not enough memory")
    trial.complete(value)
    say(f"trial {trial.number}: {monitor.name.replace('_', ' ')} {figure(value)}")
    return None


def _fail(trial, reason):
    trial.failed(str(reason))
    say(f"trial {trial.number} failed: {reason}")


STOP = signal.SIGTERM
"""A trial that is pruned asks its trainer to stop and save, as this signal does."""


class Watch:
    """Reports the evaluations of a run; stops the run if its trial is pruned.

    Args:
        trial: the trial.
        monitor: the metric to report.
        config: the config of the run.
    """

    def __init__(self, trial: Trial, monitor: Monitor, config: Any):
        self._trial, self._name = trial, monitor.name
        # With epochs the data decide, and the last step is not known here.
        self._last = total_steps(config, 1) if config.train.epochs is None else None
        self.stops = False
        """Whether the trial is pruned."""

    def __call__(self, lines: Iterable[Mapping[str, Any]]) -> None:
        for line in lines:
            value = line.get(self._name)
            if value is None or self.stops:
                continue
            self._trial.report(line["step"], value)
            # Pruning after the last step would save nothing.
            if line["step"] != self._last and self._trial.should_stop():
                self.stops = True
                signal.raise_signal(STOP)

    def close(self) -> None:
        """Nothing is left to do when the run ends."""


def value_of(run: Run, config: Any, monitor: Monitor) -> float:
    """The value of a trial: the mean over seeds of the best monitored metric.

    Args:
        run: a run that is complete.
        config: its config.
        monitor: the metric.

    Raises:
        Diverged: a seed diverged before its first evaluation.
    """
    seeds, name = config.train.seeds, monitor.name
    history = []
    for line in run.evaluations():
        if name in line:
            each = line[f"{name}_each"] if seeds > 1 else [line[name]]
            history.append((line["step"], np.array(each, float)))
    best = Validation.replay(rules(config, monitor), seeds, history).best
    if not np.isfinite(best).all():
        lost = config.seed + int(np.isfinite(best).argmin())
        raise Diverged(f"seed {lost} diverged before its first evaluation")
    return float(best.mean())
