"""Forecasts that repeat the past.

    naive              f[h] = x[T]
    seasonal naive     f[h] = the last observed x[t] with the season's phase of T + h
    its quantiles      f[h] + σ √k z_q,   k = ceil(h / m) seasons ahead
                       σ² = mean over t of (x[t] - x[t - m])²

h counts from 1, ``m`` is the season, and ``z_q`` is the q-quantile of the normal
distribution. The quantiles are those of a seasonal random walk with normal steps
(Hyndman & Athanasopoulos 2021, "Forecasting: Principles and Practice", 5.5).
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from lstm_jax.data.text import DataError


def naive(history: ArrayLike, horizon: int) -> np.ndarray:
    """The last observed value, ``horizon`` times.

    Args:
        history: ``[..., T]``, NaN where missing.
        horizon: ``H`` in steps.

    Returns:
        ``[..., H]``, in units of the history.

    Raises:
        DataError: a series has no observed value, or ``horizon`` is below 1.

    >>> naive([1.0, 3.0, float("nan")], horizon=2)
    array([3., 3.])
    """
    return seasonal_naive(history, season=1, horizon=horizon)


def seasonal_naive(history: ArrayLike, season: int, horizon: int) -> np.ndarray:
    """The last season, repeated for ``horizon`` steps.

    A missing value of the last season is taken from the season before, and so on.

    Args:
        history: ``[..., T]``, NaN where missing.
        season: ``m`` in steps, such as 24 for a day of hours.
        horizon: ``H`` in steps.

    Returns:
        ``[..., H]``, in units of the history.

    Raises:
        DataError: a history is shorter than the season, a phase of the season is never
            observed, or ``season`` or ``horizon`` is below 1.

    >>> seasonal_naive([9.0, 9.0, 9.0, 1.0, 2.0, 3.0], season=3, horizon=4)
    array([1., 2., 3., 1.])
    """
    x = checked(history, season, horizon)
    last = _last_season(x, season)
    return last[..., np.arange(horizon) % season]


def seasonal_naive_quantiles(
    history: ArrayLike, season: int, horizon: int, levels: Sequence[float]
) -> np.ndarray:
    """Quantiles of the seasonal naive forecast, from its errors in the history.

    These are the quantiles of statsforecast, with which GIFT-Eval reports its seasonal
    naive baseline.

    Args:
        history: ``[..., T]``, NaN where missing.
        season, horizon: as in `seasonal_naive`.
        levels: Q numbers between 0 and 1.

    Returns:
        ``[..., H, Q]``, in units of the history.

    Raises:
        DataError: as `seasonal_naive`, a history has no two observed values a season
            apart, or a level is not between 0 and 1.

    >>> seasonal_naive_quantiles([0.0, 1.0, 2.0], 1, 2, levels=[0.5, 0.841]).round(2)
    array([[2.  , 3.  ],
           [2.  , 3.41]])
    """
    if not all(0 < q < 1 for q in levels):
        raise DataError(f"levels={levels}, expected numbers between 0 and 1.")
    forecast = seasonal_naive(history, season, horizon)
    x = np.asarray(history, np.float64)
    errors = x[..., season:] - x[..., :-season]
    counts = (~np.isnan(errors)).sum(axis=-1)
    if not counts.all():
        raise DataError(
            f"a history has no two observed values {season} steps apart, and its "
            f"spread is unknown; give a longer history."
        )
    sigma = np.sqrt(np.nansum(errors**2, axis=-1) / counts)
    ahead = np.sqrt(np.arange(horizon) // season + 1)
    z = np.array([NormalDist().inv_cdf(q) for q in levels])
    return forecast[..., None] + sigma[..., None, None] * ahead[:, None] * z


def checked(history: ArrayLike, season: int, horizon: int) -> np.ndarray:
    """The history in float64.

    Raises:
        DataError: it is shorter than the season or has infinite values, or ``season``
            or ``horizon`` is below 1.
    """
    x = np.asarray(history, np.float64)
    if season < 1 or horizon < 1:
        raise DataError(
            f"season={season} and horizon={horizon}, expected 1 or more steps each."
        )
    if not x.ndim or x.shape[-1] < season:
        raise DataError(
            f"history has shape {x.shape}, expected [..., T] with T of {season} or "
            f"more for season={season}."
        )
    if np.isinf(x).any():
        raise DataError("history has infinite values; set missing values to NaN.")
    return x


def _last_season(x: np.ndarray, season: int) -> np.ndarray:
    """The last observed value of every phase, ``[..., m]``, in order of time."""
    missing = -x.shape[-1] % season
    gap = np.full((*x.shape[:-1], missing), np.nan)
    seasons = np.concatenate([gap, x], axis=-1)
    seasons = seasons.reshape(*x.shape[:-1], -1, season)
    seen = ~np.isnan(seasons)
    if not seen.any(axis=-2).all():
        raise DataError(
            f"history has a phase of season={season} without any observed value, "
            f"expected at least one for each."
        )
    last = seasons.shape[-2] - 1 - seen[..., ::-1, :].argmax(axis=-2)
    return np.take_along_axis(seasons, last[..., None, :], axis=-2)[..., 0, :]
