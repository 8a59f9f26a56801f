"""Sequences end to end in rows, and where each of them stands.

`pack` and `continued_rows` choose the places; what follows from them is here.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.checks import check_sequences, check_value


class Packed(NamedTuple):
    """Several sequences a row, time-major, with the flags that keep them apart.

        lstm(params, None, packed.xs, mask=packed.mask, resets=packed.resets)

    equals running every sequence on its own, ``reverse=True`` and in two directions
    too. The state that sequences start from, if not zeros, goes into ``reset_carry``
    and, for the last of a row read backwards, into ``carry`` as well.
    """

    xs: np.ndarray
    """``[T, B, ...]``."""
    segments: np.ndarray
    """``[T, B]``, int32: 1, 2, ... for the sequences of a row, 0 for padding."""
    resets: np.ndarray
    """``[T, B]``: True at the first step of every sequence."""
    mask: np.ndarray
    """``[T, B]``: True at real steps."""
    rows: np.ndarray
    """``[N]``: the row that holds each sequence."""
    starts: np.ndarray
    """``[N]``: the step of the row at which it starts."""
    lengths: np.ndarray
    """``[N]``: its steps."""

    @property
    def waste(self) -> float:
        """Share of all steps that are padding."""
        return 1 - float(self.mask.mean())


def pack_like(
    sequences: Iterable[Any], packed: Packed, *, value: Any = 0
) -> np.ndarray:
    """Other sequences of the same lengths, such as targets, at the same places.

    Returns:
        An array ``[T, B, ...]``.

    Raises:
        TypeError, ValueError: as `pad`; a length is not that of the packed sequence.

    >>> from lstm_jax.data import pack
    >>> packed = pack([[1, 2], [3, 4, 5], [6]], steps=4)
    >>> pack_like([[.1, .2], [.3, .4, .5], [.6]], packed).T
    array([[0.3, 0.4, 0.5, 0.6],
           [0.1, 0.2, 0. , 0. ]])
    """
    arrays = check_sequences(sequences)
    lengths = np.array([len(array) for array in arrays])
    if len(lengths) != len(packed.lengths):
        raise ValueError(
            f"sequences has {len(lengths)} entries, expected {len(packed.lengths)}, "
            f"one for each packed sequence."
        )
    if (lengths != packed.lengths).any():
        i = int((lengths != packed.lengths).argmax())
        raise ValueError(
            f"sequences[{i}] has {lengths[i]} steps, expected {packed.lengths[i]} like "
            f"the packed one; pad or cut it first."
        )
    at = _elements(packed.rows, packed.starts, packed.lengths)
    return _fill(arrays, at, packed.mask.shape, value)


def unpack(hs: Any, packed: Packed) -> list[np.ndarray]:
    """The inverse of `pack`: ``[T, B, ...]`` to a list of ``[T_i, ...]``.

    Also for what a layer made of them. The arrays are copies, in the order in which the
    sequences were packed.

    Raises:
        ValueError: the first two axes are not those of ``packed``.

    >>> from lstm_jax.data import pack
    >>> packed = pack([[1, 2], [3, 4, 5], [6]], steps=4)
    >>> unpack(packed.xs * 10, packed)
    [array([10, 20]), array([30, 40, 50]), array([60])]
    """
    hs = np.asarray(hs)
    if hs.shape[:2] != packed.mask.shape:
        T, B = packed.mask.shape
        raise ValueError(
            f"hs has shape {hs.shape}, expected [{T}, {B}, ...] like packed.xs; "
            f"concatenate batches along axis 1 and windows along axis 0 first."
        )
    places = zip(packed.rows, packed.starts, packed.lengths, strict=True)
    return [hs[start : start + n, row].copy() for row, start, n in places]


def last_steps(
    packed: Packed, *, reverse: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Where every sequence ends: ``hs[last_steps(packed)]`` is ``[N, H]``, its final
    outputs in the order of the sequences.

    Args:
        packed: the packed sequences.
        reverse: where it ends read backwards, at its first step.

    Returns:
        Indices into the first two axes, of steps ``[N]`` and of rows ``[N]``.

    Raises:
        ValueError: a sequence is empty, and so has no last step.

    >>> from lstm_jax.data import pack
    >>> packed = pack([[1, 2], [3, 4, 5], [6]], steps=4)
    >>> packed.xs[last_steps(packed)]
    array([2, 5, 6])
    """
    if not packed.lengths.all():
        raise ValueError(
            f"sequences[{packed.lengths.argmin()}] is empty, expected at least one "
            f"step in each; leave empty sequences out."
        )
    last = packed.starts if reverse else packed.starts + packed.lengths - 1
    return last, packed.rows


def lay_out(arrays, rows, starts, shape, value) -> Packed:
    """Checked arrays at their places in ``shape``, ``(T, B)``."""
    lengths = np.array([len(array) for array in arrays])
    resets, mask = np.zeros(shape, bool), np.zeros(shape, bool)
    real = lengths > 0
    resets[starts[real], rows[real]] = True
    at = _elements(rows, starts, lengths)
    mask[at] = True
    segments = np.where(mask, np.cumsum(resets, axis=0), 0).astype(np.int32)
    xs = _fill(arrays, at, shape, value)
    return Packed(xs, segments, resets, mask, rows, starts, lengths)


def _elements(rows, starts, lengths):
    """Step and row of everything in all sequences, one after the other."""
    ends = np.cumsum(lengths)
    within = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    return np.repeat(starts, lengths) + within, np.repeat(rows, lengths)


def _fill(arrays, at, shape, value):
    first = arrays[0]
    value = check_value(value, first.dtype)
    xs = np.full((*shape, *first.shape[1:]), value, first.dtype)
    xs[at] = np.concatenate(arrays)
    return xs
