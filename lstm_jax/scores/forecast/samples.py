"""The continuous ranked probability score of sampled forecasts.

    CRPS       = E|X - y| - E|X - X'| / 2,   X, X' drawn from the forecast
    plain      E|X - X'| = Σ_ij |x_i - x_j| / S²
    fair       E|X - X'| = Σ_ij |x_i - x_j| / (S (S - 1))

The plain score is that of the S samples as a distribution. It punishes few samples. The
fair score is an unbiased estimate of the score of the distribution they come from.
"""

import numpy as np
from numpy.typing import ArrayLike

from lstm_jax.scores.forecast.observed import Average, mean_of, observed


def crps(
    truth: ArrayLike,
    samples: ArrayLike,
    *,
    fair: bool = True,
    average: Average = "points",
) -> float:
    """The mean CRPS, in units of the truth, in O(S log S).

    With one sample the plain score is the absolute error.

    Args:
        truth: ``[N, H]``, NaN where missing.
        samples: ``[N, H, S]``.
        fair: the unbiased estimate, which needs two samples or more.
        average: "points" weighs every observed value the same, "series" every row.

    Raises:
        ValueError: as `mse`, or there are too few samples.

    Gneiting & Raftery 2007, "Strictly proper scoring rules, prediction, and
    estimation"; Ferro 2014, "Fair scores for ensemble forecasts".

    >>> crps([[0.0]], [[[-1.0, 3.0]]]), crps([[0.0]], [[[-1.0, 3.0]]], fair=False)
    (0.0, 1.0)
    """
    y, (x,), mask = observed(truth, "S", samples=samples)
    S = x.shape[-1]
    least = 2 if fair else 1
    if least > S:
        raise ValueError(
            f"samples has shape {x.shape}, expected at least {least} samples for "
            f"fair={fair}."
        )
    errors = np.sort(x - y[..., None], axis=-1)
    # Σ_ij |x_i - x_j| = 2 Σ_i (2i - S - 1) x_(i), for sorted x and i from 1.
    ranks = 2 * np.arange(1, S + 1) - S - 1
    spread = 2 * (errors @ ranks) / (S * (S - 1) if fair else S**2)
    return mean_of(np.abs(errors).mean(axis=-1) - spread / 2, mask, average)
