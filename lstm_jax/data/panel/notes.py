"""What was done to the data, in sentences for the user."""

from collections.abc import Sequence

import numpy as np

from lstm_jax.data.labelled.table import listed

SHOWN = 5
"""So many series are named in a note."""


def filled_note(names: Sequence[str], filled: np.ndarray) -> str:
    """Of the steps that were added to each series ``[S]``.

    >>> filled_note(["a", "b"], np.array([0, 3]))
    '3 missing steps were added as missing values, in 1 of 2 series: b.'
    """
    what = "step was" if filled.sum() == 1 else "steps were"
    text = f"{filled.sum():,} missing {what} added as missing values"
    return f"{text}{_among(names, filled > 0)}."


def missing_notes(values: np.ndarray, targets: Sequence[str]) -> list[str]:
    """Of the missing values of each target, ``[N, targets]``."""
    counts = np.isnan(values).sum(axis=0)
    return [
        f"{count:,} of {len(values):,} values of {target} are missing."
        for count, target in zip(counts, targets, strict=True)
        if count
    ]


def constant_notes(
    names: Sequence[str], targets: Sequence[str], values: np.ndarray, starts: np.ndarray
) -> list[str]:
    """Of targets ``[T, targets]`` with one value, in series that start at ``[S]``."""
    low = np.fmin.reduceat(values, starts)
    high = np.fmax.reduceat(values, starts)
    many = np.add.reduceat(~np.isnan(values), starts, dtype=np.int64) > 1
    constant = (low == high) & many
    return [
        f"{target} is constant{_among(names, at)}."
        for at, target in zip(constant.T, targets, strict=True)
        if at.any()
    ]


def _among(names, at):
    if len(names) == 1:
        return ""
    some = [name for name, there in zip(names, at, strict=True) if there]
    shown = listed(some[:SHOWN]) + (", ..." if len(some) > SHOWN else "")
    return f", in {len(some):,} of {len(names):,} series: {shown}"
