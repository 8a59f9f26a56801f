"""Batches of pairs of similar length, in a few static shapes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.bucketing import Batch, bucket, bucket_sizes
from lstm_jax.data.text import DataError

ROWS = 8
"""Rows of a batch are a multiple of these, where there are many."""


class PairShapes(NamedTuple):
    """The shapes of batches, in order of the longer side; one entry per shape."""

    longest: np.ndarray
    """The most tokens of the longer side: pairs that have so many, and no fewer than
    fit the shape before, take this shape."""
    sides: np.ndarray
    """``[K, 2]``: the steps of sources, ``S``, and of targets, ``T``."""
    rows: np.ndarray
    """How many pairs a batch has, ``B``."""


def choose_shapes(
    lengths: Any, count: int, batch_tokens: int, most: int | None = None
) -> PairShapes:
    """At most ``count`` shapes for pairs, with the fewest padded steps that the longer
    sides allow; see `lstm_jax.data.bucket_sizes`.

    Args:
        lengths: tokens of both sides ``[N, 2]``, or of sentences alone ``[N, 1]``.
        count: how many shapes there are at the most.
        batch_tokens: the most steps, with padding, that one side of a batch may have.
        most: the most pairs of a batch; ``None``: as many as fit.

    Raises:
        DataError: the longest sentence does not fit into ``batch_tokens``.

    >>> shapes = choose_shapes([(3, 4), (5, 4), (20, 18)], count=2, batch_tokens=40)
    >>> shapes.sides.tolist(), shapes.rows.tolist()
    ([[5, 4], [20, 18]], [3, 2])
    """
    lengths = np.asarray(lengths)
    longer = lengths.max(axis=1)
    if longer.max() > batch_tokens:
        raise DataError(
            f"batch_tokens={batch_tokens} is less than the {longer.max():,} tokens of "
            f"the longest sentence; raise it, or leave out long sentences."
        )
    longest = bucket_sizes(longer, count)
    shape_of = np.searchsorted(longest, longer)
    # A pair may move to a longer shape, so that no side gets shorter.
    sides = [lengths[shape_of == k].max(axis=0) for k in range(len(longest))]
    sides = np.maximum.accumulate(sides)
    rows = np.minimum(batch_tokens // longest, min(most or len(lengths), len(lengths)))
    rows = np.where(rows >= 4 * ROWS, rows // ROWS * ROWS, rows)
    return PairShapes(longest, sides, rows)


def pair_batches(
    lengths: Any, shapes: PairShapes, rng: np.random.Generator | None = None
) -> list[Batch]:
    """Batches that hold every pair once; ``Batch.steps`` is one of ``shapes.longest``.

    Args:
        lengths: tokens of both sides ``[N, 2]``, or of sentences alone ``[N, 1]``.
        shapes: from `choose_shapes` for the same lengths.
        rng: shuffles pairs within shapes, then the batches. Pairs that would leave a
            batch half empty move to the next longer shape, so that only the last shape
            has such a batch. By default pairs are sorted by length.

    >>> lengths = np.array([(3, 4), (20, 18), (5, 4)])
    >>> shapes = choose_shapes(lengths, count=2, batch_tokens=40)
    >>> [batch.members.tolist() for batch in pair_batches(lengths, shapes)]
    [[0, 2, -1], [1, -1]]
    """
    longer = np.asarray(lengths).max(axis=1)
    if rng is not None:
        taken = _promoted(longer, shapes, rng)
        return bucket(taken, shapes.longest, shapes.rows, rng=rng).batches
    order = np.argsort(longer, kind="stable")
    batches = bucket(longer[order], shapes.longest, shapes.rows).batches
    return [batch._replace(members=_named(batch.members, order)) for batch in batches]


def _promoted(longer, shapes, rng):
    """The longer side of every pair, or what takes the pair to another shape."""
    taken = longer.copy()
    for k, rows in enumerate(shapes.rows[:-1]):
        members = np.flatnonzero(np.searchsorted(shapes.longest, taken) == k)
        spare = len(members) % rows
        taken[rng.permutation(members)[:spare]] = shapes.longest[k + 1]
    return taken


def _named(members: np.ndarray, order: Sequence[int] | np.ndarray) -> np.ndarray:
    """Rows by the indices that their pairs have in the files."""
    return np.where(members >= 0, np.asarray(order)[members], -1)
