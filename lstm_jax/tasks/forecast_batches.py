"""Windows of time series as batches: a context, and the truth after it."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.panel import Windows


class ForecastBatch(NamedTuple):
    """A batch, time-major."""

    y: Any
    """The context ``[C, B]``, standardised; 0 where nothing is observed."""
    observed: Any
    """Which values of the context there are, ``[C, B]``."""
    truth: Any
    """The steps ahead ``[H, B]``, standardised; 0 where nothing is observed."""
    weights: Any
    """``[H, B]``: 1 of what is observed, and 0 of what is missing or fills a batch."""
    series: Any
    """The index of the series ``[B]``, as the model knows it."""


class ForecastBatches:
    """A `lstm_jax.training.batches.BatchSource`: shuffled epochs of windows.

    The order is a function of (seed, epoch). Every window is seen once an epoch.

    Args:
        values: the series, standardised, ``[T_n]``; NaN where nothing is observed.
        windows: the windows to take.
        known: the index of every series as the model knows it; -1 of a new one.
        context, horizon: steps before and after a cut.
        batch_size: windows of a batch.
        seed: of the order.
    """

    def __init__(
        self,
        values: Sequence[np.ndarray],
        windows: Windows,
        known: np.ndarray,
        context: int,
        horizon: int,
        batch_size: int,
        seed: int = 0,
    ):
        self._windows, self._seed = windows, seed
        self._known = np.asarray(known, np.int32)
        self._context = context
        self._batch_size = min(batch_size, len(windows))
        # All series in one array, with nothing before and after each.
        before, after = np.full(context, np.nan), np.full(horizon, np.nan)
        parts = [part for x in values for part in (before, x, after)]
        self._flat = np.concatenate(parts).astype(np.float32)
        lengths = np.array([len(x) + context + horizon for x in values])
        self._starts = np.cumsum(lengths) - lengths
        self._span = np.arange(context + horizon)[:, None]

    def plan(self, epoch: int) -> Sequence[np.ndarray]:
        order = np.random.default_rng([self._seed, epoch]).permutation(
            len(self._windows)
        )
        return self._cut(order)

    def _cut(self, order):
        size = self._batch_size
        missing = -len(order) % size
        full = np.concatenate([order, np.full(missing, -1, order.dtype)])
        return [*full.reshape(-1, size)]

    def load(self, batch: np.ndarray) -> ForecastBatch:
        real = batch >= 0
        series = self._windows.series[batch]
        at = self._starts[series] + self._windows.cuts[batch]
        window = self._flat[at + self._span]
        observed = ~np.isnan(window) & real
        window = np.where(observed, window, np.float32(0))
        context = self._context
        return ForecastBatch(
            y=window[:context],
            observed=observed[:context],
            truth=window[context:],
            weights=observed[context:].astype(np.float32),
            series=self._known[series],
        )

    @functools.cached_property
    def _in_order(self):
        return self._cut(np.arange(len(self._windows)))

    def in_order(self) -> Iterator[tuple[np.ndarray, ForecastBatch]]:
        """Every window once: the indices of the rows of each batch (-1 where a row
        fills it up), and the batch."""
        for batch in self._in_order:
            yield batch, self.load(batch)
