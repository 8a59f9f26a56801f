"""Conformal prediction: intervals that hold as often as they say.

A forecast is made of a calibration split, which no part of the training has seen. Its
errors give one margin for every step of the horizon:

    residuals   s = |y - f|                 interval [f - q, f + q]
    quantiles   s = max(l - y, y - u)       interval [l - q, u + q]
    margin      q = the k-th smallest of n errors s,  k = ceil((n + 1) level)

If the calibration split and the new values are exchangeable, a new value is inside with
a probability of at least ``level``, and below ``level + 1 / (n + 1)`` if no two errors
are equal. That holds for any forecast. It is a mean over calibration splits and
values. It holds step by step, not for all steps of a horizon at once. Time series
that drift are not exchangeable: measure `lstm_jax.scores.forecast.coverage` on the test
split.

Papadopoulos, Proedrou, Vovk & Gammerman 2002, "Inductive confidence machines for
regression" (residuals); Romano, Patterson & Candès 2019, "Conformalized quantile
regression" (quantiles).
"""

import math

import numpy as np
from numpy.typing import ArrayLike


def residual_margins(
    truth: ArrayLike, forecast: ArrayLike, *, level: float
) -> np.ndarray:
    """Half the width of the interval around a point forecast, ``[H]``.

    In units of the truth. Use `widen` with the forecast as both ends.

    Args:
        truth: ``[N, H]`` of the calibration split, NaN where missing.
        forecast: ``[N, H]``.
        level: between 0 and 1.

    Raises:
        ValueError: the shapes differ, a forecast of an observed value is not finite,
            ``level`` is not between 0 and 1, or a step has too few observed values for
            it: ``level / (1 - level)`` are needed, 19 for 0.95.

    >>> truth = [[1.0], [-2.0], [4.0], [3.0]]
    >>> residual_margins(truth, [[0.0]] * 4, level=0.8)
    array([4.])
    """
    y, f = _checked(truth, forecast=forecast)
    return conformal_margins(np.abs(y - f), level=level)


def quantile_margins(
    truth: ArrayLike, lower: ArrayLike, upper: ArrayLike, *, level: float
) -> np.ndarray:
    """What widens both ends of a quantile forecast, ``[H]``.

    In units of the truth. Negative if the quantiles are too far apart; see `widen`.

    Args:
        truth: ``[N, H]`` of the calibration split, NaN where missing.
        lower, upper: ``[N, H]``, forecasts of the quantiles ``(1 - level) / 2`` and
            ``(1 + level) / 2``.
        level: between 0 and 1.

    Raises:
        ValueError: as `residual_margins`.

    >>> truth = [[1.0], [-2.0], [4.0], [3.0]]
    >>> quantile_margins(truth, [[-1.0]] * 4, [[5.0]] * 4, level=0.8)
    array([1.])
    """
    y, low, high = _checked(truth, lower=lower, upper=upper)
    return conformal_margins(np.maximum(low - y, y - high), level=level)


def conformal_margins(errors: ArrayLike, *, level: float) -> np.ndarray:
    """The conformal quantile of calibration errors, by column.

    ``k = ceil((n + 1) level)``: the k-th smallest of the n values that are not NaN.

    Args:
        errors: ``[N, H]``, NaN where missing. Larger is worse.
        level: between 0 and 1.

    Returns:
        ``[H]``, in units of the errors.

    Raises:
        ValueError: ``errors`` is not ``[N, H]``, ``level`` is not between 0 and 1, or a
            column has so few values that k is above n.

    >>> conformal_margins([[3.0, 1.0], [1.0, 2.0], [2.0, np.nan]], level=0.5)
    array([2., 2.])
    """
    s = np.asarray(errors, np.float64)
    if s.ndim != 2:
        raise ValueError(f"errors has shape {s.shape}, expected [N, H].")
    if not 0 < level < 1:
        raise ValueError(f"level={level}, expected a number between 0 and 1.")
    counts = (~np.isnan(s)).sum(axis=0)
    ranks = np.array([_rank(int(n), level) for n in counts], int)
    few = ranks > counts
    if few.any():
        h = int(few.argmax())
        raise ValueError(
            f"step {h} of the horizon has {counts[h]} observed values to calibrate on, "
            f"and level={level} needs {least_values(level)}; calibrate on more rows or "
            f"lower the level."
        )
    # Sorting puts NaN last.
    return np.take_along_axis(np.sort(s, axis=0), ranks[None] - 1, axis=0)[0]


def widen(
    lower: ArrayLike, upper: ArrayLike, margins: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """``[lower - margin, upper + margin]`` for every step of the horizon.

    Where a negative margin would move the ends past each other, both become their
    middle: an empty interval contains less.

    Args:
        lower, upper: ``[N, H]``; a point forecast is both.
        margins: ``[H]``, or of every row ``[N, H]``.

    Raises:
        ValueError: the shapes do not fit.

    >>> widen([[1.0, 1.0]], [[2.0, 2.0]], margins=[0.5, -3.0])
    (array([[0.5, 1.5]]), array([[2.5, 1.5]]))
    """
    low, high, q = (np.asarray(x, np.float64) for x in (lower, upper, margins))
    if (
        low.ndim != 2
        or high.shape != low.shape
        or q.shape not in (low.shape[1:], low.shape)
    ):
        raise ValueError(
            f"lower has shape {low.shape}, upper {high.shape} and margins {q.shape}, "
            f"expected [N, H], [N, H] and [H] or [N, H]."
        )
    middle = (low + high) / 2
    below, above = low - q, high + q
    crossed = below > above
    return np.where(crossed, middle, below), np.where(crossed, middle, above)


def _rank(n: int, level: float) -> int:
    # Rounded: 20 (1 - 0.7) is a little above 6 in float64, and has rank 6.
    return math.ceil(round((n + 1) * level, 9))


def least_values(level: float) -> int:
    """The fewest calibration values that an interval of this level needs.

    >>> least_values(0.8), least_values(0.95)
    (4, 19)
    """
    return math.ceil(round(level / (1 - level), 9))


def _checked(truth: ArrayLike, **forecasts: ArrayLike) -> list[np.ndarray]:
    y = np.asarray(truth, np.float64)
    found = [y]
    for name, values in forecasts.items():
        x = np.asarray(values, np.float64)
        if y.ndim != 2 or x.shape != y.shape:
            raise ValueError(
                f"truth has shape {y.shape} and {name} {x.shape}, expected both [N, H]."
            )
        if not np.isfinite(x[~np.isnan(y)]).all():
            raise ValueError(
                f"{name} has values that are not finite where truth is observed."
            )
        found.append(x)
    return found
