"""Errors of point forecasts.

    MSE    mean of (y - f)²
    MAE    mean of |y - f|
    RMSE   √MSE
    sMAPE  mean of 200 |y - f| / (|y| + |f|), in percent

``average`` says what the mean runs over; see `lstm_jax.scores.forecast`.
"""

import numpy as np
from numpy.typing import ArrayLike

from lstm_jax.scores.forecast.observed import (
    Average,
    check_average,
    mean_of,
    observed,
    series_means,
)


def mse(truth: ArrayLike, forecast: ArrayLike, *, average: Average = "points") -> float:
    """The mean squared error, in squared units of the truth.

    Args:
        truth: ``[N, H]``, NaN where missing.
        forecast: ``[N, H]``.
        average: "points" weighs every observed value the same, "series" every row.

    Raises:
        ValueError: the shapes differ, nothing is observed, a forecast of an observed
            value is not finite, or ``average`` is unknown.

    >>> mse([[1.0, 2.0, float("nan")]], [[1.0, 4.0, 9.0]])
    2.0
    """
    y, (f,), mask = observed(truth, forecast=forecast)
    return mean_of((y - f) ** 2, mask, average)


def mae(truth: ArrayLike, forecast: ArrayLike, *, average: Average = "points") -> float:
    """The mean absolute error, in units of the truth.

    Arguments and errors are those of `mse`.

    >>> mae([[1.0, 2.0, float("nan")]], [[1.0, 4.0, 9.0]])
    1.0
    """
    y, (f,), mask = observed(truth, forecast=forecast)
    return mean_of(np.abs(y - f), mask, average)


def rmse(
    truth: ArrayLike, forecast: ArrayLike, *, average: Average = "points"
) -> float:
    """The root of the mean squared error, in units of the truth.

    With ``average="series"`` it is the mean of the roots of the rows. Other arguments
    and errors are those of `mse`.

    Raises:
        ValueError: as `mse`.

    >>> rmse([[0.0], [0.0]], [[1.0], [7.0]]), rmse(
    ...     [[0.0], [0.0]], [[1.0], [7.0]], average="series"
    ... )
    (5.0, 4.0)
    """
    check_average(average)
    y, (f,), mask = observed(truth, forecast=forecast)
    if average == "points":
        return float(np.sqrt(mean_of((y - f) ** 2, mask, "points")))
    return float(np.sqrt(series_means((y - f) ** 2, mask)).mean())


def smape(
    truth: ArrayLike, forecast: ArrayLike, *, average: Average = "series"
) -> float:
    """The symmetric mean absolute percentage error of the M4 competition, in percent.

    Between 0 and 200. Where truth and forecast are both 0 the error is 0. The default
    average is that of M4: over the horizon, then over the series.

    Arguments and errors are those of `mse`. Makridakis, Spiliotis & Assimakopoulos
    2020, "The M4 Competition: 100,000 time series and 61 forecasting methods".

    >>> smape([[1.0, 0.0]], [[3.0, 0.0]])
    50.0
    """
    y, (f,), mask = observed(truth, forecast=forecast)
    size = np.abs(y) + np.abs(f)
    errors = 200 * np.abs(y - f) / np.where(size == 0, 1.0, size)
    return mean_of(errors, mask, average)
