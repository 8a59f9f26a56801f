"""Conformal intervals of forecasts, calibrated on the newest data.

An interval starts as two quantiles that the model forecasts. Calibration adds a margin
at both ends; see `lstm_jax.scores.conformal`. Every step of the horizon has its own
margin.

**Windows.** The model forecasts windows whose truth is known by now: for every series
the last ``evaluation.conformal_windows``, all after the training split. So the first
forecasts of a test split are calibrated on the validation split, and later ones also on
what came since. Time series drift, and margins that are computed once go out of date.
No weights were trained on these windows, but the validation split chose the best
checkpoint.

**Series.** A series has its own margins if `ENOUGH` of its values are observed at every
step. Some series are easier to forecast than others, even when both are standardised.
Shared margins would be too wide for the former and too narrow for the latter. Series
with fewer values share the margins of all series.

**Quantiles.** The interval starts as the outermost quantiles of the model that lie
inside it. A model with the levels 0.1 to 0.9 starts an interval of 80% as the quantiles
0.1 and 0.9, and an interval of 95% as the same two quantiles. An interval without a
pair of quantiles inside starts as the median, and that of a point forecast as the
number itself. Models that draw paths have any quantile. Conformal prediction is valid
for every start; a good one makes the intervals short.

**Scale.** Errors are errors of standardised series. With ``data.logarithm=true`` they
are errors of logarithms.

Romano, Patterson & Candès 2019, "Conformalized quantile regression"; Xu & Xie 2021,
"Conformal prediction interval for dynamic time-series" (the newest errors).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lstm_jax._types import PyTree
from lstm_jax.data.panel import Panel, Windows
from lstm_jax.data.panel.windows import windows_between
from lstm_jax.data.text import DataError
from lstm_jax.models.forecast.heads import Quantiles
from lstm_jax.models.forecast.recursive import RecursiveConfig
from lstm_jax.scores.conformal import conformal_margins, least_values, widen
from lstm_jax.scores.forecast import coverage
from lstm_jax.tasks.forecast_batches import ForecastBatches
from lstm_jax.tasks.forecast_columns import quantile_columns
from lstm_jax.tasks.forecast_program import Asked
from lstm_jax.tasks.forecast_standard import ReadBy

ENOUGH = 100
"""With so many independent values, the coverage of an interval of 80% has a standard
deviation of 4 points, and that of one of 95% of 2 points."""

LARGEST = 2**25
"""At most so many numbers are forecast to calibrate on, from a random sample of the
windows."""


class Conformal:
    """Conformal intervals of the forecasts of a task.

    Args:
        task: a `lstm_jax.tasks.forecasting.Forecasting`.
    """

    def __init__(self, task: Any):
        self._task = task

    def check(self, percents: Sequence[float]) -> None:
        """Checks that the newest windows of the validation split have enough values for
        the first forecasts after it.

        Raises:
            DataError: they have not.
        """
        if not percents:
            return
        data, windows = self._task.data, self._task.data.windows("valid")
        last = np.zeros(len(data.panel), int)
        np.maximum.at(last, windows.series, windows.cuts)
        newest = windows.cuts > last[windows.series] - self._most
        truth = data.truth(Windows(windows.series[newest], windows.cuts[newest]))
        _check_enough(percents, (~np.isnan(truth)).sum(axis=0))

    def asked(self, percents: Iterable[float], horizon: int | None = None) -> Asked:
        """What is forecast for some intervals.

        Raises:
            DataError: the model cannot forecast so many steps.
        """
        levels = set()
        if self._task.config.model.levels:
            levels = {q for percent in percents for q in self._start(percent)}
        return self._task.checked(horizon, levels)

    def _start(self, percent):
        """The levels of the two quantiles that an interval starts as."""
        model = self._task.config.model
        low, high = quantile_columns(percent).values()
        if isinstance(model, RecursiveConfig):
            own = model.head.levels if isinstance(model.head, Quantiles) else (0, 1)
            return max(low, own[0]), min(high, own[-1])
        # The median is always a level of the model.
        inside = [q for q in model.levels if low <= q <= high]
        return inside[0], inside[-1]

    def intervals(
        self,
        params: PyTree,
        panel: Panel,
        windows: Windows,
        percents: Sequence[float],
        asked: Asked,
        batches: Callable[[Windows], ForecastBatches],
        read_by: ReadBy,
    ) -> np.ndarray:
        """Forecasts and both ends of every interval ``[W, H, 1 + 2 P]``, on the scale
        of the data.

        Args:
            params: the parameters.
            panel: the series.
            windows: what is forecast. Only steps before a cut are used for its margins.
            percents: of the ``P`` intervals.
            asked: of `asked`.
            batches: makes batches of windows of the panel.
            read_by: the scale of the panel.

        Raises:
            DataError: there are too few windows to calibrate on.
        """
        past = self._past(panel, windows, asked)
        both = Windows(
            np.concatenate([past.series, windows.series]),
            np.concatenate([past.cuts, windows.cuts]),
        )
        forecasts = self._task.jitted.forecasts(params, batches(both), asked)
        before, ahead = np.split(forecasts, [len(past)])
        y = read_by.apply([series.values for series in panel])
        truth = np.full(before.shape[:2], np.nan)
        for row, (n, cut) in enumerate(zip(past.series, past.cuts, strict=True)):
            truth[row] = y[n][cut : cut + asked.horizon]
        unit, errors = read_by.error_unit(past.series)[:, None], []
        for percent in percents:
            low, high = self._ends(before, percent, asked)
            worst = np.maximum(low - truth, truth - high)
            errors.append(worst / unit)
        margins = self._margins(panel, past, windows, percents, errors)
        unit, found = read_by.error_unit(windows.series)[:, None], [asked.point(ahead)]
        for percent, margin in zip(percents, margins, strict=True):
            found += widen(*self._ends(ahead, percent, asked), margin * unit)
        if self._task.config.model.counts:
            found = [np.maximum(x, 0) for x in found]
        return read_by.undo(np.stack(found, axis=-1), windows.series)

    def _ends(self, forecasts, percent, asked):
        if not asked.levels:
            return forecasts[..., 0], forecasts[..., 0]
        low, high = map(asked.levels.index, self._start(percent))
        return forecasts[..., low], forecasts[..., high]

    @property
    def _most(self):
        return self._task.config.evaluation.conformal_windows

    def _past(self, panel, windows, asked):
        """The windows to calibrate on, series by series in order of time."""
        model, first = self._task.config.model, self._task.data.first_unseen(panel)
        bounds = []
        for n in range(len(panel)):
            cuts = windows.cuts[windows.series == n]
            begin, end = (cuts.min(), cuts.max()) if cuts.size else (0, 0)
            oldest = begin - asked.horizon - self._most + 1
            bounds.append((max(int(first[n]), int(oldest), 0), int(end)))
        least = self._task.config.data.min_context or model.context
        least = min(least, model.context)
        found = windows_between(panel, bounds, model.context, asked.horizon, least)
        most = LARGEST // (asked.horizon * max(1, len(asked.levels)))
        if len(found) > most:
            rng = np.random.default_rng(self._task.config.seed)
            some = np.sort(rng.choice(len(found), most, replace=False))
            found = Windows(found.series[some], found.cuts[some])
        return found

    def _margins(self, panel, past, windows, percents, errors):
        """The margins of every window, by percent ``[W, H]``."""
        horizon = errors[0].shape[1]
        observed = ~np.isnan(errors[0])
        lengths = np.array([len(series) for series in panel])
        # Steps from a cut to the end: what all series have in common.
        ages = lengths[past.series] - past.cuts
        starts = np.searchsorted(past.series, np.arange(len(panel) + 1))
        found = np.empty((len(percents), len(windows), horizon))
        shared = {}

        def conformal(rows):
            _check_enough(percents, observed[rows].sum(axis=0))
            return [
                conformal_margins(e[rows], level=percent / 100)
                for percent, e in zip(percents, errors, strict=True)
            ]

        enough = max(ENOUGH, *(least_values(percent / 100) for percent in percents))
        for row, (n, cut) in enumerate(zip(windows.series, windows.cuts, strict=True)):
            newest = cut - horizon  # the last cut whose truth is known
            cuts = past.cuts[starts[n] : starts[n + 1]]
            inside = np.searchsorted(cuts, [newest - self._most, newest], "right")
            own = slice(*(inside + starts[n]))
            if observed[own].sum(axis=0).min() >= enough:
                found[:, row] = conformal(own)
                continue
            age = int(lengths[n] - newest)
            if age not in shared:
                shared[age] = conformal((age <= ages) & (ages < age + self._most))
            found[:, row] = shared[age]
        return found

    def coverage(
        self, params: PyTree, windows: Windows, percents: Sequence[float]
    ) -> dict[str, float]:
        """The percentage of observed values inside the intervals, by metric.

        Raises:
            DataError: as `intervals`.
        """
        data, rows = self._task.data, self._task.config.evaluation.batch_size
        found = self.intervals(
            params,
            data.panel,
            windows,
            percents,
            self.asked(percents),
            lambda some: data.batches(some, rows),
            data.read_by,
        )
        truth, ends = data.truth(windows), found[..., 1:]
        return {
            f"coverage_{percent:g}": 100
            * coverage(truth, ends[..., 2 * n], ends[..., 2 * n + 1])
            for n, percent in enumerate(percents)
        }


def _check_enough(percents, counts):
    """Raises DataError if a step has too few observed values ``[H]``."""
    percent, step = max(percents, default=0), int(counts.argmin())
    least = least_values(percent / 100)
    if counts[step] < least:
        raise DataError(
            f"a conformal interval of {percent:g}% needs {least:,} observed values at "
            f"every step of the horizon, from windows after the training split, and "
            f"there are {counts[step]:,} at step {step + 1}; give more history, make "
            f"the validation split longer, raise evaluation.conformal_windows, or "
            f"lower the level."
        )
