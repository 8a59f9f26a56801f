"""Time series as a task has them: standardised, with what train has taught.

The mean and the standard deviation of every series come from its training split alone.
They are part of the metadata of a run, so that it is used without its training data. A
series that was not trained on is standardised by all of its own values.
"""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.panel import Panel, Series, Windows, all_windows
from lstm_jax.data.text import DataError
from lstm_jax.scores.forecast import seasonal_scale
from lstm_jax.tasks.forecast_config import ForecastDataConfig
from lstm_jax.tasks.same_data import check_same_sha256
from lstm_jax.training.metadata import Metadata


class ForecastMetadata(Metadata):
    """The types of what `ForecastData.describe` says."""

    data: str
    frequency: str
    season: int
    series: list[str]
    mean: list[float]
    std: list[float]
    windows: dict[str, int]
    sha256: str
    notes: list[str] | None = None


class Standard(NamedTuple):
    """What standardises series: ``y' = (y - mean) / std``."""

    mean: np.ndarray
    """``[N]``."""
    std: np.ndarray
    """``[N]``; 1 of constant series."""

    def apply(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """Series on the scale that the model reads."""
        both = zip(values, self.mean, self.std, strict=True)
        return [(x - mean) / std for x, mean, std in both]

    def undo(self, forecasts: np.ndarray, series: np.ndarray) -> Any:
        """Forecasts ``[W, H, Q]`` of these series, on the scale of the data."""
        mean, std = self.mean[series], self.std[series]
        return forecasts * std[:, None, None] + mean[:, None, None]


class ForecastData:
    """The series of a config, their splits, and what is learned from them.

    Args:
        config: where they are; see `lstm_jax.tasks.forecast_config`.
        context, horizon: steps that the model reads and forecasts.
        metadata: of a run that exists: what it had learned is used again.
        panel: the series, where they come from a data frame and not from a file.
    """

    def __init__(
        self,
        config: ForecastDataConfig,
        context: int,
        horizon: int,
        metadata: Mapping[str, Any] | None = None,
        panel: Panel | None = None,
    ):
        self._config, self._known, self._given = config, metadata or {}, panel
        self._context, self.horizon = context, horizon

    # What is learned

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the series that are trained on."""
        known = self._known.get("series")
        return tuple(known) if known else tuple(map(name_of, self.panel))

    @functools.cached_property
    def standard(self) -> Standard:
        """The mean and the standard deviation of the training split of every series."""
        if self._known:
            mean, std = self._known["mean"], self._known["std"]
            return Standard(np.array(mean), np.array(std))
        ends = [self._bounds(series)["train"][1] for series in self.panel]
        parts = [
            series.values[:end] for series, end in zip(self.panel, ends, strict=True)
        ]
        return standard_of(parts, self.names)

    @functools.cached_property
    def season(self) -> int:
        """Steps of a season."""
        known = self._known.get("season")
        return known or self._config.season or self.panel.frequency.season

    @functools.cached_property
    def seasonal_scale(self) -> np.ndarray:
        """The mean seasonal difference of the training split of every series ``[N]``;
        NaN of series shorter than a season."""
        parts = [
            series.values[: self._bounds(series)["train"][1]] for series in self.panel
        ]
        return seasonal_scale(parts, self.season)

    # The splits

    @functools.cached_property
    def panel(self) -> Panel:
        """All series.

        Raises:
            DataError: the data cannot be used, or no file is named.
        """
        if self._given is not None:
            return self._given
        if not self._config.path:
            raise DataError(
                "data.path is empty; set it to a CSV or Parquet file with a column of "
                "times and one of values."
            )
        return self._config.read(self._config.path)

    def _bounds(self, series: Series):
        return self._config.split.bounds(len(series), series.name)

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits there are."""
        split = self._config.split
        return ("train", "valid", "test") if split.test else ("train", "valid")

    @property
    def final_split(self) -> str:
        """Test, or validation where there is no test split."""
        return self.splits[-1]

    @functools.lru_cache(maxsize=3)  # noqa: B019 (one object a run)
    def windows(self, split: str) -> Windows:
        """All windows of a split.

        Raises:
            DataError: there is no such split, or it has no window.
        """
        if split not in self.splits:
            raise DataError(
                f"the data have no split {split}, only {', '.join(self.splits)}."
            )
        context, horizon = self._context, self.horizon
        least = min(self._config.min_context or context, context)
        found = all_windows(
            self.panel, self._config.split, split, context, horizon, least
        )
        if not len(found):
            longest = max(map(len, self.panel))
            raise DataError(
                f"the split {split} has no window: a forecast of {horizon} steps needs "
                f"{least} steps before it, and the longest series has {longest:,} "
                f"steps in all; set a smaller model.horizon, model.context or "
                f"data.min_context, or larger splits."
            )
        return found

    @functools.cached_property
    def values(self) -> list[np.ndarray]:
        """The standardised series ``[T_n]``; NaN where nothing is observed."""
        return self.standard.apply([series.values for series in self.panel])

    def truth(self, windows: Windows) -> np.ndarray:
        """What is to be forecast ``[W, H]``, on the scale of the data."""
        found = np.empty((len(windows), self.horizon))
        for row, (n, cut) in enumerate(zip(windows.series, windows.cuts, strict=True)):
            found[row] = self.panel.series[n].values[cut : cut + self.horizon]
        return found

    # New data

    def of(self, panel: Panel) -> tuple[Standard, np.ndarray]:
        """What standardises the series of a panel, and their numbers in the model; -1
        of those that were not trained on.

        Raises:
            DataError: the panel has another frequency, or a series has no value in the
                steps that the model reads.
        """
        trained = self._known.get("frequency") or str(self.panel.frequency)
        if str(panel.frequency) != trained:
            raise DataError(
                f"the new data have a step of {panel.frequency}, but the model was "
                f"trained on steps of {trained}; resample them."
            )
        for series in panel:
            if np.isnan(series.values[-self._context :]).all():
                raise DataError(
                    f"the series {name_of(series)} has no value in its last "
                    f"{self._context} steps, which the model reads; leave it out, or "
                    f"end it with its last value."
                )
        numbers = {name: n for n, name in enumerate(self.names)}
        known = np.array([numbers.get(name_of(series), -1) for series in panel])
        own = standard_of(
            [series.values for series in panel], tuple(map(name_of, panel))
        )
        there = known >= 0
        mean = np.where(there, self.standard.mean[known], own.mean)
        std = np.where(there, self.standard.std[known], own.std)
        return Standard(mean, std), known

    # Metadata

    def describe(self) -> dict[str, Any]:
        """Metadata of the data, and what is needed to use a run without them."""
        return {
            "data": self._config.path or "a data frame",
            "frequency": str(self.panel.frequency),
            "season": self.season,
            "series": [*self.names],
            "mean": self.standard.mean.tolist(),
            "std": self.standard.std.tolist(),
            "windows": {split: len(self.windows(split)) for split in self.splits},
            "sha256": self.sha256,
            "notes": [*self.panel.notes],
        }

    def summary(self, metadata: Mapping[str, Any]) -> str:
        """Series and windows in a line, and what was done to the data."""
        windows = ", ".join(f"{n:,} {name}" for name, n in metadata["windows"].items())
        return (
            f"{metadata['data']}: {len(metadata['series']):,} series, a step is "
            f"{metadata['frequency']}, season {metadata['season']}; windows: {windows}"
        ) + "".join(f"\n{note}" for note in metadata.get("notes") or [])

    @functools.cached_property
    def sha256(self) -> str:
        """Of all series and the splits."""
        digest = hashlib.sha256()
        for series in self.panel:
            bounds = self._bounds(series)
            digest.update(f"{name_of(series)} {len(series)} {bounds}".encode())
            digest.update(np.ascontiguousarray(series.values).tobytes())
        return digest.hexdigest()

    def check_same(self, metadata: Mapping[str, Any], directory: Path) -> None:
        """Raises RunError if a run was trained on other data."""
        check_same_sha256(metadata, self.sha256, directory)


def name_of(series: Series) -> str:
    """What a series is called: its id, and its target if that says more."""
    same = series.name == series.target
    return series.name if same else f"{series.name}, {series.target}"


def standard_of(values: list[np.ndarray], names: tuple[str, ...]) -> Standard:
    """The mean and the standard deviation of observed values.

    Args:
        values: the series ``[T_n]``, NaN where nothing is observed.
        names: of the series, for errors.

    Raises:
        DataError: a series has no value.
    """
    mean, std = np.zeros(len(values)), np.ones(len(values))
    for n, (x, name) in enumerate(zip(values, names, strict=True)):
        there = x[~np.isnan(x)]
        if not there.size:
            raise DataError(
                f"the series {name} has no value in the training split, expected one "
                f"or more; leave it out, or make the training split longer."
            )
        mean[n], spread = there.mean(), there.std()
        std[n] = spread if spread > 1e-6 * max(abs(mean[n]), 1e-30) else 1.0
    return Standard(mean, std)
