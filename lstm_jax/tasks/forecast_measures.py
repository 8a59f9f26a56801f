"""Metrics of the forecasts of a split, of a model or of a baseline.

mse, mae   of standardised series: errors divided by the standard deviation of the
           training split of their series
mase       errors divided by the mean seasonal difference of the steps before the split
           that is forecast
smape      in percent, on the scale of the data
owa        the mean of smape and mase, each divided by that of Naive2
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from lstm_jax.data.baselines import naive, naive2, seasonal_naive
from lstm_jax.data.panel import Windows
from lstm_jax.data.text import DataError
from lstm_jax.scores import forecast as scores
from lstm_jax.tasks.forecast_data import ForecastData


def point_metrics(
    data: ForecastData, windows: Windows, split: str, forecast: Any
) -> dict[str, float]:
    """The metrics of forecasts ``[W, H]`` on the scale of the data.

    Windows of series without a seasonal difference do not count in MASE; if there are
    only such windows, MASE is NaN.
    """
    truth, std = data.truth(windows), data.standard.std[windows.series, None]
    scale = data.seasonal_scale[split][windows.series]
    mase = float("nan")
    if ((scale > 0) & ~np.isnan(truth).all(axis=1)).any():
        mase = scores.mase(truth, forecast, scale, unscaled="skip")
    return {
        "mse": scores.mse(truth / std, forecast / std),
        "mae": scores.mae(truth / std, forecast / std),
        "mase": mase,
        "smape": scores.smape(truth, forecast),
    }


def baseline(
    data: ForecastData, windows: Windows, forecast: Callable[[np.ndarray, int], Any]
) -> np.ndarray:
    """The forecasts of windows ``[W, H]`` by a function of the steps before each, and
    of the horizon.

    Raises:
        DataError: what the function raises, such as for a series that is too short.
    """
    found = np.empty((len(windows), data.horizon))
    for row, (n, cut) in enumerate(zip(windows.series, windows.cuts, strict=True)):
        series = data.panel.series[n]
        try:
            found[row] = forecast(series.values[:cut], data.horizon)
        except DataError as error:
            raise DataError(f"the series {series.name}: {error}") from error
    return found


def baselines(data: ForecastData) -> dict[str, Callable[[np.ndarray, int], Any]]:
    """The forecasts to compare with; Naive2 takes long."""
    season = data.season
    return {
        "naive": naive,
        "seasonal_naive": lambda x, horizon: seasonal_naive(x, season, horizon),
        "naive2": lambda x, horizon: naive2(x, season, horizon),
    }


def sentence(metrics: dict[str, float]) -> str:
    """The metrics in words."""
    return (
        f"MSE {metrics['mse']:.4f}, MAE {metrics['mae']:.4f} (standardised), MASE "
        f"{metrics['mase']:.3f}, sMAPE {metrics['smape']:.2f}%"
    )
