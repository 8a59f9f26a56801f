"""Long sequences in windows that hand their state on.

For truncated backpropagation through time (Williams & Peng 1990): sequences stand end
to end in parallel rows, and the next window continues every row. Forwards only.

    packed = continued_rows(sequences, rows=32, window=64)
    parts = [cut_windows(a, 64) for a in (packed.xs, packed.mask, packed.resets)]
    for xs, mask, resets in zip(*parts):
        carry, hs = lstm(params, carry, xs, mask=mask, resets=resets)
        carry = lax.stop_gradient(carry)

One long stream, which may be cut anywhere, is `training_rows` instead. For one
update after many windows see `lstm_jax.truncated_bptt`.
"""

import heapq
from collections.abc import Iterable
from typing import Any

import numpy as np

from lstm_jax.data.checks import check_count, check_sequences
from lstm_jax.data.packed import Packed, lay_out


def continued_rows(
    sequences: Iterable[Any],
    rows: int,
    window: int,
    *,
    value: Any = 0,
    rng: np.random.Generator | None = None,
) -> Packed:
    """Sequences of any length end to end in ``rows`` rows of about equal length.

    Longest first, each joins the shortest row so far. A sequence is never split between
    rows, so a single one much longer than the others leaves theirs half empty.

    Args:
        sequences: arrays or lists ``[T_i, ...]`` that differ in ``T_i`` alone, which
            may be 0.
        rows: ``B``.
        window: the steps ``T`` are a multiple of this; see `cut_windows`.
        value: what the padding, all of it at the ends of rows, holds.
        rng: shuffles the sequences within rows, and among those of equal length. By
            default those of a row keep their order.

    Returns:
        A `Packed`: ``xs`` ``[T, B, ...]``, ``resets`` where a sequence starts and
        ``mask`` for the ends. See `unpack`, `pack_like` and `last_steps`.

    Raises:
        TypeError: the sequences differ in dtype or hold no numbers.
        ValueError: there are none, they differ in the axes after time, or their dtype
            cannot hold ``value``.

    >>> packed = continued_rows([[1, 2, 3, 4, 5], [6, 7], [8, 9]], rows=2, window=3)
    >>> packed.xs.T
    array([[1, 2, 3, 4, 5, 0],
           [6, 7, 8, 9, 0, 0]])
    >>> packed.resets.T.astype(int)
    array([[1, 0, 0, 0, 0, 0],
           [1, 0, 1, 0, 0, 0]])
    """
    arrays = check_sequences(sequences)
    rows, window = check_count("rows", rows), check_count("window", window)
    lengths = np.array([len(array) for array in arrays])
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    row_of, filled = _balance(lengths, order, rows)
    starts = np.zeros_like(lengths)
    ends = np.zeros(rows, int)
    for i in order:
        starts[i] = ends[row_of[i]]
        ends[row_of[i]] += lengths[i]
    steps = max(1, -(-filled // window)) * window
    return lay_out(arrays, row_of, starts, (steps, rows), value)


def cut_windows(xs: Any, window: int) -> np.ndarray:
    """``[T, ...]`` as ``[T / window, window, ...]``, to loop or ``jax.lax.scan`` over.

    Raises:
        ValueError: ``T`` is not a multiple of ``window``.

    >>> cut_windows(np.arange(6), 3)
    array([[0, 1, 2],
           [3, 4, 5]])
    """
    xs, window = np.asarray(xs), check_count("window", window)
    if xs.ndim < 1 or len(xs) % window:
        raise ValueError(
            f"xs has shape {xs.shape}, expected a multiple of window={window} steps; "
            f"make it with continued_rows and the same window."
        )
    return xs.reshape(-1, window, *xs.shape[1:])


def _balance(lengths, order, rows):
    """The row of every sequence, and the steps of the longest row."""
    row_of = np.zeros(len(lengths), int)
    heap = [(0, row) for row in range(rows)]
    for i in order[np.argsort(-lengths[order], kind="stable")]:
        filled, row_of[i] = heap[0]
        heapq.heapreplace(heap, (filled + int(lengths[i]), int(row_of[i])))
    return row_of, max(heap)[0]
