"""Calendar and covariates as a model reads them.

known     calendar features and covariates known ahead, of the data and of the horizon
past      covariates known up to the forecast
static    numbers, and a 0 or 1 for every text, that never change within a series

Numbers are standardised by the training split of all series. A missing one is read as
the mean. A text that was not trained on is 0 everywhere.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.panel import (
    Frequency,
    Panel,
    PanelColumns,
    Series,
    calendar_features,
    calendar_names,
)
from lstm_jax.data.text import DataError

Learned = dict[str, dict[str, list[Any]]]
"""By ``past``, ``future`` and ``static`` and the name of the column its mean and
standard deviation, or its texts."""


class Features(NamedTuple):
    """The features of every series; axes of size 0 where there are none."""

    known: list[np.ndarray]
    """``[T_n + H, K]``"""
    past: list[np.ndarray]
    """``[T_n, P]``"""
    static: np.ndarray
    """``[N, S]``"""


def learn(panel: Panel, ends: Sequence[int]) -> Learned:
    """What standardises the covariates.

    Args:
        panel: the series.
        ends: the first step after the training split of every series.
    """
    columns = panel.columns
    both = [*zip(panel, ends, strict=True)]
    past = np.concatenate([series.past[:end] for series, end in both])
    future = np.concatenate([series.future[:end] for series, end in both])
    static = [
        [series.static[n] for series in panel] for n in range(len(columns.static))
    ]
    return {
        "past": _by_name(columns.past, map(_scale, past.T)),
        "future": _by_name(columns.future, map(_scale, future.T)),
        "static": _by_name(columns.static, map(_static_scale, columns.static, static)),
    }


def _by_name(names, learned):
    return dict(zip(names, learned, strict=True))


def _static_scale(name, values):
    if isinstance(values[0], str):
        return sorted({*values})
    return _scale(np.array([_number(name, value) for value in values]))


def _scale(values):
    there = values[~np.isnan(values)]
    if not there.size:
        return [0.0, 1.0]
    flat = there.min() == there.max()
    return [float(there.mean()), 1.0 if flat else float(there.std())]


def check_columns(learned: Learned, columns: PanelColumns) -> None:
    """Checks that the covariates are those that were learned, in their order.

    Raises:
        DataError: they are others, as with ``train.init_from``.
    """
    for role, names in learned.items():
        ours = getattr(columns, role)
        if list(names) != list(ours):
            raise DataError(
                f"data.{role} is {[*ours]}, and the model knows {[*names]}; give the "
                f"same columns in the same order, or train without train.init_from."
            )


def size_of(
    frequency: Frequency, learned: Learned, calendar: bool
) -> tuple[int, int, int]:
    """How many features there are: known, past and static."""
    names = calendar_names(frequency) if calendar else ()
    static = sum(
        1 if _is_scale(column) else len(column) for column in learned["static"].values()
    )
    return len(names) + len(learned["future"]), len(learned["past"]), static


def features_of(
    panel: Panel,
    learned: Learned,
    horizon: int,
    *,
    calendar: bool,
    ahead: bool,
) -> Features:
    """The features of every series.

    Args:
        panel: the series.
        learned: what `learn` returned.
        horizon: ``H``, steps to go beyond the data.
        calendar: whether there are calendar features.
        ahead: whether the horizon after the last value will be forecast, so that its
            covariates are needed.

    Raises:
        DataError: they are needed, and the data end before.
    """
    known, past = [], []
    for series in panel:
        steps = len(series) + horizon
        if ahead:
            _check_ahead(panel, series, horizon)
        future = _standardised(series.future[:steps], learned["future"])
        future = np.pad(future, [(0, steps - len(future)), (0, 0)])
        parts = [future]
        if calendar:
            times = np.concatenate([series.times, panel.after(series, horizon)])
            parts.insert(0, calendar_features(panel.local(times), panel.frequency))
        known.append(np.concatenate(parts, axis=1).astype(np.float32))
        past.append(_standardised(series.past, learned["past"]))
    static = [_static(series, learned["static"]) for series in panel]
    return Features(known, past, np.array(static, np.float32))


def _check_ahead(panel, series, horizon):
    beyond = len(series.future) - len(series)
    if panel.columns.future and beyond < horizon:
        raise DataError(
            f"the series {series.name} has {beyond:,} rows after its last value, and a "
            f"forecast needs {horizon:,} with {', '.join(panel.columns.future)}; "
            f"append rows with these columns and an empty target, or in Python pass "
            f"them as futr_df."
        )


def _standardised(values, scales):
    if not scales:
        return np.zeros((len(values), 0), np.float32)
    mean, std = np.array([*scales.values()]).T
    return np.nan_to_num((values - mean) / std).astype(np.float32)


def _static(series: Series, columns):
    found: list[float] = []
    for value, (name, column) in zip(series.static, columns.items(), strict=True):
        if _is_scale(column):
            found.append((_number(name, value) - column[0]) / column[1])
        else:
            text = value if isinstance(value, str) else f"{value:g}"
            found.extend(float(text == one) for one in column)
    return found


def _number(name, value):
    """The value of a static column of numbers."""
    try:
        number = float(value)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise DataError(
            f"the static column {name!r} has {value!r}, and the model reads it as a "
            f"number; give a finite number."
        )
    return number


def _is_scale(column):
    return not isinstance(column[0], str)
