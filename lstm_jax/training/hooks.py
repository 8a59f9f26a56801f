"""What happens between the steps of training: evaluations, checkpoints, logs."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lstm_jax._types import PyTree
from lstm_jax.training import processes
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.metrics import PLAIN, Metrics, finite, headline, mean, number
from lstm_jax.training.progress import ProgressReport
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.run_folder import Run
from lstm_jax.training.step import one_seed, set_controls
from lstm_jax.training.trainer import Diverged, Hook, Steps, Trainer
from lstm_jax.training.validation import Validation


class Log(Hook):
    """Writes the metrics of every step to ``metrics.jsonl``.

    Args:
        run: the run.
        learning_rate: step to learning rate.
        validation: knows the factors of the learning rates.
    """

    def __init__(self, run: Run, learning_rate: optax.Schedule, validation: Validation):
        self._run, self._validation = run, validation
        self._learning_rate = _in_chunks(learning_rate)

    def steps(self, trainer: Trainer, steps: Steps) -> None:
        self._run.log(self._lines(trainer, steps))

    def _lines(self, trainer, steps):
        losses = steps.metrics["loss"]
        numbers = np.arange(steps.first, steps.last + 1)
        there = np.isfinite(losses).any(1)
        numbers = numbers[there]
        over = (trainer.lost > 0) & (trainer.lost <= numbers[:, None])
        factors = np.where(over, np.nan, self._validation.rate)
        rates = [self._learning_rate(step) for step in (numbers - 1).tolist()]
        rates = np.nanmean(factors, 1) * rates
        columns: dict[str, list] = {"step": numbers.tolist()}
        for name, rows in steps.metrics.items():
            columns[name] = finite(_row_means(rows[there]))
            if name == "loss":
                columns["learning_rate"] = rates.tolist()
            if trainer.config.seeds > 1:
                each = "losses" if name == "loss" else f"{name}_each"
                columns[each] = [finite(row) for row in rows[there]]
        times = trainer.times()
        return [
            dict(zip(columns, line, strict=True)) | times
            for line in zip(*columns.values(), strict=True)
        ]


class Evaluate(Hook):
    """Evaluates every seed, keeps its best parameters, and applies early stopping, the
    plateau schedule and averaging.

    Args:
        every: steps between two evaluations.
        evaluate: parameters of one seed to metrics.
        run: where they are logged.
        validation: what evaluations have shown so far.
        metrics: how they are shown.
        monitor: the metric that ``validation`` goes by.
        best: the best parameters so far.
    """

    def __init__(
        self,
        every: int,
        evaluate: Callable[[PyTree], Mapping[str, float]],
        run: Run,
        validation: Validation,
        metrics: Metrics = PLAIN,
        monitor: str = "loss",
        best: PyTree = None,
    ):
        self.every, self.best, self.validation = every, best, validation
        self.evaluate, self._run = evaluate, run
        self._metrics, self._monitor = metrics, monitor

    def start(self, trainer: Trainer) -> None:
        trainer.stopped_early = self.validation.has_ended

    def at(self, trainer: Trainer) -> None:
        if not trainer.live.any():
            return
        seeds, weights = trainer.config.seeds, trainer.weights
        found: list[Mapping[str, float]] = [
            {} if trainer.lost[i] else self.evaluate(one_seed(weights, i, seeds))
            for i in range(seeds)
        ]
        found = [_of_first(metrics) for metrics in found]
        values = self._values(trainer, found)
        pairs = zip(found, values, strict=True)
        found = [metrics if np.isfinite(value) else {} for metrics, value in pairs]
        if not any(found):  # nor had those that have stopped early
            return
        found = [self._with_monitored(metrics) for metrics in found]
        self._run.log([{"step": trainer.step} | _valid_line(found) | trainer.times()])
        before = self.validation.best[self.validation.best_seed]
        better = self.validation.add(trainer.step, values.tolist())
        if better.any():
            self.best = _take(better, trainer.state.weights, self.best)
        trainer.stopped_early = self.validation.has_ended
        now = set_controls(
            trainer.state, self.validation.rate, self.validation.averaging
        )
        controls = trainer.placement.everywhere(now.controls)
        trainer.state = now._replace(controls=controls)
        rules = self.validation.rules
        best = rules.is_better(values, than=before).any()
        trainer.say(self._sentence(trainer.step, found, best))

    def _with_monitored(self, metrics):
        """The metrics of an evaluation, the monitored one among them."""
        if not metrics:
            return metrics
        name = self._monitor
        return dict(metrics) | {name: _monitored(metrics, name, self._metrics)}

    def _values(self, trainer, found):
        """The monitored value of every seed; NaN of those that have diverged."""
        losses = np.array([metrics.get("loss", np.nan) for metrics in found])
        trainer.end_seeds(losses[None], trainer.step, "validation loss is {}")
        of = lambda metrics: _monitored(metrics, self._monitor, self._metrics)
        values = np.array([of(m) if m else np.nan for m in found])
        values = np.where(np.isfinite(losses), values, np.nan)
        what = f"validation {self._monitor.replace('_', ' ')} is {{}}"
        trainer.end_seeds(values[None], trainer.step, what)
        return values

    def _sentence(self, step, found, best):
        there = [metrics for metrics in found if metrics]
        name, metric = headline(self._metrics)
        said = " ".join(metric.say(metrics[name]) for metrics in there)
        watched = self._metrics.get(self._monitor)
        if watched and self._monitor != name and watched is not metric:
            values = [_monitored(m, self._monitor, self._metrics) for m in there]
            each = " ".join(
                f"{number(value)} {watched.unit}".rstrip() for value in values
            )
            said += f", {self._monitor.replace('_', ' ')} {each}"
        star = " (best so far)" if best else ""
        return f"step {step:,} · validation {said}{star}"

    def facts(self) -> Mapping[str, Any]:
        return {
            "validations": self.validation.history,
            "best_step": self.validation.best_step.tolist(),
        }


class Save(Hook):
    """Saves checkpoints.

    Args:
        every: steps between two checkpoints.
        run: its metrics reach the disk first, so that no checkpoint is ahead of them.
        checkpoints: where they go.
        evaluation: has the best parameters.
    """

    def __init__(
        self, every: int, run: Run, checkpoints: Checkpoints, evaluation: Evaluate
    ):
        self.every, self._run, self._checkpoints = every, run, checkpoints
        self._evaluation = evaluation
        self._saved = checkpoints.steps[-1] if checkpoints.steps else None

    def at(self, trainer: Trainer) -> None:
        if trainer.step == self._saved:
            return
        found = _zero_or_nan(trainer.state.params, trainer.config.seeds)
        found = np.asarray(trainer.placement.whole(found))
        trainer.end_seeds(found, trainer.step, "a parameter is not finite")
        self._run.sync()
        facts = trainer.facts()
        self._checkpoints.save(trainer.state, self._evaluation.best, facts)
        self._saved = trainer.step

    def end(self, trainer: Trainer) -> None:
        self.at(trainer)
        self._checkpoints.wait()


class Progress(Hook):
    """Shows progress. It must be the last hook. ``Trainer.say`` prints through it.

    Args:
        report: what the user sees.
    """

    def __init__(self, report: ProgressReport):
        self._report = report

    def start(self, trainer: Trainer) -> None:
        self._report.__enter__()

    def steps(self, trainer: Trainer, steps: Steps) -> None:
        values = {
            name: _weighted_mean(values, steps.weights[name])
            for name, values in steps.metrics.items()
        }
        self._report.update(steps.last, values)

    def close(self) -> None:
        self._report.__exit__()


def _of_first(metrics):
    """The metrics of process 0, by which all processes go on."""
    if not metrics:
        return metrics
    values = processes.of_first([*metrics.values()])
    return dict(zip(metrics, values.tolist(), strict=True))


def explain(error: Diverged, checkpoints: Checkpoints) -> Diverged:
    """The error with what is left of the run, and what to do."""
    checkpoints.wait()
    steps = checkpoints.steps
    if not steps:
        return Diverged(
            f"{error}; there is no checkpoint yet. Lower optimizer.learning_rate or "
            f"optimizer.clip_norm and begin a new run."
        )
    return Diverged(
        f"{error}; the last good checkpoint is kept, that of step {steps[-1]:,}. Lower "
        f"optimizer.learning_rate and add --resume, or begin a new run with a lower "
        f"optimizer.clip_norm."
    )


def _monitored(found, name, metrics):
    """A metric of an evaluation, computed from another one where it is of that."""
    if name in found:
        return found[name]
    if metrics[name].of not in found:
        raise RunError(
            f"train.monitor is valid_{name}, which this evaluation does not have; it "
            f"has {', '.join(f'valid_{known}' for known in found)}."
        )
    return metrics[name].convert(found[metrics[name].of])


def _row_means(rows):
    """The mean over seeds of each row, of those that are there; NaN where none is."""
    there = np.isfinite(rows)
    count = there.sum(1)
    total = np.where(there, rows, 0.0).sum(1)
    return np.where(count, total / np.maximum(count, 1), np.nan).tolist()


def _weighted_mean(values, weights):
    """The mean over steps and seeds of the values that are finite."""
    weights = np.where(np.isfinite(values), weights, 0.0)
    total = (np.where(weights > 0, values, 0.0) * weights).sum()
    return float(total / weights.sum()) if weights.any() else None


def _valid_line(found: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The metrics of all seeds: their mean, and where there are several each."""
    line = {}
    for name in next(filter(None, found)):
        values = finite([metrics.get(name, np.nan) for metrics in found])
        line[f"valid_{name}"] = mean(values)
        if len(values) > 1:
            line[f"valid_{name}_each"] = values
    return line


def _take(better, weights, best):
    """A copy of the weights, of those seeds that are better."""
    if best is None or better.size == 1:
        return jax.tree.map(jnp.copy, weights)
    pick = lambda new, old: jnp.where(
        better.reshape(-1, *[1] * (new.ndim - 1)), new, old
    )
    return jax.tree.map(pick, weights, best)


def _in_chunks(schedule, size=1024):
    """``schedule`` for a step at a time, computed for many in one call.

    XLA rounds otherwise in an array of another length. Chunks that do not depend on the
    blocks give a step the same bits however a run was cut.
    """

    @functools.lru_cache(maxsize=2)
    def chunk(n):
        return np.asarray(jax.vmap(schedule)(n * size + jnp.arange(size)))

    return lambda step: float(chunk(step // size)[step % size])


@functools.partial(jax.jit, static_argnums=1)
def _zero_or_nan(params, seeds):
    """``[1, S]``: 0 where all parameters of a seed are finite, else NaN."""
    by_seed = lambda leaf: leaf.reshape(seeds, -1)
    good = [jnp.isfinite(by_seed(leaf)).all(1) for leaf in jax.tree.leaves(params)]
    return jnp.where(jnp.stack(good).all(0), 0.0, jnp.nan)[None]
