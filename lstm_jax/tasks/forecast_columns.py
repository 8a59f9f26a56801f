"""The quantiles of a forecast, and what their columns are called.

>>> quantile_columns(level=80)
{'-lo-80': 0.1, '-hi-80': 0.9}
>>> quantile_columns(quantiles=[0.1, 0.25])
{'-q10': 0.1, '-q25': 0.25}
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_jax.data.text import DataError
from lstm_jax.tasks.abilities import Predictions
from lstm_jax.tasks.forecast_program import Asked

DIGITS = 9
"""Levels are rounded to so many digits: 0.1 + 0.2 is not 0.3."""


def quantile_columns(level: Any = (), quantiles: Any = ()) -> dict[str, float]:
    """What is added to the name of a forecast, and the level of the quantile.

    Args:
        level: prediction intervals in percent, one or more: 80 lies between the
            quantiles 0.1 and 0.9.
        quantiles: levels of single quantiles, one or more.

    Raises:
        DataError: a percent is not between 0 and 100, or a level not between 0 and 1.
    """
    found = {}
    for percent in np.atleast_1d(level).tolist():
        if not 0 < percent < 100:
            raise DataError(
                f"level has {percent:g}, expected percents between 0 and 100, such as "
                f"80."
            )
        for side, end in (("lo", 50 - percent / 2), ("hi", 50 + percent / 2)):
            found[f"-{side}-{percent:g}"] = round(end / 100, DIGITS)
    for q in np.atleast_1d(quantiles).tolist():
        if not 0 < q < 1:
            raise DataError(
                f"quantiles has {q:g}, expected levels between 0 and 1, such as 0.9."
            )
        found[f"-q{100 * q:g}"] = round(q, DIGITS)
    return found


def columns_asked(
    level: Any, quantiles: Any, usual: tuple[float, ...]
) -> dict[str, float]:
    """`quantile_columns` of what a user asks for, and of the usual levels if that is
    ``None`` twice."""
    if level is None and quantiles is None:
        return quantile_columns(quantiles=usual)
    given = lambda asked: () if asked is None else asked
    return quantile_columns(given(level), given(quantiles))


def conformal_levels(
    level: Any, quantiles: Any, usual: tuple[float, ...]
) -> tuple[float, ...]:
    """The conformal intervals that a user asks for, in percent; those of the run where
    ``level`` is ``None``.

    Raises:
        DataError: there are none, a percent is not between 0 and 100, or quantiles are
            asked for.
    """
    if quantiles is not None:
        raise DataError(
            "quantiles are not calibrated, only the intervals of level; leave out "
            "quantiles, or conformal."
        )
    found = usual if level is None else tuple(np.atleast_1d(level).tolist())
    if not found:
        raise DataError(
            "conformal intervals have a level, and none is given; pass level in "
            "percent, such as 80."
        )
    quantile_columns(found)
    return found


def named(
    name: str, forecasts: np.ndarray, asked: Asked, columns: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Forecasts ``[W, H, Q]`` as columns ``[W, H]``: one number, and quantiles.

    Args:
        name: of the column of the number.
        forecasts: the number or the quantiles.
        asked: what the last axis is.
        columns: what `quantile_columns` returned.
    """
    found = {name: asked.point(forecasts)}
    for ending, level in columns.items():
        found[name + ending] = forecasts[..., asked.levels.index(level)]
    return found


def as_predictions(frame: Any) -> Predictions:
    """The rows of what `lstm_jax.data.panel.forecast_frame` makes of a file: a
    dictionary of arrays, or a table of pyarrow."""
    columns = frame if isinstance(frame, dict) else frame.to_pydict()
    cells = (np.asarray(column).tolist() for column in columns.values())
    return Predictions([*columns], [list(row) for row in zip(*cells, strict=True)])
