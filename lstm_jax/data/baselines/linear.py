"""One linear map from the look-back to the horizon, the same for every channel.

    f = (x - s) W + b + s        x [L] the look-back, f [H], W [L, H], b [H]
    s = x_L  ("last")  or  0  ("none")

Every DLinear and NLinear is such a map: the moving average of a DLinear is linear too
(Zeng, Chen, Zhang & Xu 2023, "Are transformers effective for time series
forecasting?"). Here the map is not trained by steps. It is the minimum of

    mean over windows of |y - s - (x - s) W - b|²  +  λ v |W|²

with ``v`` the mean variance of an entry of ``x - s``, so that ``λ`` has no unit. The
windows of a series enter only by the matrix of their moments, Z' Z with
``Z = [x - s, y - s, 1]``, so that one matrix product for every channel is almost all
the work. ``λ`` is the one with the lowest error on the validation windows.

That ordinary and ridge regression reach what these models reach by training is known
from Toner & Darlow 2024, "An analysis of linear time series forecasting models".
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from lstm_jax.data.text import DataError

Centre = Literal["last", "none"]
"""What is subtracted from a look-back: its last value, or nothing."""

STRENGTHS = tuple(float(x) for x in 10.0 ** np.arange(-6, 3))
"""The values of ``λ`` that are tried."""

ROWS = 4096
"""Windows laid out in memory at a time."""


@dataclasses.dataclass(frozen=True, eq=False)
class LinearForecast:
    """A linear map from ``L`` steps to the next ``H``. Made by `fit_linear`."""

    weights: np.ndarray
    """``W [L, H]``."""
    bias: np.ndarray
    """``b [H]``."""
    centre: Centre
    strength: float
    """The ``λ`` that was chosen."""
    valid_mse: dict[float, float]
    """The mean squared error on the validation windows for every ``λ``."""

    def __call__(self, lookback: ArrayLike) -> np.ndarray:
        """Forecasts ``[..., H]`` from look-backs ``[..., L]``.

        Raises:
            DataError: the last axis is not ``L``.
        """
        x = np.asarray(lookback, np.float64)
        if not x.ndim or x.shape[-1] != len(self.weights):
            raise DataError(
                f"lookback has shape {x.shape}, expected [..., {len(self.weights)}]."
            )
        s = x[..., -1:] if self.centre == "last" else 0.0
        return (x - s) @ self.weights + self.bias + s


def fit_linear(
    train: ArrayLike,
    valid: ArrayLike,
    lookback: int,
    horizon: int,
    *,
    centre: Centre = "last",
    strengths: Sequence[float] = STRENGTHS,
) -> LinearForecast:
    """The best linear map on the training windows.

    All windows of all channels count the same. Windows with a missing value (NaN) are
    left out. Memory is a few times ``(L + H)²`` numbers, and ``ROWS`` windows.

    Args:
        train: ``[T, C]``, the training split of C channels in the same units; see
            ``lstm_jax.data.standardise``.
        valid: ``[T', C]``, the validation split, with the ``L`` steps before it if its
            first window shall start there.
        lookback: ``L`` in steps.
        horizon: ``H`` in steps.
        centre: "last" subtracts the last value of the look-back, and a large ``λ``
            gives the naive forecast. "none" subtracts nothing, and a large ``λ`` gives
            the mean of the training split.
        strengths: the ``λ`` to choose from, above 0.

    Raises:
        DataError: a split has no window without missing values, has infinite values or
            is not ``[T, C]``, or an argument is out of range.

    >>> t = np.arange(200.0)[:, None]
    >>> found = fit_linear(np.sin(t[:150]), np.sin(t[140:]), lookback=10, horizon=3)
    >>> found.strength, found.weights.shape
    (1e-06, (10, 3))
    >>> bool(np.allclose(found(np.sin(t[:10, 0])), np.sin(t[10:13, 0]), atol=1e-3))
    True
    """
    if centre not in ("last", "none"):
        raise DataError(f"centre={centre!r} must be one of 'last' and 'none'.")
    if not len(strengths) or not all(0 < x < np.inf for x in strengths):
        raise DataError(f"strengths={strengths}, expected numbers above 0.")
    of = lambda name, split: _moments(name, split, lookback, horizon, centre)
    fit, check = of("train", train), of("valid", valid)
    L = lookback
    mean, bias = fit[-1, :L], fit[-1, L:-1]
    xx = fit[:L, :L] - np.outer(mean, mean)
    xy = fit[:L, L:-1] - np.outer(mean, bias)
    # One decomposition serves every strength.
    values, vectors = np.linalg.eigh(xx)
    projected = vectors.T @ xy
    # A split of one value has no variance but rounding, which no map should follow.
    rounding = np.finfo(float).eps * fit[:L, :L].trace() / L
    unit = float(values.mean()) if values.mean() > rounding else rounding or 1.0
    values = np.maximum(values, 0)

    def solve(strength: float) -> tuple[np.ndarray, np.ndarray]:
        w = vectors @ (projected / (values + strength * unit)[:, None])
        return w, bias - mean @ w

    errors = {float(x): _error(check, *solve(x)) for x in strengths}
    best = min(errors, key=errors.__getitem__)
    weights, bias_of = solve(best)
    return LinearForecast(weights, bias_of, centre, best, errors)


def windows(series: ArrayLike, lookback: int, horizon: int) -> Any:
    """All windows of a series, look-backs ``[W, C, L]`` and targets ``[W, C, H]``.

    Views of ``series [T, C]``, with ``W = T - L - H + 1``.

    Raises:
        DataError: the series is not ``[T, C]``, has infinite values or no window, or
            ``lookback`` or ``horizon`` is below 1.

    >>> x, y = windows(np.arange(5.0)[:, None], lookback=3, horizon=1)
    >>> x[:, 0].tolist(), y[:, 0].tolist()
    ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [[3.0], [4.0]])
    """
    values = np.asarray(series, np.float64)
    if lookback < 1 or horizon < 1:
        raise DataError(
            f"lookback={lookback} and horizon={horizon}, expected 1 or more steps each."
        )
    size = lookback + horizon
    if values.ndim != 2 or len(values) < size:
        raise DataError(
            f"the series has shape {values.shape}, expected [T, C] with T of {size} or "
            f"more for lookback={lookback} and horizon={horizon}."
        )
    if np.isinf(values).any():
        raise DataError("the series has infinite values; set missing values to NaN.")
    both = np.lib.stride_tricks.sliding_window_view(values, size, axis=0)
    return both[..., :lookback], both[..., lookback:]


def _moments(
    name: str, split: ArrayLike, lookback: int, horizon: int, centre: Centre
) -> np.ndarray:
    """The mean of ``z z'`` over windows, ``z = [x - s, y - s, 1]``."""
    try:
        past, future = windows(split, lookback, horizon)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    size = lookback + horizon
    total = np.zeros((size + 1, size + 1))
    for c in range(past.shape[1]):
        for start in range(0, len(past), ROWS):
            rows = slice(start, start + ROWS)
            x, y = past[rows, c], future[rows, c]
            z = np.concatenate([x, y, np.ones((len(x), 1))], axis=1)
            z = z[~np.isnan(z).any(axis=1)]
            if centre == "last":
                z[:, :size] -= z[:, lookback - 1, None].copy()
            total += z.T @ z
    if not total[-1, -1]:
        raise DataError(f"{name} has no window of {size} steps without missing values.")
    return total / total[-1, -1]


def _error(moments: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> float:
    """The mean squared error, from moments alone: the residual is ``z [-W; I; -b]``."""
    H = len(bias)
    residual = np.concatenate([-weights, np.eye(H), -bias[None]])
    return float(((moments @ residual) * residual).sum() / H)
