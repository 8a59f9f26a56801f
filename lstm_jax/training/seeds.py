"""Figures of several seeds, some of which may have come to an end."""

from collections.abc import Iterable, Sequence

import numpy as np


def finite(values: Iterable[float]) -> list[float | None]:
    """Numbers as JSON has them, which knows none that is not finite.

    >>> finite([1.5, float("nan")])
    [1.5, None]
    """
    return [float(value) if np.isfinite(value) else None for value in values]


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are there.

    >>> mean([1.5, None, 2.5]), mean([None])
    (2.0, None)
    """
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None
