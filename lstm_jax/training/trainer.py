"""The training loop: blocks of steps, hooks between them, clean stops.

The trainer knows no task. It takes steps and calls hooks (`lstm_jax.training.hooks`),
which evaluate, save, log and show what has happened.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from lstm_jax._types import PyTree
from lstm_jax.config import Count, config
from lstm_jax.training.batches import Batches
from lstm_jax.training.step import TrainState
from lstm_jax.training.stop import stop_requests


@config
class TrainConfig:
    """How long to train, and how often to do what."""

    steps: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    """Steps of the run; 1000 where `epochs` is not set either."""
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Epochs of the run, instead of `steps`."""
    batch_size: Count = 32
    """Sequences of a step."""
    block: Count = 500
    """Steps in one jitted call, at most; fewer where they would take long."""
    evaluate_every: PositiveInt = 200
    """Steps between two evaluations."""
    checkpoint_every: PositiveInt = 200
    """Steps between two checkpoints."""
    monitor: str = "valid_loss"
    """The validation metric that chooses the best checkpoint and that `patience` and
    the schedule `plateau` go by."""
    patience: NonNegativeInt = 0
    """Evaluations without a better one after which the run stops; 0: never."""
    seeds: Annotated[int, Field(ge=1, le=1024)] = 1
    """Models trained in one program: those of `seed`, `seed` + 1, ... Batches of the
    host come in the order of `seed` for all of them."""
    tensorboard: bool = False
    """Whether event files for TensorBoard are written; needs the extra `plots`."""

    def __post_init__(self):
        if self.steps is not None and self.epochs is not None:
            raise ValueError(
                f"steps={self.steps} and epochs={self.epochs} both say how long to "
                f"train; leave one of them out"
            )

    def total_steps(self, steps_per_epoch: int | None) -> int:
        """Steps of the whole run.

        Raises:
            ValueError: ``epochs`` is set, but data never end.
        """
        if self.epochs is None:
            return self.steps or 1000
        if steps_per_epoch is None:
            raise ValueError(
                f"train.epochs is {self.epochs}, but the data of this task never end; "
                f"set train.steps instead."
            )
        return self.epochs * steps_per_epoch


BLOCK_SECONDS = 1.0
"""What a block takes, or one step where that takes longer: a request to stop waits for
two of them."""


class Diverged(RuntimeError):
    """A loss or a parameter is not finite any more, of the last seed that was."""


class Steps(NamedTuple):
    """What happened in some steps."""

    first: int
    """The number of the first step."""
    metrics: dict[str, np.ndarray]
    """The metrics of every step and seed ``[n, S]``; NaN where a seed has diverged."""

    @property
    def last(self) -> int:
        return self.first + len(next(iter(self.metrics.values()))) - 1


class Hook:
    """Something that happens during training; a hook overrides what it needs."""

    every: int | None = None
    """`at` is called after every so many steps, and after the last one."""

    def start(self, trainer: "Trainer") -> None:
        """Before the first step."""

    def steps(self, trainer: "Trainer", steps: Steps) -> None:
        """After a block of steps."""

    def at(self, trainer: "Trainer") -> None:
        """After a step that `every` names."""

    def end(self, trainer: "Trainer") -> None:
        """After the last step, or after a request to stop."""

    def close(self) -> None:
        """At the end, also after an error."""

    def facts(self) -> Mapping[str, Any]:
        """What a checkpoint must hold to restore this hook, as JSON."""
        return {}


