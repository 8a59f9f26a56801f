"""Naive2 of the M4 competition: naive, after removing a season if there is one.

A series is seasonal if it has three seasons or more and its autocorrelation r at the
season ``m`` is significant at 90%:

    |r_m| > 1.645 √((1 + 2 Σ_{k<m} r_k²) / T)

The seasonal indices are those of classical multiplicative decomposition. Each is the
mean over seasons of ``x / trend``, with the centred moving average over a season as
trend, and the indices are scaled to mean 1. The forecast is the last value divided by
its index, times the index of each step.

This is the competition's R code, "Benchmarks and Evaluation.R" in
github.com/Mcompetitions/M4-methods. As there, autocorrelations are known up to lag
``10 log10(T)``, so that a series with a longer season counts as not seasonal.

Makridakis, Spiliotis & Assimakopoulos 2020, "The M4 Competition: 100,000 time series
and 61 forecasting methods".
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from lstm_jax.data.baselines.naive import checked, naive
from lstm_jax.data.text import DataError

Z_90 = 1.645
"""Of the normal distribution, for a two-sided test at 90%."""


def naive2(history: ArrayLike, season: int, horizon: int) -> np.ndarray:
    """The seasonally adjusted naive forecast of one series.

    Args:
        history: ``[T]``, without missing values, above 0 if ``season`` is above 1.
        season: ``m`` in steps, 1 for none.
        horizon: ``H`` in steps.

    Returns:
        ``[H]``, in units of the history.

    Raises:
        DataError: the history is not ``[T]``, has missing values, or has values of 0 or
            below, which multiplicative indices cannot describe; or ``season`` or
            ``horizon`` is below 1.

    >>> naive2([2.0, 4.0] * 8, season=2, horizon=3)
    array([2., 4., 2.])
    >>> naive2([2.0, 4.0], season=2, horizon=3)  # too short to be seasonal
    array([4., 4., 4.])
    """
    x = checked(history, 1, horizon)
    if x.ndim != 1 or np.isnan(x).any():
        raise DataError(
            f"history has shape {x.shape}, expected [T] without missing values; fill "
            f"them first."
        )
    if season < 1:
        raise DataError(f"season={season}, expected 1 or more steps.")
    if season == 1:
        return naive(x, horizon)
    if (x <= 0).any():
        raise DataError(
            f"history has the value {x[x <= 0][0]}, expected values above 0 for "
            f"season={season}: the seasonal indices are factors."
        )
    if not is_seasonal(x, season):
        return naive(x, horizon)
    index = seasonal_indices(x, season)
    last = len(x) - 1
    steps = (last + 1 + np.arange(horizon)) % season
    return x[last] / index[last % season] * index[steps]


def is_seasonal(x: np.ndarray, season: int) -> bool:
    """Whether the autocorrelation of ``x [T]`` at ``season`` is significant at 90%.

    >>> is_seasonal(np.array([2.0, 4.0] * 8), 2), is_seasonal(np.array([2.0, 4.0]), 2)
    (True, False)
    """
    T = len(x)
    known = min(math.floor(10 * math.log10(T)), T - 1)
    if season > min(T // 3, known):
        return False
    centred = x - x.mean()
    if not centred.any():
        return False
    lags = [centred[k:] @ centred[: T - k] for k in range(season + 1)]
    r = np.array(lags[1:]) / lags[0]
    limit = Z_90 * np.sqrt((1 + 2 * (r[:-1] ** 2).sum()) / T)
    return bool(abs(r[-1]) > limit)


def seasonal_indices(x: np.ndarray, season: int) -> np.ndarray:
    """Multiplicative indices ``[m]`` of mean 1, of the phases ``t % m`` of ``x [T]``.

    >>> seasonal_indices(np.array([2.0, 4.0] * 8), 2).round(3)
    array([0.667, 1.333])
    """
    # An even season has no middle: the two ends share one weight.
    even = season % 2 == 0
    weights = np.ones(season + 1) if even else np.ones(season)
    if even:
        weights[[0, -1]] = 0.5
    trend = np.convolve(x, weights / season, mode="valid")
    first = len(weights) // 2
    ratio = x[first : first + len(trend)] / trend
    phase = (first + np.arange(len(trend))) % season
    means = np.bincount(phase, ratio, season) / np.bincount(phase, minlength=season)
    return means / means.mean()
