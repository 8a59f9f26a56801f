"""Time series as a task has them: standardised, with what train has taught.

The mean and the standard deviation of every series come from its training split alone.
They are part of the metadata of a run, so that it is used without its training data. A
series that was not trained on is standardised by all of its own values.
"""

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.data.panel import (
    Frequency,
    Panel,
    Series,
    Windows,
    all_windows,
    usual_lags,
)
from lstm_jax.data.text import DataError
from lstm_jax.models.forecast.window import Sizes
from lstm_jax.scores.forecast import seasonal_scale
from lstm_jax.tasks.forecast_batches import ForecastBatches
from lstm_jax.tasks.forecast_config import ForecastDataConfig
from lstm_jax.tasks.forecast_features import (
    Features,
    Learned,
    check_columns,
    features_of,
    learn,
    size_of,
)
from lstm_jax.tasks.forecast_standard import (
    AsTheyAre,
    Logarithm,
    ReadBy,
    Standard,
    standard_of,
)
from lstm_jax.tasks.forecast_weights import error_weights
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
    features: Learned
    windows: dict[str, int]
    sha256: str
    zone: str | None = None
    trained_until: list[str] | None = None
    notes: list[str] | None = None


class ForecastData:
    """The series of a config, their splits, and what is learned from them.

    Args:
        config: where they are; see `lstm_jax.tasks.forecast_config`.
        model: the config of the model: how many steps it reads and forecasts.
        metadata: of a run that exists: what it had learned is used again.
        panel: the series, where they come from a data frame and not from a file.
    """

    def __init__(
        self,
        config: ForecastDataConfig,
        model: Any,
        metadata: Mapping[str, Any] | None = None,
        panel: Panel | None = None,
    ):
        self._config, self._known, self._given = config, metadata or {}, panel
        self._windows: dict[str, Windows] = {}
        self._model, self.horizon = model, model.horizon

    # What is learned

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the series that are trained on."""
        known = self._known.get("series")
        return tuple(known) if known else names_of(self.panel)

    @functools.cached_property
    def standard(self) -> Standard:
        """The mean and the standard deviation of the training split of every series."""
        if self._known:
            mean, std = self._known["mean"], self._known["std"]
            return Standard(np.array(mean), np.array(std))
        return standard_of(self._train_values, self.names)

    @functools.cached_property
    def read_by(self) -> ReadBy:
        """What brings series to the scale that the model reads."""
        return self._read_by(self.standard)

    def _read_by(self, standard):
        if self._config.logarithm:
            return Logarithm()
        return standard if self._config.standardise else AsTheyAre(standard.std)

    @functools.cached_property
    def learned(self) -> Learned:
        """What standardises covariates; see `lstm_jax.tasks.forecast_features`."""
        return self._known.get("features") or learn(self.panel, self._train_ends)

    @functools.cached_property
    def _train_ends(self):
        return [end for _, end in self.bounds("train")]

    @functools.cached_property
    def _trained_until(self):
        """The time of the last step of the training split of every series, as text."""
        known = self._known.get("trained_until")
        if known is not None:
            return known
        both = zip(self.panel, self._train_ends, strict=True)
        return [str(series.times[end - 1]) if end else "" for series, end in both]

    @property
    def _train_values(self):
        both = zip(self.panel, self._train_ends, strict=True)
        return [series.values[:end] for series, end in both]

    @functools.cached_property
    def frequency(self) -> Frequency:
        """The step of the series."""
        known = self._known.get("frequency")
        if known is None:
            return self.panel.frequency
        return Frequency(int(known) if known.isdecimal() else known)

    @functools.cached_property
    def season(self) -> int:
        """Steps of a season."""
        known = self._known.get("season")
        return known or self._config.season or self.frequency.season

    @functools.cached_property
    def seasonal_scale(self) -> Mapping[str, np.ndarray]:
        """By split the mean seasonal difference of the steps before it ``[N]``, of
        ``train`` of its own; NaN of series shorter than a season."""
        ends = {
            split: [first for first, _ in self.bounds(split)] for split in self.splits
        }
        ends["train"] = self._train_ends
        before = lambda of: [
            s.values[:end] for s, end in zip(self.panel, of, strict=True)
        ]
        return {
            name: seasonal_scale(before(of), self.season) for name, of in ends.items()
        }

    @functools.cached_property
    def model(self) -> Any:
        """The config of the model, with the lags that are usual for these data."""
        return self._model.with_lags(usual_lags(self.frequency, self.season))

    @functools.cached_property
    def sizes(self) -> Sizes:
        """The sizes that the model is built for."""
        check_columns(self.learned, self._config.columns)
        found = size_of(self.frequency, self.learned, self._calendar)
        return Sizes(len(self.names), *found)

    @property
    def _calendar(self):
        return self._config.calendar and "known" in self._model.reads

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

    def bounds(self, split: str) -> list[tuple[int, int]]:
        """The first step of a split of every series, and the first after it."""
        return [self._bounds(series)[split] for series in self.panel]

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

    def windows(self, split: str) -> Windows:
        """All windows of a split.

        Raises:
            DataError: there is no such split, it has no window or nothing to forecast
                in them, or a series has no window in ``train``.
        """
        if split not in self._windows:
            self._windows[split] = self._find_windows(split)
        return self._windows[split]

    def _find_windows(self, split):
        if split not in self.splits:
            raise DataError(
                f"the data have no split {split}, only {', '.join(self.splits)}."
            )
        context, horizon = self._model.context, self.horizon
        self._check_lags()
        least = min(self._config.min_context or context, context)
        found = all_windows(
            self.panel, self._config.split, split, context, horizon, least
        )
        if not len(found):
            longest = max(map(len, self.panel))
            raise DataError(
                f"the split {split} has no window: a forecast of {horizon} steps needs "
                f"{least} steps before it, and the longest series has {longest:,} "
                f"steps in all; set a smaller model.horizon or model.context, set "
                f"data.min_context, or make the split longer."
            )
        if np.isnan(self.truth(found)).all():
            raise DataError(
                f"the split {split} has no observed value to forecast; move the "
                f"splits, or fill in the targets."
            )
        if split == "train":
            self._check_trained(found, least)
        return found

    def _check_lags(self):
        """A lag that no series reaches would always be read as missing."""
        lags, longest = getattr(self.model, "lags", None), max(map(len, self.panel))
        if lags and lags[-1] >= longest:
            raise DataError(
                f"model.lags has {lags[-1]:,}, and the longest series has {longest:,} "
                f"steps; set lags that the data reach, such as "
                f"{[lag for lag in lags if lag < longest]}."
            )

    def _check_trained(self, found, least):
        """What the model would know of a series without a window is chance."""
        without = np.setdiff1d(np.arange(len(self.panel)), found.series)
        if without.size:
            raise DataError(
                f"the series {names_of(self.panel)[without[0]]} has no window in "
                f"the training split ({len(without):,} of {len(self.panel):,} series "
                f"have none): a forecast of {self.horizon} steps needs {least} steps "
                f"before it; leave them out, or set data.min_context or a smaller "
                f"model.context."
            )

    def check_series(self) -> None:
        """Checks that series and features are those that the model knows, in their
        order.

        Raises:
            DataError: they are others, as with ``train.init_from``.
        """
        self._check_step(self.panel)
        self._check_zone(self.panel)
        check_columns(self.learned, self.panel.columns)
        ours, known = names_of(self.panel), self.names
        if ours != known:
            both = zip(ours, known, strict=False)
            at = next((n for n, (a, b) in enumerate(both) if a != b), None)
            first = "" if at is None else f", the first other one is {ours[at]}"
            raise DataError(
                f"the data have {len(ours):,} series and the run knows {len(known):,}"
                f"{first}; give the same series in the same order, or train without "
                f"train.init_from."
            )

    @functools.cached_property
    def values(self) -> list[np.ndarray]:
        """The series as the model reads them ``[T_n]``; NaN where nothing is
        observed."""
        self.check_values(self.names, [series.values for series in self.panel])
        return self.read_by.apply([series.values for series in self.panel])

    @functools.cached_property
    def _weights(self):
        """What an error counts, for every step ``[T_n]``."""
        values = [series.values for series in self.panel]
        return error_weights(
            self._config.weigh_by,
            values,
            self.read_by.units(values),
            self.seasonal_scale["train"],
            self._train_ends,
            self.season,
        )

    def check_values(self, names: Sequence[str], values: Iterable[np.ndarray]) -> None:
        """Checks that the model can read values of some series ``[T_n]``.

        Raises:
            DataError: there is no logarithm of one, or it is no count for a
                distribution of counts.
        """
        if not (self._config.logarithm or self._model.counts):
            return
        for name, x in zip(names, values, strict=True):
            there = x[~np.isnan(x)]
            if self._config.logarithm and (there <= 0).any():
                raise DataError(
                    f"the series {name} has the value {there[there <= 0][0]:g}, and "
                    f"data.logarithm=true needs values above 0; leave it out."
                )
            odd = there[(there < 0) | (there != np.round(there))]
            if self._model.counts and odd.size:
                raise DataError(
                    f"the series {name} has the value {odd[0]:g}, and the head "
                    f"{self._model.head.kind} forecasts counts, whole numbers of 0 or "
                    f"more; correct the data, or take another head, such as student_t."
                )

    @functools.cached_property
    def features(self) -> Features:
        """The features of the series."""
        return self.features_of(self.panel, self.horizon, ahead=False)

    def features_of(self, panel: Panel, horizon: int, *, ahead: bool) -> Features:
        """The features of a panel; see `lstm_jax.tasks.forecast_features`."""
        return features_of(
            panel, self.learned, horizon, calendar=self._calendar, ahead=ahead
        )

    def batches(self, windows: Windows, rows: int, seed: int = 0) -> ForecastBatches:
        """Windows of the data as batches of so many rows."""
        known = np.arange(len(self.names))
        sizes = self.model.history, self.horizon, rows
        every = self.values, self.features, windows, known, self.names
        return ForecastBatches(*every, *sizes, seed, self._weights)

    def truth(self, windows: Windows) -> np.ndarray:
        """What is to be forecast ``[W, H]``, on the scale of the data."""
        found = np.empty((len(windows), self.horizon))
        for row, (n, cut) in enumerate(zip(windows.series, windows.cuts, strict=True)):
            found[row] = self.panel.series[n].values[cut : cut + self.horizon]
        return found

    # New data

    def of(self, panel: Panel) -> tuple[ReadBy, np.ndarray]:
        """What brings the series of a panel to the scale that the model reads, and
        their numbers in the model; -1 of those that were not trained on.

        Raises:
            DataError: the panel has another frequency, or a series has no value in the
                steps that the model reads.
        """
        self._check_step(panel)
        self._check_zone(panel)
        names = names_of(panel)
        self.check_values(names, [series.values for series in panel])
        for name, series in zip(names, panel, strict=True):
            if np.isnan(series.values[-self._model.context :]).all():
                raise DataError(
                    f"the series {name} has no value in its last "
                    f"{self._model.context} steps, which the model reads; leave it "
                    f"out, or end it with its last value."
                )
        numbers = {name: n for n, name in enumerate(self.names)}
        known = np.array([numbers.get(name, -1) for name in names])
        own = standard_of([series.values for series in panel], names)
        there = known >= 0
        mean = np.where(there, self.standard.mean[known], own.mean)
        std = np.where(there, self.standard.std[known], own.std)
        return self._read_by(Standard(mean, std)), known

    def first_unseen(self, panel: Panel) -> np.ndarray:
        """The first step of every series of a panel after the training split ``[N]``; 0
        of series that were not trained on."""
        until = dict(zip(self.names, self._trained_until, strict=True))
        found = np.zeros(len(panel), int)
        for n, (name, series) in enumerate(zip(names_of(panel), panel, strict=True)):
            if last := until.get(name):
                last = np.array(last).astype(series.times.dtype)
                found[n] = np.searchsorted(series.times, last, "right")
        return found

    def _check_step(self, panel):
        if panel.frequency != self.frequency:
            raise DataError(
                f"the new data have a step of {panel.frequency}, but the model was "
                f"trained on steps of {self.frequency}; resample them."
            )

    def _check_zone(self, panel):
        """The hour of the day is another one in another time zone."""
        trained = self._known.get("zone") if self._known else self.panel.zone
        if self._calendar and panel.frequency.by_clock and panel.zone != trained:
            raise DataError(
                f"the new data have times in {panel.zone or 'no time zone'}, but the "
                f"model was trained on times in {trained or 'no time zone'}; convert "
                f"them."
            )

    # Metadata

    def describe(self) -> dict[str, Any]:
        """Metadata of the data, and what is needed to use a run without them."""
        return {
            "data": self._config.path or "a data frame",
            "frequency": str(self.panel.frequency),
            "season": self.season,
            "zone": self.panel.zone,
            "trained_until": self._trained_until,
            "series": [*self.names],
            "mean": self.standard.mean.tolist(),
            "std": self.standard.std.tolist(),
            "features": self.learned,
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
        for name, series in zip(names_of(self.panel), self.panel, strict=True):
            bounds = self._bounds(series)
            digest.update(f"{name} {len(series)} {bounds}".encode())
            for values in (series.values, series.past, series.future):
                digest.update(np.ascontiguousarray(values).tobytes())
            digest.update(repr(series.static).encode())
        return digest.hexdigest()

    def check_same(self, metadata: Mapping[str, Any], directory: Path) -> None:
        """Raises RunError if a run was trained on other data."""
        check_same_sha256(metadata, self.sha256, directory)


def names_of(panel: Panel) -> tuple[str, ...]:
    """What the series of a panel are called: by their ids, and by their targets where
    an id has several."""
    several = panel.columns.id is not None and len(panel.columns.targets) > 1
    return tuple(
        f"{series.name}, {series.target}" if several else series.name
        for series in panel
    )
