"""Sequences side by side, each padded at its end."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from lstm_jax.data.checks import (
    check_count,
    check_fit,
    check_lengths,
    check_sequences,
    check_value,
)


def pad(
    sequences: Iterable[Any], *, steps: int | None = None, value: Any = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences as one time-major array, and their lengths.

    Args:
        sequences: arrays or lists ``[T_i, ...]`` that differ in ``T_i`` alone, which
            may be 0.
        steps: ``T``; by default the longest ``T_i``. A fixed one saves compilations.
        value: what the padding holds.

    Returns:
        ``xs`` ``[T, B, ...]`` and ``lengths`` ``[B]``, int32, as `lstm_jax.lstm` takes
        them.

    Raises:
        TypeError: the sequences differ in dtype or hold no numbers.
        ValueError: there are none, they differ in the axes after time, one is longer
            than ``steps``, or their dtype cannot hold ``value``.

    >>> xs, lengths = pad([[1, 2, 3], [], [4]])
    >>> xs.T
    array([[1, 2, 3],
           [0, 0, 0],
           [4, 0, 0]])
    >>> lengths
    array([3, 0, 1], dtype=int32)
    """
    arrays = check_sequences(sequences)
    lengths = np.array([len(array) for array in arrays])
    if steps is None:
        steps = int(lengths.max())
    steps = check_count("steps", steps, least=0)
    check_fit(lengths, steps, "steps", "raise steps or shorten the sequence")
    first = arrays[0]
    value = check_value(value, first.dtype)
    xs = np.full((steps, len(arrays), *first.shape[1:]), value, first.dtype)
    for row, array in enumerate(arrays):
        xs[: len(array), row] = array
    return xs, lengths.astype(np.int32)


def unpad(xs: Any, lengths: Any) -> list[np.ndarray]:
    """The inverse of `pad`: ``[T, B, ...]`` and ``[B]`` to a list of ``[T_i, ...]``.

    Also for what a layer made of them. The arrays are copies.

    Raises:
        ValueError: there is not one length a row, or a length leaves ``[0, T]``.

    >>> unpad(np.array([[1, 4], [2, 0], [3, 0]]), [3, 1])
    [array([1, 2, 3]), array([4])]
    """
    xs, lengths = np.asarray(xs), check_lengths(lengths)
    if xs.ndim < 2 or xs.shape[1] != len(lengths):
        raise ValueError(
            f"xs has shape {xs.shape}, expected time-major [T, {len(lengths)}, ...] "
            f"for {len(lengths)} lengths; swap the axes of batch-first arrays."
        )
    if lengths.size and lengths.max() > len(xs):
        raise ValueError(
            f"lengths[{lengths.argmax()}] is {lengths.max()}, expected at most "
            f"{len(xs)}, the steps of xs; pass the lengths that pad returned."
        )
    return [xs[:n, row].copy() for row, n in enumerate(lengths)]
