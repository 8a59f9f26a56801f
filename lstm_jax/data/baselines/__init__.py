"""Baselines: forecasts that a model has to beat, in numpy.

naive.py     naive, seasonal_naive and its quantiles
naive2.py    naive2 of the M4 competition, for its OWA
linear.py    fit_linear: one linear map from the look-back to the horizon

See `lstm_jax.scores.forecast` for the metrics.
"""

from lstm_jax.data.baselines.linear import LinearForecast, fit_linear, windows
from lstm_jax.data.baselines.naive import (
    naive,
    seasonal_naive,
    seasonal_naive_quantiles,
)
from lstm_jax.data.baselines.naive2 import naive2

__all__ = [
    "LinearForecast",
    "fit_linear",
    "naive",
    "naive2",
    "seasonal_naive",
    "seasonal_naive_quantiles",
    "windows",
]
