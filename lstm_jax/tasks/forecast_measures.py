"""Metrics of the forecasts of a split, of a model or of a baseline.

mse, mae   of standardised series: errors divided by the standard deviation of the
           training split of their series
mase       errors divided by the mean seasonal difference of that split
smape      in percent, on the scale of the data
"""

from typing import Any

import numpy as np

from lstm_jax.data.baselines import naive, seasonal_naive
from lstm_jax.data.panel import Windows
from lstm_jax.scores import forecast as scores
from lstm_jax.tasks.forecast_data import ForecastData


def point_metrics(
    data: ForecastData, windows: Windows, forecast: Any
) -> dict[str, float]:
    """The metrics of forecasts ``[W, H]`` on the scale of the data.

    Windows of series without a seasonal difference do not count in MASE; if there are
    only such windows, MASE is NaN.
    """
    truth, std = data.truth(windows), data.standard.std[windows.series, None]
    scale = data.seasonal_scale[windows.series]
    mase = float("nan")
    if ((scale > 0) & ~np.isnan(truth).all(axis=1)).any():
        mase = scores.mase(truth, forecast, scale, unscaled="skip")
    return {
        "mse": scores.mse(truth / std, forecast / std),
        "mae": scores.mae(truth / std, forecast / std),
        "mase": mase,
        "smape": scores.smape(truth, forecast),
    }


def baseline(data: ForecastData, windows: Windows, season: int) -> np.ndarray:
    """The seasonal naive forecast of windows ``[W, H]``; the naive one with season 1.

    Raises:
        DataError: a series is too short for it before one of its windows.
    """
    found = np.empty((len(windows), data.horizon))
    for row, (n, cut) in enumerate(zip(windows.series, windows.cuts, strict=True)):
        before = data.panel.series[n].values[:cut]
        found[row] = (
            naive(before, data.horizon)
            if season == 1
            else seasonal_naive(before, season, data.horizon)
        )
    return found


def sentence(metrics: dict[str, float]) -> str:
    """The metrics in words."""
    return (
        f"MSE {metrics['mse']:.4f}, MAE {metrics['mae']:.4f} (standardised), MASE "
        f"{metrics['mase']:.3f}, sMAPE {metrics['smape']:.2f}%"
    )
