"""What every metric of a forecast shares: missing values and means.

A missing value is NaN in the truth ``y [N, H]``. It gets weight 0, and the forecast
there may be anything. Means are taken in one of two ways:

    "points"    sum over all observed (n, h) of loss[n, h] / their number
    "series"    the mean over h of every row n, then the mean over the rows

They are equal unless rows differ in how many values are observed. A row with nothing
observed has no mean over h, and does not count.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

Average = Literal["points", "series"]
"""How losses ``[N, H]`` become one number; see this file."""


class Observed(NamedTuple):
    """Truth and forecasts in float64, with 0 where the truth is missing."""

    truth: np.ndarray
    """``[N, H]``."""
    forecasts: tuple[np.ndarray, ...]
    """``[N, H]``, or ``[N, H, K]`` for K quantiles or samples."""
    mask: np.ndarray
    """``[N, H]``, False where the truth is missing."""


def observed(truth: ArrayLike, axis: str = "", **forecasts: ArrayLike) -> Observed:
    """Checks a truth and its forecasts, and fills missing values with 0.

    Args:
        truth: ``[N, H]``.
        axis: the name of a third axis of the forecasts, if they have one.
        forecasts: by name, ``[N, H]``, or ``[N, H, K]`` with ``axis="K"``.

    Raises:
        ValueError: the truth is not ``[N, H]``, has no observed value or an infinite
            one, or a forecast has another shape or is not finite where the truth is
            observed.

    >>> found = observed([[1.0, float("nan")]], forecast=[[2.0, 3.0]])
    >>> found.truth, found.forecasts, found.mask
    (array([[1., 0.]]), (array([[2., 0.]]),), array([[ True, False]]))
    """
    y = np.asarray(truth, np.float64)
    if y.ndim != 2:
        raise ValueError(
            f"truth has shape {y.shape}, expected [N, H]: a row for every forecast."
        )
    mask = ~np.isnan(y)
    if not mask.any():
        raise ValueError(
            f"truth has shape {y.shape} and no observed value, expected at least one "
            f"that is not NaN; check that the split is not empty."
        )
    if np.isinf(y).any():
        raise ValueError("truth has infinite values; set missing values to NaN.")
    found = [_filled(name, x, axis, y, mask) for name, x in forecasts.items()]
    return Observed(np.where(mask, y, 0.0), tuple(found), mask)


def mean_of(losses: np.ndarray, mask: np.ndarray, average: Average) -> float:
    """The mean of losses ``[N, H]`` where ``mask`` is True.

    Raises:
        ValueError: ``average`` is unknown, or ``mask`` is False everywhere.

    >>> losses, mask = np.array([[1.0, 3.0], [8.0, 0.0]]), np.array([[1, 1], [1, 0]])
    >>> mean_of(losses, mask, "points"), mean_of(losses, mask, "series")
    (4.0, 5.0)
    """
    check_average(average)
    if average == "points":
        return float((losses * mask).sum() / _some(mask.sum()))
    return float(series_means(losses, mask).mean())


def series_means(losses: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The means over h of losses ``[N, H]``, of the rows with an observed value.

    Raises:
        ValueError: there is no such row.

    >>> series_means(np.array([[1.0, 3.0], [8.0, 0.0]]), np.array([[1, 1], [0, 0]]))
    array([2.])
    """
    counts = mask.sum(axis=1)
    rows = counts > 0
    _some(rows.sum())
    return (losses * mask).sum(axis=1)[rows] / counts[rows]


def check_average(average: str) -> None:
    """Raises ``ValueError`` unless ``average`` is one of `Average`."""
    if average not in ("points", "series"):
        raise ValueError(
            f"average={average!r} must be one of 'points' (every observed value "
            f"counts the same) and 'series' (every row counts the same)."
        )


def _some(count: int) -> int:
    if not count:
        raise ValueError("no value is left to average: none is observed.")
    return count


def _filled(
    name: str, values: ArrayLike, axis: str, y: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    x = np.asarray(values, np.float64)
    if x.shape[:2] != y.shape or x.ndim != 2 + bool(axis):
        N, H = y.shape
        raise ValueError(
            f"{name} has shape {x.shape}, expected "
            f"[{N}, {H}{', ' * bool(axis)}{axis}] for truth {y.shape}."
        )
    where = mask[..., None] if axis else mask
    broken = where & ~np.isfinite(x)
    if broken.any():
        at = tuple(int(i) for i in np.argwhere(broken)[0])
        raise ValueError(
            f"{name}{list(at)} is {x[at]}, expected a finite number wherever the "
            f"truth is observed."
        )
    return np.where(where, x, 0.0)
