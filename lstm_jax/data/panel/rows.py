"""The rows of a frame or a file as arrays, before they become series."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from lstm_jax.data.panel.giving import Giving


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """``N`` rows in the order of the data."""

    codes: np.ndarray
    """The number of the id of every row ``[N]``, by first appearance."""
    names: tuple[str, ...]
    """The ids as text."""
    times: np.ndarray
    """int64, or datetime64[us] ``[N]``: in UTC if there is a zone."""
    zone: str | None
    targets: np.ndarray
    """float64 ``[N, targets]``, as are the covariates; NaN is a missing value."""
    past: np.ndarray
    future: np.ndarray
    static: tuple[np.ndarray, ...]
    """Of every static column the values ``[N]``, float64 or text."""
    place: Callable[[int], str]
    """Where a row stands, for errors."""
    giving: Giving


def first_rows(codes: np.ndarray, count: int) -> np.ndarray:
    """The first row of every code ``[count]``."""
    first = np.empty(count, np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    return first


def missing(value: Any) -> bool:
    """Whether a cell is empty: None, NaN, NaT or NA, or nothing but white space.

    >>> [missing(value) for value in (None, float("nan"), " ", 0, "nan")]
    [True, True, True, False, False]
    """
    if isinstance(value, str):
        return not value.strip()
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas.NA is neither
        return True


def called(name: str) -> str:
    """A series in a sentence; the wide form has series without ids.

    >>> called("a"), called("")
    ("series 'a'", 'the series')
    """
    return f"series {name!r}" if name else "the series"
