"""Several short sequences in each row, in place of padding."""

import bisect
from collections.abc import Iterable
from typing import Any

import numpy as np

from lstm_jax.data.checks import check_count, check_fit, check_sequences
from lstm_jax.data.packed import Packed, lay_out


def pack(
    sequences: Iterable[Any],
    steps: int,
    *,
    batch_size: int = 1,
    value: Any = 0,
    rng: np.random.Generator | None = None,
) -> Packed:
    """Sequences packed into rows of ``steps``, as few as best-fit-decreasing needs.

    Longest first, each goes where the least room remains after it. No more than 11/9 of
    the fewest possible rows and 4 are used (Johnson et al., "Worst-Case Performance
    Bounds for Simple One-Dimensional Packing Algorithms", 1974); short sequences among
    the long ones leave next to nothing empty.

    Args:
        sequences: arrays or lists ``[T_i, ...]`` that differ in ``T_i`` alone, which
            may be 0.
        steps: ``T``, the steps of a row.
        batch_size: empty rows fill up their number to a multiple of this, so that the
            batches ``xs[:, k * batch_size : (k + 1) * batch_size]`` have one shape.
        value: what the padding holds.
        rng: shuffles the rows, and which sequences of equal length meet in one.
            By default rows with long sequences come first.

    Returns:
        A `Packed`: ``xs`` ``[T, B, ...]`` and its flags. See `unpack`, `pack_like` and
        `last_steps`.

    Raises:
        TypeError: the sequences differ in dtype or hold no numbers.
        ValueError: there are none, they differ in the axes after time, one is longer
            than ``steps``, or their dtype cannot hold ``value``.

    >>> packed = pack([[1, 2], [3, 4, 5], [6]], steps=4)
    >>> packed.xs.T
    array([[3, 4, 5, 6],
           [1, 2, 0, 0]])
    >>> packed.segments.T
    array([[1, 1, 1, 2],
           [1, 1, 0, 0]], dtype=int32)
    >>> packed.waste
    0.25
    """
    arrays = check_sequences(sequences)
    steps, batch_size = (
        check_count("steps", steps),
        check_count("batch_size", batch_size),
    )
    lengths = np.array([len(array) for array in arrays])
    remedy = "raise steps, or carry the state over windows: see continued_rows"
    check_fit(lengths, steps, "steps", remedy)
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    order = order[np.argsort(-lengths[order], kind="stable")]
    rows, starts = _best_fit(lengths, order, steps)
    count = -(-(rows.max() + 1) // batch_size) * batch_size
    if rng is not None:
        rows = rng.permutation(count)[rows]
    return lay_out(arrays, rows, starts, (steps, count), value)


def _best_fit(lengths, order, steps):
    """Row and start of every sequence; empty ones stand at the start of row 0."""
    rows, starts = np.zeros(len(lengths), int), np.zeros(len(lengths), int)
    rooms: list[
        int
    ] = []  # Free steps of the rows that have any, increasing, once each.
    rows_with: dict[int, list[int]] = {}
    count = 0
    for i in order.tolist():
        n = int(lengths[i])
        if n == 0:
            continue
        at = bisect.bisect_left(rooms, n)
        if at == len(rooms):
            room, row = steps, count
            count += 1
        else:
            room = rooms[at]
            row = rows_with[room].pop()
            if not rows_with[room]:
                del rooms[at], rows_with[room]
        rows[i], starts[i] = row, steps - room
        if room > n:
            if room - n not in rows_with:
                bisect.insort(rooms, room - n)
            rows_with.setdefault(room - n, []).append(row)
    return rows, starts
