"""A backtest: forecasts of the last windows of the final split, series by series."""

from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.panel import Windows, forecast_frame
from lstm_jax.data.text import DataError
from lstm_jax.tasks.abilities import Backtest, Fan, Predictions
from lstm_jax.tasks.forecast_columns import as_predictions, named, quantile_columns
from lstm_jax.tasks.forecast_data import ForecastData, names_of
from lstm_jax.tasks.forecast_measures import baseline, baselines, point_metrics

SHOWN = 3
"""Horizons of history that a fan chart shows before the forecasts."""


class Last(NamedTuple):
    """The last windows of every series."""

    windows: Windows
    """Series by series, each in order of time."""
    each: int
    """Windows of a series."""

    def cuts(self, n: int) -> np.ndarray:
        """Where the ``n``-th window of every series begins."""
        return self.windows.cuts[n :: self.each]


def last_windows(data: ForecastData, count: int, step: int) -> Last:
    """The last ``count`` windows of the final split of every series.

    Args:
        data: the series.
        count: windows of a series.
        step: steps from one window to the next.

    Raises:
        DataError: a number is below 1, or the split of a series has fewer windows.
    """
    if count < 1 or step < 1:
        raise DataError(
            f"there are {count} windows and {step} steps between them, expected 1 or "
            f"more."
        )
    split, cuts = data.final_split, []
    for n, (first, end) in enumerate(data.bounds(split)):
        last = end - data.horizon
        mine = last - step * np.arange(count)[::-1]
        if mine[0] < first:
            room = max(0, last - first + step) // step
            raise DataError(
                f"the split {split} of the series {data.names[n]} has room for {room} "
                f"windows of {data.horizon} steps that are {step} steps apart, and "
                f"{count} are asked for; ask for fewer."
            )
        cuts.append(mine)
    which = np.repeat(np.arange(len(cuts)), count)
    return Last(Windows(which, np.concatenate(cuts)), count)


def backtest(task: Any, params: Any, count: int, step: int | None) -> Backtest:
    """Forecasts of the last windows, and how good they are; see `Backtest`.

    Raises:
        DataError: as `last_windows`.
    """
    data = task.data
    last = last_windows(data, count, data.horizon if step is None else step)
    found = task.forecasts(params, last.windows)
    naive, split = _seasonal_naive(data, last.windows), data.final_split

    def measured(of):
        windows = Windows(last.windows.series[of], last.windows.cuts[of])
        metrics = task.measure(windows, split, found[of])
        if naive is not None:
            beside = point_metrics(data, windows, split, naive[of])
            metrics["seasonal_naive_mase"] = beside["mase"]
        return metrics

    rows, fans = [], []
    there = ~np.isnan(data.truth(last.windows)).all(axis=1)
    for n, name in enumerate(names_of(data.panel)):
        mine = slice(n * count, (n + 1) * count)
        if there[mine].any():  # else there is nothing to compare with
            rows.append({"series": name, **measured(mine)})
            fans.append(_fan(task, last, found, n))
    if not rows:
        raise DataError(
            "no series has an observed value in the windows of the backtest; ask for "
            "more windows."
        )
    return Backtest(measured(slice(None)), rows, _rows(task, last, found), fans)


def _seasonal_naive(data, windows):
    """The seasonal naive forecast; ``None`` where a series has no season before."""
    try:
        return baseline(data, windows, baselines(data)["seasonal_naive"])
    except DataError:
        return None


def _rows(task, last, found):
    """A row for every window, series and step, with the truth and the cutoff."""
    data, truth = task.data, task.data.truth(last.windows)
    columns, rows = quantile_columns(quantiles=task.asked.levels), []
    for n in range(last.each):
        values = named("forecast", found[n :: last.each], task.asked, columns)
        values["y"] = truth[n :: last.each]
        made = forecast_frame(data.panel, values, last.cuts(n), cutoff=True)
        rows.append(as_predictions(made))
    return Predictions(rows[0].columns, [row for part in rows for row in part.rows])


def _fan(task, last, found, n):
    """What a fan chart of one series shows."""
    data, levels, horizon = task.data, task.asked.levels, task.data.horizon
    series = data.panel.series[n]
    mine = slice(n * last.each, (n + 1) * last.each)
    cuts = last.windows.cuts[mine]
    first = max(0, int(cuts[0]) - SHOWN * horizon)
    shown = slice(first, int(cuts[-1]) + horizon)
    bands = [
        (round(100 * (high - low), 6), found[mine, :, at], found[mine, :, -1 - at])
        for at, (low, high) in enumerate(zip(levels, levels[::-1], strict=True))
        if low < high
    ]
    return Fan(
        name=names_of(data.panel)[n],
        times=data.panel.local(series.times[shown]),
        values=series.values[shown],
        starts=cuts - first,
        forecasts=task.asked.point(found[mine]),
        bands=bands,
    )
