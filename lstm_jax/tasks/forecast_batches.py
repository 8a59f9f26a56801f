"""Windows of time series as batches: what a model reads, and the truth after it."""

import functools
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.panel import Windows
from lstm_jax.models.forecast.window import Window
from lstm_jax.tasks.forecast_features import Features


class ForecastBatch(NamedTuple):
    """A batch, time-major."""

    window: Window
    """What is read; 0 where nothing is observed."""
    truth: Any
    """The steps ahead ``[H, B]``; 0 where nothing is observed."""
    weights: Any
    """``[H, B]``: what an error counts; 0 of what is missing or fills a batch."""


class ForecastBatches:
    """A `lstm_jax.training.batches.BatchSource`: shuffled epochs of windows.

    The order is a function of (seed, epoch). Every window is seen once an epoch.

    Args:
        values: the series as the model reads them, ``[T_n]``; NaN where nothing is
            observed.
        features: the features of the series.
        windows: the windows to take.
        known: the index of every series as the model knows it; -1 of a new one.
        names: the names of the series.
        history, horizon: steps before and after a cut.
        batch_size: windows of a batch.
        seed: of the order.
        weights: what an error of every step counts, ``[T_n]``; ``None``: 1.
    """

    def __init__(
        self,
        values: Sequence[np.ndarray],
        features: Features,
        windows: Windows,
        known: np.ndarray,
        names: Sequence[str],
        history: int,
        horizon: int,
        batch_size: int,
        seed: int = 0,
        weights: Sequence[np.ndarray] | None = None,
    ):
        self.windows, self._seed = windows, seed
        self._series = np.asarray(known, np.int32)
        self._names, self._history = names, history
        self._batch_size = min(batch_size, len(windows))
        # All series in one array, with nothing before and after each.
        lengths = np.array([len(x) + history + horizon for x in values])
        self._starts = np.cumsum(lengths) - lengths
        flat = functools.partial(_flat, lengths=lengths, before=history)
        self._y = flat(values, np.nan)
        self._known, self._past = flat(features.known, 0), flat(features.past, 0)
        self._static = features.static
        ones = [np.ones(len(x), np.float32) for x in values]
        self._weights = flat(ones if weights is None else weights, 0)
        self._span = np.arange(history + horizon)[:, None]

    @functools.cached_property
    def identities(self) -> np.ndarray:
        """A number for every window, uint32 ``[W]``, by its series and its cut."""
        names = [self._names[n] for n in map(int, self.windows.series)]
        return identities(names, self.windows.cuts)

    def plan(self, epoch: int) -> Sequence[np.ndarray]:
        order = np.random.default_rng([self._seed, epoch]).permutation(
            len(self.windows)
        )
        return self._cut(order)

    def _cut(self, order):
        size = self._batch_size
        missing = -len(order) % size
        full = np.concatenate([order, np.full(missing, -1, order.dtype)])
        return [*full.reshape(-1, size)]

    axes = ForecastBatch(Window(1, 1, 0, 1, 1, 0), 1, 1)

    def rows(self, batch: np.ndarray) -> int:
        return len(batch)

    def part(self, batch: np.ndarray, first: int, last: int) -> np.ndarray:
        some = batch[first:last]
        return np.pad(some, (0, last - first - len(some)), constant_values=-1)

    def load(self, batch: np.ndarray) -> ForecastBatch:
        real = batch >= 0
        series, history = self.windows.series[batch], self._history
        steps = self._starts[series] + self.windows.cuts[batch] + self._span
        y = self._y[steps]
        observed = ~np.isnan(y) & real
        y = np.where(observed, y, np.float32(0))
        window = Window(
            y=y[:history],
            observed=observed[:history],
            series=self._series[series],
            known=self._known[steps],
            past=self._past[steps[:history]],
            static=self._static[series],
        )
        weights = np.where(observed, self._weights[steps], np.float32(0))
        return ForecastBatch(window, y[history:], weights[history:])

    @functools.cached_property
    def _in_order(self):
        return self._cut(np.arange(len(self.windows)))

    def in_order(self) -> Iterator[tuple[np.ndarray, ForecastBatch]]:
        """Every window once: the indices of the rows of each batch (-1 where a row
        fills it up), and the batch."""
        for batch in self._in_order:
            yield batch, self.load(batch)


def identities(names: Sequence[str], cuts: np.ndarray) -> np.ndarray:
    """A number for every window, uint32 ``[W]``, by the name of its series and the
    number of steps before it."""
    series = np.array([zlib.crc32(name.encode()) for name in names], np.uint32)
    return series ^ np.uint32(2654435761) * cuts.astype(np.uint32)


def _flat(parts, empty, lengths, before):
    """Arrays ``[T_n, ...]`` one after the other in float32, each with ``before`` empty
    rows in front and filled up to its length."""
    whole = np.full((lengths.sum(), *parts[0].shape[1:]), empty, np.float32)
    for start, part in zip(np.cumsum(lengths) - lengths, parts, strict=True):
        whole[start + before : start + before + len(part)] = part
    return whole