class Trainer:
    """Training under way.

    Args:
        block: from `lstm_jax.training.step.make_block`.
        batches: where the data of a block come from.
        state: where to start; donated.
        config: see `TrainConfig`.
        hooks: called in this order.
        say: shows a line to the user.
        seconds: training time before ``state``.
        lost: for every seed the step at which it diverged, or 0.
    """

    def __init__(
        self,
        block: Callable[[TrainState, PyTree, int], tuple[TrainState, dict[str, Any]]],
        batches: Batches,
        state: TrainState,
        config: TrainConfig,
        hooks: Sequence[Hook],
        *,
        say: Callable[[str], None] = print,
        seconds: float = 0.0,
        lost: Sequence[int] | None = None,
    ):
        self._block, self._batches, self._hooks = block, batches, hooks
        self.state, self.config, self.say = state, config, say
        self.total_steps = config.total_steps(batches.steps_per_epoch)
        self.step = int(state.step)
        self.lost = np.array(lost or [0] * config.seeds)
        """For every seed the step at which it diverged, or 0."""
        self.stopped_early = np.zeros(config.seeds, bool)
        """Seeds that have nothing to gain from more steps."""
        self.was_asked_to_stop = False
        self._began = time.monotonic() - seconds
        self._step_seconds = BLOCK_SECONDS  # until it is known

    def fit(self) -> bool:
        """Trains to the end and records everything.

        Returns:
            Whether the run is complete. After Ctrl-C or SIGTERM it is not, and the
            state has been saved.

        Raises:
            Diverged: a loss or a parameter is not finite, of every seed. Checkpoints
                made before are kept. One seed of several ends alone, and a seed that
                has stopped early has its best, whatever becomes of it.
            RunError: the disk is full, or the folder cannot be written any more.
        """
        try:
            with stop_requests() as stop:
                self._call("start")
                while not self.is_over and not stop.is_set():
                    before = self.step
                    self._train_to_next_stop(stop)
                    if self.step == before:  # asked to stop in the meantime
                        break
                    for hook in self._hooks:
                        if hook.every and (self.is_last or self.step % hook.every == 0):
                            hook.at(self)
                self._call("end")
                self.was_asked_to_stop = stop.is_set()
        finally:
            self._batches.close()
            for hook in self._hooks:
                hook.close()
        return self.is_over

    def _call(self, moment, *args):
        for hook in self._hooks:
            getattr(hook, moment)(self, *args)

    @property
    def seconds(self) -> float:
        """Training time in seconds, including the time before a resume."""
        return time.monotonic() - self._began

    @property
    def is_last(self) -> bool:
        """Whether the last step has been taken."""
        return self.step == self.total_steps

    @property
    def is_over(self) -> bool:
        return self.step >= self.total_steps or not self.live.any()

    @property
    def live(self) -> np.ndarray:
        """The seeds that have something to gain from more steps."""
        return (self.lost == 0) & ~self.stopped_early

    def facts(self) -> dict[str, Any]:
        """What a checkpoint holds beside the arrays: the state of trainer and hooks."""
        found = {"seconds": self.seconds, "lost": self.lost.tolist()}
        for hook in self._hooks:
            found |= hook.facts()
        return found

    def _train_to_next_stop(self, stop):
        """Blocks up to the next step that a hook names.

        The device has the next block at hand while the metrics of the last one are
        written down.
        """
        end, dispatched, pending = self._next_stop(), self.step, None
        self._recorded = time.monotonic()
        while dispatched < end or pending is not None:
            began = None
            if dispatched < end and self.live.any() and not stop.is_set():
                affordable = max(int(BLOCK_SECONDS / self._step_seconds), 1)
                limit = min(end - dispatched, self.config.block, affordable)
                data, n = self._batches.take(dispatched, limit)
                self.state, metrics = self._block(self.state, data, n)
                began, dispatched = (metrics, n), dispatched + n
            elif pending is None:
                break
            if pending is not None:
                self._record(*pending)
            pending = began

    def _next_stop(self):
        every = [hook.every for hook in self._hooks if hook.every]
        return min([self.total_steps, *(self.step - self.step % n + n for n in every)])

    def _record(self, metrics, n):
        # A jitted function returns a dictionary in the order of its names.
        names = ["loss", *(name for name in metrics if name != "loss")]
        metrics = {name: _means(metrics[name], n) for name in names}
        now = time.monotonic()
        self._step_seconds = max(now - self._recorded, 1e-9) / n
        self._recorded, first = now, self.step + 1
        try:
            self.end_seeds(metrics["loss"], first, "loss is {}")
        finally:  # what led to a divergence is kept, too
            at = np.arange(first, first + n)[:, None]
            over = (self.lost > 0) & (self.lost <= at)
            clean = lambda a: np.where(np.isfinite(a) & ~over, a, np.nan)
            metrics = {name: clean(values) for name, values in metrics.items()}
            self._call("steps", Steps(first, metrics))
        self.step += n

    def end_seeds(self, values: np.ndarray, step: int, what: str) -> None:
        """Ends every seed that has a value that is not finite.

        Args:
            values: ``[n, S]``, of ``step`` and those that follow.
            step: see ``values``.
            what: a sentence, with ``{}`` where the value goes.

        Raises:
            Diverged: no seed is left.
        """
        good = np.isfinite(values)
        # A seed that has stopped early has its best, whatever becomes of it.
        new = ~good.all(0) & (self.lost == 0) & ~self.stopped_early
        first = good.argmin(0)  # the first that is not finite
        ends = [
            (step + int(first[n]), what.format(values[first[n], n]), n)
            for n in np.flatnonzero(new)
        ]
        self.lost[new] = step + first[new]
        if ends and self.lost.all():
            at, said, _ = max(ends)
            raise Diverged(f"{said} at step {at:,}")
        for at, said, n in sorted(ends):
            self.say(f"seed+{n} is over: {said} at step {at:,}.")


def _means(pairs, n):
    """``[n, S]`` from arrays ``[capacity, *S, 2]`` of total and weight."""
    rows = np.asarray(pairs)[:n].astype(float).reshape(n, -1, 2)
    with np.errstate(invalid="ignore", divide="ignore"):  # a weight of 0: no value
        return rows[..., 0] / rows[..., 1]
