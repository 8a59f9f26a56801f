"""What an error counts, so that the loss of training is a metric.

    mase     |y - f| / s
    smape    |y - f| / max(|y|, s)
    owa      half of each, divided by its mean for the seasonal naive forecast: 1, and r

with ``s`` the mean seasonal difference of a series, all on the training split.

A model has the loss ``|y - f| / u``, with ``u`` the unit of the scale that it reads at
``y``; see `lstm_jax.tasks.forecast_standard`. So the weights are ``u`` times the
factors of ``|y - f|``, here so that their mean over the training split is 1. Below
``s`` an error relative to ``y`` says little, and grows without a bound. A series
without a seasonal difference has no mase; its errors count as for smape, with the mean
of ``|y|`` for ``s``.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from lstm_jax.data.text import DataError

WeighBy = Literal["none", "mase", "smape", "owa"]


def error_weights(
    how: WeighBy,
    values: Sequence[np.ndarray],
    units: Sequence[np.ndarray],
    seasonal: np.ndarray,
    ends: Sequence[int],
    season: int,
) -> list[np.ndarray]:
    """The weight of every step of every series ``[T_n]``; 0 where nothing is observed.

    Args:
        how: see above; "none" gives ones.
        values: the series ``[T_n]``, NaN where nothing is observed.
        units: ``u`` of every step.
        seasonal: ``s`` of every series ``[N]``; 0 or NaN where there is none.
        ends: the first step after the training split of every series.
        season: steps of a season.

    Raises:
        DataError: every value of the training splits is 0.

    >>> import numpy as np
    >>> y = np.array([1.0, 4.0, 2.0, 8.0])
    >>> how = dict(units=[np.ones(4)], seasonal=np.array([2.0]), ends=[4], season=2)
    >>> error_weights("smape", [y], **how)[0].round(2).tolist()
    [1.45, 0.73, 1.45, 0.36]
    """
    if how == "none":
        return [np.ones_like(x) for x in values]
    s = np.where(seasonal > 0, seasonal, 0)
    relative = [
        _inverse(np.maximum(abs(x), d or _size(x[:end])))
        for x, d, end in zip(values, s, ends, strict=True)
    ]
    usual = _usual(values, relative, ends, season) if how == "owa" else 1.0
    found = []
    for x, u, r, d in zip(values, units, relative, s, strict=True):
        r, scaled = r / usual, _inverse(d)
        if how == "smape" or not scaled:
            factor = r
        else:
            factor = scaled if how == "mase" else (r + scaled) / 2
        found.append(np.where(np.isnan(x), 0, u * factor))
    train = np.concatenate([w[:end] for w, end in zip(found, ends, strict=True)])
    if not train.any():
        raise DataError(
            f"no error would count with data.weigh_by={how!r}: all values of the "
            f"training split are 0; leave data.weigh_by out."
        )
    return [w / train[train > 0].mean() for w in found]


def _size(x):
    """The mean of ``|x|``."""
    return abs(x[~np.isnan(x)]).mean() if not np.isnan(x).all() else 0.0


def _inverse(x):
    """``1 / x``, and 0 where ``x`` is 0."""
    return np.divide(1, x, out=np.zeros_like(x), where=x != 0)


def _usual(values, relative, ends, season):
    """``r``, the mean error of the seasonal naive forecast relative to the values."""
    errors = [
        (abs(x[season:end] - x[: end - season]) * factor[season:end])
        for x, factor, end in zip(values, relative, ends, strict=True)
        if end > season
    ]
    every = np.concatenate(errors) if errors else np.zeros(0)
    every = every[~np.isnan(every)]
    return float(every.mean()) or 1.0 if every.size else 1.0
