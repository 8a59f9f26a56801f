"""Errors in units of the seasonal naive forecast: MASE and OWA.

    scale_n = mean over t of |x[n, t] - x[n, t - m]|,  x the history, m the season
    MASE    = mean of |y[n, h] - f[n, h]| / scale_n
    OWA     = (sMAPE / sMAPE of Naive2 + MASE / MASE of Naive2) / 2

The scale is 0 for a history that repeats with the season exactly, and undefined (NaN)
for one without two observed values a season apart. Such rows are an error by default.
``unscaled="skip"`` leaves them out of the mean. They are never given a made-up scale.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from lstm_jax.scores.forecast.observed import Average, mean_of, observed

Unscaled = Literal["raise", "skip"]
"""What to do with rows whose scale is 0 or NaN."""


def seasonal_scale(
    histories: Sequence[ArrayLike] | np.ndarray, season: int
) -> np.ndarray:
    """The mean absolute seasonal difference of every history, ``[N]``.

    In units of the series. Pairs with a missing value (NaN) do not count, so histories
    of different lengths may be padded with NaN. NaN where no pair is left.

    Args:
        histories: N series ``[T_n]``, what is known before the forecast starts.
        season: ``m`` in steps, 1 for series without a season.

    Raises:
        ValueError: ``season`` is below 1, or a history is not ``[T]``.

    >>> seasonal_scale([[1.0, 2.0, 4.0, 8.0], [5.0, 5.0]], season=2)
    array([4.5, nan])
    """
    if season < 1:
        raise ValueError(f"season={season}, expected 1 or more steps.")
    return np.array([_scale(n, x, season) for n, x in enumerate(histories)])


def mase(
    truth: ArrayLike,
    forecast: ArrayLike,
    scale: ArrayLike,
    *,
    average: Average = "series",
    unscaled: Unscaled = "raise",
) -> float:
    """The mean absolute scaled error, without a unit.

    1 is as good as the seasonal naive forecast one season ahead, in the history.

    M4 takes the default average, with a scale from each training series. GIFT-Eval and
    gluonts take a row for every window, ``average="points"``, and a scale from all that
    precedes the window. The two averages differ only if values are missing.

    Args:
        truth: ``[N, H]``, NaN where missing.
        forecast: ``[N, H]``.
        scale: ``[N]``, from `seasonal_scale`.
        average: "points" weighs every observed value the same, "series" every row.
        unscaled: "raise" for an error if a row has the scale 0 or NaN, "skip" to leave
            such rows out.

    Raises:
        ValueError: as `mse`, or a scale is 0, negative or not finite.

    Hyndman & Koehler 2006, "Another look at measures of forecast accuracy".

    >>> mase([[3.0, 5.0]], [[4.0, 8.0]], scale=[2.0])
    1.0
    """
    y, (f,), mask = observed(truth, forecast=forecast)
    divisor, mask = scaled_rows(scale, mask, unscaled)
    return mean_of(np.abs(y - f) / divisor, mask, average)


def owa(smape: float, mase: float, naive2_smape: float, naive2_mase: float) -> float:
    """The overall weighted average of the M4 competition, without a unit.

    Args:
        smape, mase: of the forecast, over all series.
        naive2_smape, naive2_mase: of Naive2 on the same series; see
            `lstm_jax.data.baselines.naive2`.

    Raises:
        ValueError: a metric of Naive2 is not above 0, or any metric is not finite.

    Makridakis, Spiliotis & Assimakopoulos 2020.

    >>> owa(9.0, 1.0, naive2_smape=18.0, naive2_mase=4.0)
    0.375
    """
    if not (np.isfinite([smape, mase, naive2_smape, naive2_mase]).all()):
        raise ValueError(
            f"smape={smape}, mase={mase}, naive2_smape={naive2_smape} and "
            f"naive2_mase={naive2_mase}, expected finite numbers."
        )
    if naive2_smape <= 0 or naive2_mase <= 0:
        raise ValueError(
            f"naive2_smape={naive2_smape} and naive2_mase={naive2_mase}, expected "
            f"both above 0: OWA divides by them."
        )
    return (smape / naive2_smape + mase / naive2_mase) / 2


def scaled_rows(
    scale: ArrayLike, mask: np.ndarray, unscaled: Unscaled
) -> tuple[np.ndarray, np.ndarray]:
    """Divisors ``[N, 1]``, and ``mask`` without the rows that have no scale.

    Raises:
        ValueError: ``scale`` is not ``[N]``, is negative or infinite, or is 0 or NaN in
            a row with observed values while ``unscaled`` is "raise"; or no row has a
            scale.
    """
    s = np.asarray(scale, np.float64)
    if unscaled not in ("raise", "skip"):
        raise ValueError(f"unscaled={unscaled!r} must be one of 'raise' and 'skip'.")
    if s.shape != mask.shape[:1]:
        raise ValueError(
            f"scale has shape {s.shape} and truth {mask.shape}, expected one scale for "
            f"every row: [{len(mask)}]."
        )
    if (s < 0).any() or np.isinf(s).any():
        raise ValueError("scale has negative or infinite values; use seasonal_scale.")
    none = np.isnan(s) | (s == 0)
    lost = none & mask.any(axis=1)
    if lost.any() and unscaled == "raise":
        raise ValueError(
            f"scale[{int(lost.argmax())}] is {s[lost.argmax()]}, and so are "
            f"{int(lost.sum()) - 1} more: the history repeats exactly or is shorter "
            f"than a season. Pass unscaled='skip' to leave these rows out."
        )
    kept = mask & ~none[:, None]
    if not kept.any():
        raise ValueError("scale is 0 or NaN in every row with observed values.")
    return np.where(none, 1.0, s)[:, None], kept


def _scale(n: int, history: ArrayLike, season: int) -> float:
    x = np.asarray(history, np.float64)
    if x.ndim != 1:
        raise ValueError(f"histories[{n}] has shape {x.shape}, expected [T].")
    steps = np.abs(x[season:] - x[:-season])
    steps = steps[~np.isnan(steps)]
    return float(steps.mean()) if len(steps) else float("nan")
