"""Losses of quantile forecasts.

    pinball_q(y, f) = (q - [y < f]) (y - f)       below f: (1 - q) |y - f|, above: q
    pinball         = mean of pinball_q over the levels q and the observed values
    WQL             = mean over q of  2 Σ pinball_q / Σ |y|

The pinball loss is smallest where f is the q-quantile (Koenker & Bassett 1978). Twice
the pinball loss, averaged over evenly spaced levels, approximates the CRPS.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lstm_jax.scores.forecast.observed import Average, mean_of, observed


def pinball(
    truth: ArrayLike,
    quantiles: ArrayLike,
    levels: Sequence[float],
    *,
    average: Average = "points",
) -> float:
    """The mean pinball loss over all levels, in units of the truth.

    Args:
        truth: ``[N, H]``, NaN where missing.
        quantiles: ``[N, H, Q]``.
        levels: the Q levels, each between 0 and 1.
        average: "points" weighs every observed value the same, "series" every row.

    Raises:
        ValueError: as `mse`, or ``levels`` do not fit.

    >>> pinball([[4.0]], [[[3.0, 6.0]]], levels=[0.5, 0.9])
    0.35
    """
    losses, _, mask = _pinball(truth, quantiles, levels)
    return mean_of(losses.mean(axis=-1), mask, average)


def weighted_quantile_loss(
    truth: ArrayLike, quantiles: ArrayLike, levels: Sequence[float]
) -> float:
    """The weighted quantile loss, without a unit: a ratio of two sums.

    Both sums run over all observed values of all rows, so large series weigh more. This
    is ``mean_weighted_sum_quantile_loss`` of gluonts, which GIFT-Eval reports as the
    CRPS.

    Arguments and errors are those of `pinball`. It is also an error if all observed
    values are 0.

    Salinas, Flunkert, Gasthaus & Januschowski 2020, "DeepAR".

    Raises:
        ValueError: as `pinball`, or every observed value is 0.

    >>> weighted_quantile_loss([[4.0]], [[[3.0, 6.0]]], levels=[0.5, 0.9])
    0.175
    """
    losses, y, _ = _pinball(truth, quantiles, levels)
    total = np.abs(y).sum()
    if total == 0:
        raise ValueError(
            "every observed value of truth is 0, and the weighted quantile loss "
            "divides by their sum; use pinball."
        )
    return float((2 * losses.sum(axis=(0, 1)) / total).mean())


def check_levels(levels: Sequence[float]) -> np.ndarray:
    """Levels as an array ``[Q]``.

    Raises:
        ValueError: there are none, or one is not between 0 and 1.
    """
    q = np.asarray(levels, np.float64)
    if q.ndim != 1 or not q.size or not ((q > 0) & (q < 1)).all():
        raise ValueError(
            f"levels={levels}, expected numbers between 0 and 1, such as [0.1, 0.5]."
        )
    return q


def _pinball(
    truth: ArrayLike, quantiles: ArrayLike, levels: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    q = check_levels(levels)
    y, (f,), mask = observed(truth, "Q", quantiles=quantiles)
    if f.shape[-1] != len(q):
        raise ValueError(
            f"quantiles has shape {f.shape} and there are {len(q)} levels, expected "
            f"one quantile for every level."
        )
    above = y[..., None] - f
    return np.maximum(q * above, (q - 1) * above), y, mask
