"""Cells of a column as numbers, ids or static values; errors name the row."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lstm_jax.data.panel.packages import need
from lstm_jax.data.panel.rows import missing
from lstm_jax.data.text import DataError

Place = Callable[[int], str]

MISSING = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
"""Texts that stand for a missing number."""


def numbers(cells: Sequence[Any], name: str, place: Place) -> np.ndarray:
    """Cells as float64 ``[N]``; empty cells and those of `MISSING` are NaN.

    Raises:
        DataError: a cell is not a number, or infinite.
    """
    try:
        # float() knows the most spellings of NaN, but not empty cells.
        found = np.array([np.nan if c is None or c == "" else c for c in cells], float)
        if found.ndim != 1:
            raise TypeError("a cell is a list")
    except (TypeError, ValueError, OverflowError):
        found = np.array([_number(c, r, name, place) for r, c in enumerate(cells)])
    return finite(found, name, place)


def finite(found: np.ndarray, name: str, place: Place) -> np.ndarray:
    """Checks that numbers ``[N]`` are finite or NaN.

    Raises:
        DataError: a number is infinite.
    """
    infinite = np.isinf(found)
    if infinite.any():
        row = int(infinite.argmax())
        raise DataError(
            f"{place(row)}: column {name!r} is {found[row]}, expected a finite number, "
            f"or nothing where the value is missing."
        )
    return found


def _number(cell, row, name, place):
    if missing(cell) or (isinstance(cell, str) and cell.strip() in MISSING):
        return np.nan
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        raise DataError(
            f"{place(row)}: column {name!r} is {cell!r}, expected a number, or nothing "
            f"where the value is missing."
        ) from None


def distinct(
    cells: np.ndarray, name: str, place: Place
) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Numbers the distinct values of a column by first appearance.

    White space at the ends of texts is left out.

    Returns:
        The number of every cell, int64 ``[N]``, and the distinct values.

    Raises:
        DataError: a cell is empty or a list, or two values differ in their type alone.
    """
    factorize = need("pandas").factorize
    try:
        codes, found = factorize(cells)
    except TypeError:
        codes, found = np.zeros(len(cells), int), [[]]  # lists cannot be keys
    if any(isinstance(cell, list | tuple | dict) for cell in found):
        raise DataError(
            f"column {name!r} has lists, expected a text or a number in every row."
        )
    found = [c.strip() if isinstance(c, str) else c for c in found]
    blank = np.array([missing(value) for value in found] + [True])
    if blank[codes].any():  # pandas numbers empty cells -1: the last one
        raise DataError(
            f"{place(int(blank[codes].argmax()))}: column {name!r} is empty, expected "
            f"a value in every row."
        )
    again, merged = factorize(np.array(found, object))
    texts = [str(value) for value in merged]
    if len(set(texts)) < len(texts):
        at = next(n for n, text in enumerate(texts) if text in texts[:n])
        first = merged[texts.index(texts[at])]
        raise DataError(
            f"column {name!r} has both {first!r} and {merged[at]!r}; give every value "
            f"one type."
        )
    return again[codes].astype(np.int64), tuple(merged)
