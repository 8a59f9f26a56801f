"""The training loop: blocks of steps, evaluation, checkpoints, clean stops."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from pydantic import NonNegativeInt, PositiveInt

from lstm_jax._types import PyTree
from lstm_jax.config import config
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.progress import PLAIN, ProgressReport, Unit
from lstm_jax.training.record import Run
from lstm_jax.training.seeds import finite, mean
from lstm_jax.training.step import TrainState, one_seed, set_controls
from lstm_jax.training.stop import stop_requests
from lstm_jax.training.validation import Validation


@config
class TrainConfig:
    """How long to train, and how often to do what."""

    steps: PositiveInt = 1000
    """Steps of the run."""
    batch_size: PositiveInt = 32
    """Sequences of a step."""
    block: PositiveInt = 500
    """Steps in one jitted call, at most; fewer where they would take long."""
    evaluate_every: PositiveInt = 200
    """Steps between two evaluations."""
    checkpoint_every: PositiveInt = 200
    """Steps between two checkpoints."""
    patience: NonNegativeInt = 0
    """Evaluations without a better one after which the run stops; 0: never."""
    seeds: PositiveInt = 1
    """Models trained in one program: those of `seed`, `seed` + 1, ..."""
    tensorboard: bool = False
    """Whether event files for TensorBoard are written; needs the extra `plots`."""


BLOCK_SECONDS = 1.0
"""What a block takes, or one step where that takes longer: a request to stop waits for
two of them."""


class Diverged(RuntimeError):
    """A loss or a parameter is not finite any more, of the last seed that was."""


class Loop:
    """A run under way: the state, the best so far, and where everything is kept.

    Args:
        state: where to start; donated.
        data: what ``block`` reads, on the device.
        block: from `lstm_jax.training.step.make_block`.
        evaluate: parameters of one seed to figures, of which ``loss`` decides.
        config: see `TrainConfig`.
        learning_rate: step to learning rate, for the record.
        run, checkpoints: where everything is kept.
        validation: what evaluations have shown before ``state``.
        best: the best parameters before ``state``.
        unit, items: the words of the task, and how many items a step takes.
        seconds: what it took to come to ``state``.
        lost: for every seed the step at which it was not finite any more, or 0.
    """

    def __init__(
        self,
        state: TrainState,
        data: PyTree,
        block: Callable[[TrainState, PyTree, int], tuple[TrainState, jax.Array]],
        *,
        evaluate: Callable[[PyTree], Mapping[str, float]],
        config: TrainConfig,
        learning_rate: optax.Schedule,
        run: Run,
        checkpoints: Checkpoints,
        validation: Validation,
        best: PyTree = None,
        unit: Unit = PLAIN,
        items: int = 1,
        seconds: float = 0.0,
        lost: Sequence[int] | None = None,
    ):
        self.was_asked_to_stop = False
        self._began = time.monotonic() - seconds
        self.state, self.best, self.validation = state, best, validation
        self._data, self._block, self._evaluate = data, block, evaluate
        self._config, self._run, self._checkpoints = config, run, checkpoints
        self._learning_rate = _in_chunks(learning_rate)
        self._unit, self._items = unit, items
        self._step = int(state.step)
        self._saved = checkpoints.steps[-1] if checkpoints.steps else None
        self._step_seconds = BLOCK_SECONDS  # until it is known
        self.lost = np.array(lost or [0] * config.seeds)

    def run(self) -> bool:
        """Trains to the end and records everything.

        Returns:
            Whether the run is complete: after Ctrl-C or SIGTERM it is not, and the
            state has been saved.

        Raises:
            Diverged: a loss or a parameter is not finite, of every seed; checkpoints
                made before are kept. One seed among others ends alone, and what
                becomes of one that patience has ended does not matter.
            RunError: the disk is full, or the folder cannot be written any more.
        """
        config = self._config
        with (
            stop_requests() as stop,
            ProgressReport(config.steps, self._step, self._items, self._unit) as report,
        ):
            while not self._is_over() and not stop.is_set():
                before = self._step
                self._train_to_next_stop(stop, report)
                step, last = self._step, self._step == config.steps
                if step == before:  # asked to stop in the meantime
                    break
                if stop.is_set() and not last and step % config.evaluate_every:
                    break
                if self._live.any() and (last or step % config.evaluate_every == 0):
                    self._validate(report)
                if last or step % config.checkpoint_every == 0:
                    self._save(report)
            self._save(report)
            self._checkpoints.wait()
            self.was_asked_to_stop = stop.is_set()
        return self._is_over()

    @property
    def seconds(self) -> float:
        """What it took to come here, with what was before a resumption, as far as it is
        in the state."""
        return time.monotonic() - self._began

    def _is_over(self):
        return self._step >= self._config.steps or not self._live.any()

    @property
    def _live(self):
        """The seeds that have something to gain from more steps."""
        return (self.lost == 0) & ~self.validation.has_ended

    def _train_to_next_stop(self, stop, report):
        """Blocks up to the next evaluation or checkpoint.

        The device has the next block at hand while the losses of the last one are
        written down.
        """
        end, dispatched, pending = self._next_stop(), self._step, None
        self._recorded = time.monotonic()
        while dispatched < end or pending is not None:
            began = None
            if dispatched < end and self._live.any() and not stop.is_set():
                affordable = max(int(BLOCK_SECONDS / self._step_seconds), 1)
                n = min(end - dispatched, self._config.block, affordable)
                self.state, losses = self._block(self.state, self._data, n)
                began, dispatched = (losses, n), dispatched + n
            elif pending is None:
                break
            if pending is not None:
                self._record(*pending, report)
            pending = began

    def _next_stop(self):
        config, step = self._config, self._step
        every = (config.evaluate_every, config.checkpoint_every)
        return min(config.steps, *(step - step % n + n for n in every))

    def _record(self, losses, n, report):
        losses, now = np.asarray(losses)[:n], time.monotonic()
        self._step_seconds = max(now - self._recorded, 1e-9) / n
        self._recorded = now
        rows = losses.reshape(n, -1)
        try:
            self._end_seeds(rows, self._step + 1, "loss is {}", report)
        finally:  # what led to a divergence is kept, too
            lines = self._lines(rows)
            self._run.log(lines)
        self._step += n
        report.update(self._step, mean([line["loss"] for line in lines]))

    def _lines(self, rows):
        """What is logged of the next steps, with their losses ``[n, S]``."""
        steps = np.arange(self._step + 1, self._step + len(rows) + 1)
        over = (self.lost > 0) & (self.lost <= steps[:, None])
        rows = np.where(np.isfinite(rows) & ~over, rows.astype(float), np.nan)
        there = np.isfinite(rows).any(1)
        steps, over, rows = steps[there], over[there], rows[there]
        factors = np.where(over, np.nan, self.validation.rate)
        rates = [self._learning_rate(step) for step in (steps - 1).tolist()]
        rates = np.nanmean(factors, 1) * rates
        columns = (steps.tolist(), np.nanmean(rows, 1).tolist(), rates.tolist())
        lines: list[dict[str, Any]] = [
            {"step": step, "loss": loss, "learning_rate": rate}
            for step, loss, rate in zip(*columns, strict=True)
        ]
        if self._config.seeds > 1:
            for line, row in zip(lines, rows, strict=True):
                line["losses"] = finite(row)
        return lines

    def _validate(self, report):
        """Evaluates every seed; keeps those at their best, and obeys what follows."""
        seeds, weights = self._config.seeds, self.state.weights
        figures: list[Mapping[str, float]] = [
            {} if self.lost[i] else self._evaluate(one_seed(weights, i, seeds))
            for i in range(seeds)
        ]
        losses = np.array([figure.get("loss", np.inf) for figure in figures])
        self._end_seeds(losses[None], self._step, "validation loss is {}", report)
        figures = [
            figure if np.isfinite(loss) else {}
            for figure, loss in zip(figures, losses, strict=True)
        ]
        if not any(figures):  # nor had those that patience has ended
            return
        self._run.log([{"step": self._step} | _valid_line(figures)])
        losses = np.where(np.isfinite(losses), losses, np.inf).tolist()
        best_before = self.validation.best.min()
        better = self.validation.add(self._step, losses)
        if better.any():
            self.best = _take(better, weights, self.best)
        self.state = set_controls(
            self.state, self.validation.rate, self.validation.averaging
        )
        kept = [loss for loss in losses if np.isfinite(loss)]
        said = " ".join(self._unit.say(loss) for loss in kept)
        star = " (best so far)" if min(kept) < best_before else ""
        report.say(f"step {self._step:,} · validation {said}{star}")

    def _save(self, report):
        if self._step == self._saved:
            return
        found = _zero_or_nan(self.state.params, self._config.seeds)
        self._end_seeds(found, self._step, "a parameter is not finite", report)
        self._run.sync()
        facts = {
            "validations": self.validation.history,
            "best_step": self.validation.best_step.tolist(),
            "seconds": self.seconds,
            "lost": self.lost.tolist(),
        }
        self._checkpoints.save(self.state, self.best, facts)
        self._saved = self._step

    def _end_seeds(self, values, step, what, report):
        """A seed with a value that is not finite is over, and the run with the last.

        Values are ``[n, S]``, of ``step`` and those that follow.
        """
        good = np.isfinite(values)
        # One that patience has ended has its best, whatever becomes of it.
        new = ~good.all(0) & (self.lost == 0) & ~self.validation.has_ended
        first = good.argmin(0)  # the first that is not finite
        ends = [
            (step + int(first[n]), what.format(values[first[n], n]), n)
            for n in np.flatnonzero(new)
        ]
        self.lost[new] = step + first[new]
        if ends and self.lost.all():
            at, said, _ = max(ends)
            raise self._diverged(said, at)
        for at, said, n in sorted(ends):
            report.say(f"seed+{n} is over: {said} at step {at:,}.")

    def _diverged(self, what, step):
        self._checkpoints.wait()
        steps = self._checkpoints.steps
        kept = "there is no checkpoint yet"
        if steps:
            kept = f"the last good checkpoint is kept, that of step {steps[-1]:,}"
        return Diverged(
            f"{what} at step {step:,}; {kept}. "
            f"Lower optimizer.learning_rate or optimizer.clip_norm and start again."
        )


def _valid_line(figures: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The figures of all seeds: their mean, and where there are several each."""
    line = {}
    for name in next(filter(None, figures)):
        values = finite([figure.get(name, np.nan) for figure in figures])
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
