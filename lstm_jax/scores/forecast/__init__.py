"""Metrics of forecasts, in numpy.

Truth is ``y [N, H]``: N forecasts of H steps. A forecast is ``[N, H]``, quantiles are
``[N, H, Q]`` and samples ``[N, H, S]``. NaN in the truth is a missing value and counts
nowhere. A split with nothing observed is an error.

points.py       mse, mae, rmse, smape
scaled.py       mase and owa, and the scale of a history
quantiles.py    pinball, weighted_quantile_loss
samples.py      crps
intervals.py    coverage, msis
observed.py     missing values, and how the mean is taken

``average="points"`` gives every observed value the same weight. ``average="series"``
takes the mean of every row first. The defaults are those of the literature:

| metric | default | as in |
|---|---|---|
| mse, mae, rmse | points | long-horizon forecasting (ETT) |
| smape, mase, msis | series | M4 |
| pinball, crps, coverage | points | gluonts |
| weighted_quantile_loss | ratio of sums | gluonts, GIFT-Eval |
"""

from lstm_jax.scores.forecast.intervals import coverage, msis
from lstm_jax.scores.forecast.points import mae, mse, rmse, smape
from lstm_jax.scores.forecast.quantiles import pinball, weighted_quantile_loss
from lstm_jax.scores.forecast.samples import crps
from lstm_jax.scores.forecast.scaled import mase, owa, seasonal_scale

__all__ = [
    "coverage",
    "crps",
    "mae",
    "mase",
    "mse",
    "msis",
    "owa",
    "pinball",
    "rmse",
    "seasonal_scale",
    "smape",
    "weighted_quantile_loss",
]
