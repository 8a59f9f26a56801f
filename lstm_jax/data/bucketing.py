"""Batches of sequences of similar length, in a few static shapes.

One shape for everything wastes steps on padding, one for every batch compiles for ever.
A few are nearly as tight as the second and compile once each:

    sizes = bucket_sizes(lengths, 5)
    buckets = bucket(lengths, sizes, batch_size=32, rng=np.random.default_rng(epoch))
    outputs = [model(*pad_batch(sequences, batch)) for batch in buckets.batches]
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np

from lstm_jax.data.checks import check_count, check_fit, check_lengths
from lstm_jax.data.padding import pad


class Batch(NamedTuple):
    """Which sequences stand in the rows of one batch, padded to ``steps``."""

    steps: int
    members: np.ndarray
    """``[B]``: index of the sequence in every row; -1 in rows that fill up a batch."""
    lengths: np.ndarray
    """``[B]``, int32: its steps; 0 in rows that fill up a batch."""

    def part(self, first: int, last: int) -> "Batch":
        """The rows ``first`` to before ``last``; rows after the last one are empty.

        >>> Batch(4, np.array([5, 6, 7]), np.array([4, 3, 2])).part(2, 4)
        Batch(steps=4, members=array([ 7, -1]), lengths=array([2, 0]))
        """
        members, lengths = self.members[first:last], self.lengths[first:last]
        rest = (0, last - first - len(members))
        members = np.pad(members, rest, constant_values=-1)
        return Batch(self.steps, members, np.pad(lengths, rest))


class Buckets(NamedTuple):
    """Batches that hold every sequence once."""

    batches: list[Batch]

    @property
    def waste(self) -> float:
        """Share of all steps that are padding."""
        steps = sum(batch.steps * len(batch.members) for batch in self.batches)
        real = sum(int(batch.lengths.sum()) for batch in self.batches)
        return 1 - real / steps if steps else 0.0


def bucket_sizes(lengths: Any, count: int, *, multiple: int = 1) -> np.ndarray:
    """The ``count`` bucket sizes that need the fewest padded steps for ``lengths``.

    Exact, by dynamic programming over the sizes in increasing order. The best ``k``
    buckets for all sequences up to one size extend the best ``k - 1`` buckets for all
    sequences up to a smaller size. The time grows with ``count`` times the square of
    the number of distinct lengths.

    Args:
        lengths: of the sequences, ``[N]``.
        count: how many buckets; fewer come back if there are fewer distinct lengths.
        multiple: sizes are multiples of this.

    Raises:
        ValueError: there are no lengths, one is negative, or ``count`` or ``multiple``
            is below 1.

    >>> bucket_sizes([1, 2, 2, 3, 9, 10, 10], 2)
    array([ 3, 10])
    """
    lengths = check_lengths(lengths)
    count, multiple = check_count("count", count), check_count("multiple", multiple)
    if not lengths.size:
        raise ValueError("lengths is empty, expected the length of every sequence.")
    rounded = -(-np.maximum(lengths, 1) // multiple) * multiple
    sizes, counts = np.unique(rounded, return_counts=True)
    held = np.concatenate([[0], np.cumsum(counts)])
    # Of the sequences up to the j-th size: steps in the buckets so far, and for every
    # further bucket the size up to which it leaves the sequences to those before it.
    steps = np.full(len(held), np.inf)
    steps[0] = 0
    splits = []
    for _ in range(min(count, len(sizes))):
        split, best = np.zeros(len(held), int), np.full(len(held), np.inf)
        for j, size in enumerate(sizes, start=1):
            ways = steps[:j] + size * (held[j] - held[:j])
            split[j] = ways.argmin()
            best[j] = ways[split[j]]
        steps = best
        splits.append(split)
    chosen, j = [], len(sizes)
    for split in reversed(splits):
        chosen.append(sizes[j - 1])
        j = split[j]
    return np.array(chosen[::-1])


def bucket(
    lengths: Any,
    sizes: Sequence[int] | np.ndarray,
    batch_size: int | Sequence[int] | np.ndarray,
    *,
    rng: np.random.Generator | None = None,
) -> Buckets:
    """Batches of the sequences that fit each size and no smaller one.

    Args:
        lengths: of the sequences, ``[N]``.
        sizes: steps of every bucket, increasing; see `bucket_sizes`.
        batch_size: rows of a batch, for all buckets or for each, such as
            ``[4096 // size for size in sizes]``. A last batch that is not full is
            filled up with rows of length 0, so a bucket has one shape.
        rng: shuffles sequences within buckets, then the batches. By default sequences
            keep their order, and batches come by bucket.

    Raises:
        ValueError: ``sizes`` do not increase from at least 1, a sequence is longer than
            the largest, ``batch_size`` is below 1 or not one for each bucket.

    >>> buckets = bucket([3, 9, 1, 2], sizes=[4, 10], batch_size=2)
    >>> for batch in buckets.batches:
    ...     print(batch.steps, batch.members, batch.lengths)
    4 [0 2] [3 1]
    4 [ 3 -1] [2 0]
    10 [ 1 -1] [9 0]
    >>> round(buckets.waste, 2)
    0.58
    """
    lengths, sizes = check_lengths(lengths), _check_sizes(sizes)
    remedy = "add a larger size or cut the sequence"
    check_fit(lengths, int(sizes[-1]), "sizes[-1]", remedy)
    bucket_of = np.searchsorted(sizes, lengths)
    batches = []
    for b, rows in enumerate(_check_batch_sizes(batch_size, len(sizes))):
        members = np.flatnonzero(bucket_of == b)
        if rng is not None:
            members = rng.permutation(members)
        for start in range(0, len(members), rows):
            some = members[start : start + rows]
            rest = (0, rows - len(some))
            real = np.pad(lengths[some], rest).astype(np.int32)
            some = np.pad(some, rest, constant_values=-1)
            batches.append(Batch(int(sizes[b]), some, real))
    if rng is not None:
        batches = [batches[i] for i in rng.permutation(len(batches))]
    return Buckets(batches)


@runtime_checkable
class _HasSteps(Protocol):
    @property
    def steps(self) -> int: ...


AnyBatch = TypeVar("AnyBatch", bound=_HasSteps)
"""A `Batch`, or another plan of a batch with ``steps``."""
RUN = 4
"""Batches of one shape that come one after the other, roughly."""


def in_runs(
    batches: Sequence[AnyBatch],
    sizes: Sequence[int] | np.ndarray,
    rng: np.random.Generator,
) -> list[AnyBatch]:
    """Shuffled batches with some of one shape in a row, for which a jitted block is
    called once. Shapes stay mixed over all batches, and their order is drawn: long
    sequences may all be of one class.

    Args:
        batches: shuffled, such as from `bucket` with the same ``rng``.
        sizes: the steps that they have.
        rng: draws the order.

    >>> batches = bucket([1, 2] * 8, [1, 2], 1, rng=np.random.default_rng(0)).batches
    >>> ordered = in_runs(batches, [1, 2], np.random.default_rng(0))
    >>> [batch.steps for batch in ordered]
    [1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2]
    """
    planned = []
    for first in range(0, len(batches), RUN * len(sizes)):
        group = batches[first : first + RUN * len(sizes)]
        for steps in rng.permutation(sizes):
            planned += [batch for batch in group if batch.steps == steps]
    return planned


def pad_batch(
    sequences: Sequence[Any], batch: Batch, *, value: Any = 0
) -> tuple[np.ndarray, np.ndarray]:
    """``xs`` ``[T, B, ...]`` and ``lengths`` ``[B]`` of one batch, as from `pad`.

    ``sequences`` only needs indexing, ``sequences[i]``, so it may read from a disk.

    Raises:
        TypeError, ValueError: as `pad`; or a sequence has another length than the one
            that was bucketed.

    >>> batch = bucket([3, 1], sizes=[4], batch_size=3).batches[0]
    >>> xs, lengths = pad_batch([[1, 2, 3], [4]], batch)
    >>> xs.T
    array([[1, 2, 3, 0],
           [4, 0, 0, 0],
           [0, 0, 0, 0]])
    """
    rows = [sequences[i] if i >= 0 else [] for i in batch.members.tolist()]
    xs, lengths = pad(rows, steps=max(batch.steps, *map(len, rows)), value=value)
    if not np.array_equal(lengths, batch.lengths):
        row = int((lengths != batch.lengths).argmax())
        raise ValueError(
            f"sequences[{batch.members[row]}] has {lengths[row]} steps, expected "
            f"{batch.lengths[row]}; pass the sequences whose lengths were bucketed."
        )
    return xs, lengths


def restore(rows: Sequence[Any], batches: Sequence[Batch]) -> list[Any]:
    """What came out of batches, in the order of the sequences that went in.

    Args:
        rows: for every batch, an entry per row: an array ``[B, ...]``, or the list that
            `unpad` makes of outputs ``[T, B, ...]``.
        batches: the batches, in the order of ``rows``.

    Raises:
        ValueError: there is not one entry per batch, or one for each of its rows.

    >>> buckets = bucket([3, 9, 1, 2], sizes=[4, 10], batch_size=2)
    >>> restore([["a", "c"], ["d", "-"], ["b", "-"]], buckets.batches)
    ['a', 'b', 'c', 'd']
    """
    if len(rows) != len(batches):
        raise ValueError(
            f"rows has {len(rows)} entries, expected {len(batches)}, one per batch."
        )
    found = {}
    for k, (entries, batch) in enumerate(zip(rows, batches, strict=True)):
        if len(entries) != len(batch.members):
            raise ValueError(
                f"rows[{k}] has {len(entries)} entries, expected {len(batch.members)}, "
                f"one per row; unpad time-major outputs first."
            )
        found |= {i: entries[row] for row, i in enumerate(batch.members.tolist())}
    return [found[i] for i in sorted(found) if i >= 0]


def _check_sizes(sizes):
    array = np.asarray(sizes)
    whole = array.ndim == 1 and array.size and array.dtype.kind in "iu"
    if not whole or array[0] < 1 or (np.diff(array.astype(np.int64)) < 1).any():
        raise ValueError(
            f"sizes is {array.tolist()}, expected whole numbers that increase from at "
            f"least 1; take them from bucket_sizes(lengths, count)."
        )
    return array.astype(np.int64)


def _check_batch_sizes(batch_size, buckets):
    if np.ndim(batch_size) == 0:
        return [check_count("batch_size", batch_size)] * buckets
    if len(batch_size) != buckets:
        raise ValueError(
            f"batch_size has {len(batch_size)} entries, expected {buckets}, one for "
            f"each of sizes; or pass one number for all."
        )
    return [check_count(f"batch_size[{b}]", n) for b, n in enumerate(batch_size)]
