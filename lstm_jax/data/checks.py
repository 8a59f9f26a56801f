"""Checks of what callers pass as sequences, lengths and sizes.

Every message names the argument, what came, what was expected and what to do.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np


def check_sequences(sequences: Iterable[Any]) -> list[np.ndarray]:
    """Arrays ``[T_i, ...]`` of one dtype and the same axes after time."""
    sequences = list(sequences)
    if not sequences:
        raise ValueError("sequences is empty, expected at least one array [T_i, ...].")
    arrays = [np.asarray(sequence) for sequence in sequences]
    # ``[]`` has no features and no dtype, so it gets those of the other sequences.
    bare = [isinstance(s, list | tuple) and not s for s in sequences]
    first = bare.index(False) if False in bare else 0
    like = arrays[first]
    if like.dtype.kind in "OSUMm":
        raise TypeError(
            f"sequences[{first}] has dtype {like.dtype}, expected numbers; "
            f"encode it first, text as the indices of its tokens."
        )
    for i, array in enumerate(arrays):
        if bare[i]:
            arrays[i] = np.empty((0, *like.shape[1:]), like.dtype)
        elif array.ndim < 1:
            raise ValueError(
                f"sequences[{i}] is a scalar, expected an array [T_i, ...]; "
                f"pass a list of sequences, also for a single one."
            )
        elif array.shape[1:] != like.shape[1:]:
            raise ValueError(
                f"sequences[{i}] has shape {array.shape}, expected "
                f"[T_i{''.join(f', {n}' for n in like.shape[1:])}] like "
                f"sequences[{first}]; only the number of steps may differ."
            )
        elif array.dtype != like.dtype:
            raise TypeError(
                f"sequences[{i}] has dtype {array.dtype}, expected {like.dtype} like "
                f"sequences[{first}]; cast it with astype."
            )
    return arrays


def check_lengths(lengths: Any) -> np.ndarray:
    """Lengths ``[N]``, none negative."""
    array = np.asarray(lengths)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"lengths has shape {array.shape} and dtype {array.dtype}, expected "
            f"integers [N]; pass [len(s) for s in sequences]."
        )
    if array.size and array.min() < 0:
        raise ValueError(
            f"lengths[{array.argmin()}] is {array.min()}, expected 0 or more."
        )
    return array.astype(np.int64)


def check_fit(lengths: np.ndarray, steps: int, name: str, remedy: str) -> None:
    """No sequence is longer than ``steps``, which the caller knows as ``name``."""
    if lengths.size and lengths.max() > steps:
        i = lengths.argmax()
        raise ValueError(
            f"sequences[{i}] has {lengths[i]} steps, expected at most {name}={steps}; "
            f"{remedy}."
        )


def check_count(name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {value!r}, expected a whole number.")
    if value < least:
        raise ValueError(f"{name} is {value}, expected {least} or more.")
    return int(value)


def check_value(value: Any, dtype: np.dtype) -> Any:
    """A number for the padding, which ``dtype`` can hold."""
    if np.ndim(value) != 0 or np.asarray(value).dtype.kind in "OSUMm":
        raise TypeError(f"value is {value!r}, expected one number.")
    if dtype.kind in "biu":
        try:
            fits = dtype.type(value) == value
        except (OverflowError, ValueError):
            fits = False
        if not fits:
            raise ValueError(
                f"value is {value!r}, which {dtype}, the dtype of the sequences, does "
                f"not hold; pass another value or cast the sequences."
            )
    return value
