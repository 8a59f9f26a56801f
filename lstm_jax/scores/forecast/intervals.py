"""Intervals: how often they hold, and what they cost.

    coverage = mean of [l <= y <= u]
    MSIS     = mean of (u - l + (2 / a) (l - y)⁺ + (2 / a) (y - u)⁺) / scale_n

``a`` is 1 - level, ``x⁺`` is max(x, 0). A narrow interval is good, and a value outside
costs 2 / a times its distance: 40 times for the level 0.95.
"""

import numpy as np
from numpy.typing import ArrayLike

from lstm_jax.scores.forecast.observed import Average, Observed, mean_of, observed
from lstm_jax.scores.forecast.scaled import Unscaled, scaled_rows


def coverage(
    truth: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    average: Average = "points",
) -> float:
    """The fraction of observed values inside the interval, its ends included.

    Args:
        truth: ``[N, H]``, NaN where missing.
        lower, upper: ``[N, H]``.
        average: "points" weighs every observed value the same, "series" every row.

    Raises:
        ValueError: as `mse`, or a lower end is above its upper end.

    >>> coverage([[1.0, 2.0, 3.0, 4.0]], [[0.0] * 4], [[3.0] * 4])
    0.75
    """
    y, (low, high), mask = _interval(truth, lower, upper)
    return mean_of(((low <= y) & (y <= high)).astype(float), mask, average)


def msis(
    truth: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    scale: ArrayLike,
    *,
    level: float = 0.95,
    average: Average = "series",
    unscaled: Unscaled = "raise",
) -> float:
    """The mean scaled interval score of the M4 competition, without a unit.

    Args:
        truth: ``[N, H]``, NaN where missing.
        lower, upper: ``[N, H]``, the ends of the central interval of this ``level``.
        scale: ``[N]``, from `seasonal_scale`; ones give the interval score itself.
        level: between 0 and 1.
        average, unscaled: as in `mase`.

    Raises:
        ValueError: as `mase`, a lower end is above its upper end, or ``level`` is not
            between 0 and 1.

    Gneiting & Raftery 2007; Makridakis, Spiliotis & Assimakopoulos 2020.

    >>> msis([[1.0, 4.0]], [[0.0, 0.0]], [[3.0, 3.0]], scale=[2.0], level=0.5)
    2.5
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level}, expected a number between 0 and 1.")
    y, (low, high), mask = _interval(truth, lower, upper)
    divisor, mask = scaled_rows(scale, mask, unscaled)
    outside = np.maximum(low - y, 0) + np.maximum(y - high, 0)
    losses = high - low + 2 / (1 - level) * outside
    return mean_of(losses / divisor, mask, average)


def _interval(truth: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> Observed:
    found = observed(truth, lower=lower, upper=upper)
    low, high = found.forecasts
    crossed = low > high
    if crossed.any():
        n, h = (int(i) for i in np.argwhere(crossed)[0])
        raise ValueError(
            f"lower[{n}, {h}] is {low[n, h]}, above upper[{n}, {h}], {high[n, h]}; "
            f"sort the quantiles first."
        )
    return found
