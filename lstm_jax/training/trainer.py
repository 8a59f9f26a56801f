"""The training loop: blocks of steps, hooks between them, clean stops.

The trainer knows nothing about tasks. It runs steps and calls hooks
(`lstm_jax.training.hooks`), which evaluate, save, log and show progress.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from lstm_jax._types import PyTree
from lstm_jax.config import Count, PathText, config
from lstm_jax.training import processes
from lstm_jax.training.batches import Batches
from lstm_jax.training.metrics_file import TIMES
from lstm_jax.training.placement import ONE_DEVICE, Placement
from lstm_jax.training.step import TrainState
from lstm_jax.training.stop import stop_requests


@config
class TrainConfig:
    """How long to train, and how often to evaluate and save."""

    steps: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    """Steps of the run; 1000 if `epochs` is not set either."""
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Epochs of the run, instead of `steps`."""
    batch_size: Count = 32
    """Number of sequences in a batch."""
    block: Count = 500
    """The most steps in one jitted call; fewer if steps are slow."""
    evaluate_every: PositiveInt = 200
    """Steps between two evaluations."""
    checkpoint_every: PositiveInt = 200
    """Steps between two checkpoints."""
    monitor: str = "valid_loss"
    """The validation metric that decides the best checkpoint, `patience` and the
    schedule `plateau`."""
    patience: NonNegativeInt = 0
    """The run stops after this many evaluations without a better one; 0: never."""
    seeds: Annotated[int, Field(ge=1, le=1024)] = 1
    """Number of models that are trained together, with the seeds `seed`, `seed` + 1,
    ... Batches from the host have the order of `seed` for all of them."""
    init_from: PathText | None = None
    """The folder of a run to start from: its best weights, tokenizer, classes and
    standardisation; unset: new weights."""
    tensorboard: bool = False
    """Whether to write event files for TensorBoard; needs the extra `plots`."""
    log_gates: bool = False
    """Whether to log how open the gates of every layer are, at every evaluation, on an
    example of the valid split."""

    def __post_init__(self):
        if self.steps is not None and self.epochs is not None:
            raise ValueError(
                f"steps={self.steps} and epochs={self.epochs} both say how long to "
                f"train; leave one of them out"
            )

    def total_steps(self, steps_per_epoch: int | None) -> int:
        """Number of steps of the whole run.

        Raises:
            ValueError: ``epochs`` is set, but the data are endless.
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
"""Target time of a block. A block has at least one step. A request to stop may wait for
two blocks."""


class Diverged(RuntimeError):
    """The loss or a parameter of every seed is no longer finite."""


class Steps(NamedTuple):
    """The metrics of a block of steps."""

    first: int
    """The number of the first step."""
    metrics: dict[str, np.ndarray]
    """The metrics of every step and seed ``[n, S]``; NaN where a seed has diverged."""
    weights: dict[str, np.ndarray]
    """The weights of the metrics, of the same shape."""

    @property
    def last(self) -> int:
        return self.first + len(next(iter(self.metrics.values()))) - 1


class Hook:
    """Called during training; a hook overrides the methods that it needs."""

    every: int | None = None
    """`at` is called every this many steps, and after the last step."""

    def start(self, trainer: "Trainer") -> None:
        """Called before the first step."""

    def steps(self, trainer: "Trainer", steps: Steps) -> None:
        """Called after a block of steps."""

    def at(self, trainer: "Trainer") -> None:
        """Called after the steps given by `every`."""

    def end(self, trainer: "Trainer") -> None:
        """Called after the last step, or after a request to stop."""

    def close(self) -> None:
        """Called at the end, even after an error."""

    def facts(self) -> Mapping[str, Any]:
        """The state of this hook for a checkpoint, as JSON."""
        return {}


class Trainer:
    """Runs training and calls the hooks.

    Args:
        block: from `lstm_jax.training.step.make_block`.
        batches: source of the data of a block.
        state: the initial state; donated.
        config: see `TrainConfig`.
        hooks: called in this order.
        say: shows a line to the user.
        placement: where the arrays of the state lie.
        seconds: training time before ``state``.
        lost: the step at which each seed diverged, or 0.
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
        placement: Placement = ONE_DEVICE,
        seconds: float = 0.0,
        lost: Sequence[int] | None = None,
    ):
        self._block, self._batches, self._hooks = block, batches, hooks
        self.state, self.config, self.say = state, config, say
        self.placement = placement
        self.total_steps = config.total_steps(batches.steps_per_epoch)
        self.step = int(state.step)
        self.lost = np.array(lost or [0] * config.seeds)
        """The step at which each seed diverged, or 0."""
        self.stopped_early = np.zeros(config.seeds, bool)
        """Seeds that stopped early."""
        self.stopped_by: str | None = None
        """The signal that asked for a stop, such as SIGINT; ``None`` if none did."""
        self._stop_agreed = False
        self._began = time.monotonic() - seconds
        self._step_seconds = BLOCK_SECONDS  # until the first block is timed

    def fit(self) -> bool:
        """Trains to the end and records everything.

        Returns:
            Whether the run is complete. After Ctrl-C or SIGTERM it is not complete, and
            the state is saved.

        Raises:
            Diverged: the loss or a parameter of every seed is no longer finite. Earlier
                checkpoints stay. If one of several seeds diverges, the others continue.
                A seed that stopped early keeps its best checkpoint.
            RunError: the disk is full, or the folder is not writable.
        """
        try:
            with stop_requests() as stop:
                self._call("start")
                while not self.is_over and not self._stops(stop):
                    before = self.step
                    self._train_to_next_stop(stop)
                    if self.step == before:  # a stop was requested
                        break
                    for hook in self._hooks:
                        if hook.every and (self.is_last or self.step % hook.every == 0):
                            hook.at(self)
                self._agree(0, stop)  # on a request since the last block
                self._call("end")
                if self._stops(stop):
                    self.stopped_by = stop.signal or "another process"
        finally:
            self._batches.close()
            for hook in self._hooks:
                hook.close()
        return self.is_over

    def _call(self, moment, *args):
        for hook in self._hooks:
            getattr(hook, moment)(self, *args)

    @property
    def weights(self) -> PyTree:
        """The parameters to evaluate, on one device."""
        return self.placement.whole(self.state.weights)

    @property
    def seconds(self) -> float:
        """Training time in seconds, including the time before a resume."""
        return time.monotonic() - self._began

    def times(self) -> dict[str, float]:
        """What a line of the metrics says of when it was made; see `TIMES`."""
        now = self.seconds, time.time()
        return {name: round(at, 3) for name, at in zip(TIMES, now, strict=True)}

    @property
    def is_last(self) -> bool:
        """Whether the last step is done."""
        return self.step == self.total_steps

    @property
    def is_over(self) -> bool:
        return self.step >= self.total_steps or not self.live.any()

    @property
    def live(self) -> np.ndarray:
        """The seeds that are still training."""
        return (self.lost == 0) & ~self.stopped_early

    def facts(self) -> dict[str, Any]:
        """The state of trainer and hooks for a checkpoint, as JSON."""
        found = {"seconds": self.seconds, "lost": self.lost.tolist()}
        for hook in self._hooks:
            found |= hook.facts()
        return found

    def _train_to_next_stop(self, stop):
        """Runs blocks up to the next step at which a hook is called.

        The device computes the next block while the metrics of the last block are
        recorded.
        """
        end, dispatched, pending = self._next_stop(), self.step, None
        self._recorded = time.monotonic()
        while dispatched < end or pending is not None:
            began = None
            affordable = max(int(BLOCK_SECONDS / self._step_seconds), 1)
            limit = min(end - dispatched, self.config.block, affordable)
            limit = self._agree(limit, stop)
            if dispatched < end and self.live.any() and not self._stops(stop):
                data, n = self._batches.take(dispatched, limit)
                self.state, metrics = self._block(self.state, data, n)
                began, dispatched = (metrics, n), dispatched + n
            elif pending is None:
                break
            if pending is not None:
                self._record(*pending)
            pending = began

    def _agree(self, limit, stop):
        """The steps of the next block, and whether to stop, as all processes do it."""
        if processes.count() == 1:
            return limit
        found = processes.of_all([limit, stop.is_set()])
        self._stop_agreed |= bool(found[:, 1].any())
        return int(found[0, 0])

    def _stops(self, stop):
        return stop.is_set() if processes.count() == 1 else self._stop_agreed

    def _next_stop(self):
        every = [hook.every for hook in self._hooks if hook.every]
        return min([self.total_steps, *(self.step - self.step % n + n for n in every)])

    def _record(self, metrics, n):
        # A jitted function returns a dict sorted by name.
        lowered = "objective" if "objective" in metrics else "loss"
        names = dict.fromkeys([lowered, "loss", *metrics])
        pairs = {name: _pairs(metrics[name], n) for name in names}
        weights = {name: rows[..., 1] for name, rows in pairs.items()}
        metrics = {name: _means(rows) for name, rows in pairs.items()}
        now = time.monotonic()
        self._step_seconds = max(now - self._recorded, 1e-9) / n
        self._recorded, first = now, self.step + 1
        try:
            self.end_seeds(metrics[lowered], first, f"{lowered} is {{}}")
        finally:  # keep the metrics of steps that diverge
            at = np.arange(first, first + n)[:, None]
            over = (self.lost > 0) & (self.lost <= at)
            clean = lambda a: np.where(np.isfinite(a) & ~over, a, np.nan)
            metrics = {name: clean(values) for name, values in metrics.items()}
            self._call("steps", Steps(first, metrics, weights))
        self.step += n

    def end_seeds(self, values: np.ndarray, step: int, what: str) -> None:
        """Stops every seed that has a value that is not finite.

        Args:
            values: ``[n, S]``, of ``step`` and the steps that follow.
            step: the step of the first values.
            what: a sentence, with ``{}`` for the value.

        Raises:
            Diverged: no seed is left.
        """
        good = np.isfinite(values)
        # A seed that stopped early keeps its best checkpoint, so it cannot diverge.
        new = ~good.all(0) & (self.lost == 0) & ~self.stopped_early
        first = good.argmin(0)  # index of the first value that is not finite
        ends = [
            (step + int(first[n]), what.format(values[first[n], n]), n)
            for n in np.flatnonzero(new)
        ]
        self.lost[new] = step + first[new]
        if ends and self.lost.all():
            at, said, _ = max(ends)
            raise Diverged(f"{said} at step {at:,}")
        for at, said, n in sorted(ends):
            self.say(f"seed+{n} diverged: {said} at step {at:,}.")


def _pairs(pairs, n):
    """``[n, S, 2]`` from arrays ``[capacity, *S, 2]`` of total and weight."""
    return np.asarray(pairs)[:n].astype(float).reshape(n, -1, 2)


def _means(rows):
    """The means ``[n, S]`` of totals and weights."""
    with np.errstate(invalid="ignore", divide="ignore"):  # a weight of 0 has no value
        return rows[..., 0] / rows[..., 1]
