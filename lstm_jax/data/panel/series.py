"""Regular time series, and many of them: a panel."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from lstm_jax.data.panel.columns import PanelColumns
from lstm_jax.data.panel.frequency import Frequency
from lstm_jax.data.panel.giving import Giving
from lstm_jax.data.panel.zones import to_local
from lstm_jax.data.text import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """One target over regular times, with its covariates. NaN is a missing value."""

    name: str
    """The id as text; in the wide form the name of the target."""
    target: str
    """The column of the values."""
    times: np.ndarray
    """datetime64[us] or int64 ``[T]``; see `Panel.local`."""
    values: np.ndarray
    """float64 ``[T]``."""
    past: np.ndarray
    """Covariates known up to now, float64 ``[T, P]``."""
    future: np.ndarray
    """Covariates known ahead, float64 ``[T + F, K]``: ``F`` (0 or more) steps beyond
    the last value."""
    static: tuple[float | str, ...] = ()
    """What never changes, in the order of the columns."""

    def __len__(self):
        return len(self.values)


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """Series of one frequency.

    The order is that of the ids in the data; the targets of an id stand together, in
    the order of ``PanelColumns.targets``.
    """

    series: tuple[Series, ...]
    frequency: Frequency
    columns: PanelColumns
    zone: str | None
    """The time zone of the data. With a zone and a frequency below a day, the times of
    series are in UTC, where daylight saving makes no gap. All other times are local."""
    notes: tuple[str, ...]
    """What was done to the data, in sentences for the user."""
    giving: Giving
    """What gives forecasts the types of the data."""

    def __len__(self):
        return len(self.series)

    def __iter__(self) -> Iterator[Series]:
        return iter(self.series)

    @property
    def steps(self) -> int:
        """The number of steps of all series."""
        return sum(map(len, self.series))

    def local(self, times: np.ndarray) -> np.ndarray:
        """Local times of times of this panel, for calendar features and for people."""
        if self.zone is None or not self.frequency.by_clock:
            return times
        return to_local(times, self.zone)

    def without_last(self, n: int) -> "Panel":
        """The panel without the last ``n`` steps of every series; they become steps
        ahead of it.

        Raises:
            DataError: a series has no step left.
        """
        for series in self:
            if len(series) <= n:
                raise DataError(
                    f"the series {series.name} has {len(series):,} steps, and nothing "
                    f"is left without its last {n:,}; leave it out, or take fewer."
                )
        cut = lambda series: dataclasses.replace(
            series,
            times=series.times[: len(series) - n],
            values=series.values[: len(series) - n],
            past=series.past[: len(series) - n],
        )
        return dataclasses.replace(self, series=tuple(map(cut, self)))

    def moved(self, n: int) -> "Panel":
        """The panel as it would be ``n`` steps later, with its last time alone and no
        value."""
        moved = lambda series: dataclasses.replace(
            series,
            times=self.after(series, n)[-1:] if n else series.times[-1:],
            values=np.full(1, np.nan),
            past=np.full((1, series.past.shape[1]), np.nan),
            future=np.full((1, series.future.shape[1]), np.nan),
        )
        return dataclasses.replace(self, series=tuple(map(moved, self)))

    def after(self, series: Series, n: int) -> np.ndarray:
        """The ``n`` times after the last value of a series."""
        return self.frequency.after(series.times[-1], n)
