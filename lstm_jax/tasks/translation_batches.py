"""Pairs of sentences as batches: of similar length, padded, with empty rows."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.bucketing import Batch, in_runs
from lstm_jax.data.parallel import EncodedPairs, choose_shapes, pair_batches
from lstm_jax.models.translation import PairBatch

STEPS = 8
"""Steps of sentences to translate are a multiple of these: sentences that come one by
one have few shapes."""


class SourceBatch(NamedTuple):
    """Sentences to translate, time-major; 0 in the padding."""

    source: Any
    """Tokens, each sentence with its end, int32 ``[S, B]``."""
    source_lengths: Any
    """int32 ``[B]``; 0 of rows that fill up a batch."""


class TranslationBatches:
    """A `lstm_jax.training.batches.BatchSource`: shuffled epochs of pairs.

    The order is a function of (seed, epoch). Every pair is seen once an epoch, and
    every epoch has the same number of batches.

    Args:
        pairs: their tokens.
        batch_tokens: the most steps, with padding, that one side of a batch has.
        buckets: how many shapes batches have, at the most.
        seed: of the order.
        most: the most pairs of a batch; ``None``: as many as fit.

    Raises:
        DataError: the longest sentence has more tokens than ``batch_tokens``.
    """

    def __init__(
        self,
        pairs: EncodedPairs,
        batch_tokens: int,
        buckets: int,
        seed: int = 0,
        most: int | None = None,
    ):
        self._seed, self._begin = seed, pairs.begin
        self._lengths = pairs.lengths
        self._sources, self._targets = _Flat(pairs.sources), _Flat(pairs.targets)
        self._shapes = choose_shapes(self._lengths, buckets, batch_tokens, most)

    def plan(self, epoch: int) -> Sequence[Batch]:
        rng = np.random.default_rng([self._seed, epoch])
        batches = pair_batches(self._lengths, self._shapes, rng)
        return in_runs(batches, self._shapes.longest, rng)

    axes = PairBatch._make((1, 0, 1, 1, 0))

    def rows(self, batch: Batch) -> int:
        return len(batch.members)

    def part(self, batch: Batch, first: int, last: int) -> Batch:
        return batch.part(first, last)

    def load(self, batch: Batch) -> PairBatch:
        shape = np.searchsorted(self._shapes.longest, batch.steps)
        steps, target_steps = self._shapes.sides[shape]
        source, source_lengths = self._sources.rows(batch.members, steps)
        outputs, lengths = self._targets.rows(batch.members, target_steps)
        real = batch.members >= 0
        inputs = np.zeros_like(outputs)
        inputs[1:] = np.where(
            np.arange(1, len(outputs))[:, None] < lengths, outputs[:-1], 0
        )
        inputs[0, real] = self._begin
        made: Any = (source, source_lengths, inputs, outputs, lengths)
        return PairBatch(*made)

    @functools.cached_property
    def _in_order(self):
        return pair_batches(self._lengths, self._shapes)

    def in_order(self) -> Iterator[tuple[np.ndarray, PairBatch]]:
        """Every pair once, sorted by length: the indices of the rows of each batch (-1
        where a row fills it up), and the batch."""
        for batch in self._in_order:
            yield batch.members, self.load(batch)


def source_batches(
    sources: Sequence[np.ndarray], batch_tokens: int, buckets: int
) -> Iterator[tuple[np.ndarray, SourceBatch]]:
    """Sentences to translate, sorted by length: the indices of the rows of each batch
    (-1 where a row fills it up), and the batch. None is left out.

    Args:
        sources: tokens of every sentence, with its end.
        batch_tokens: the most steps, with padding, that a batch has; a longer sentence
            goes alone.
        buckets: how many shapes batches have, at the most.

    >>> sources = [np.array([5, 1]), np.array([6, 7, 8, 1]), np.array([9, 1])]
    >>> for members, batch in source_batches(sources, batch_tokens=16, buckets=2):
    ...     print(members, batch.source.shape)
    [0 2] (8, 2)
    [ 1 -1] (8, 2)
    """
    if not len(sources):
        return
    lengths = np.array([len(tokens) for tokens in sources])[:, None]
    flat = _Flat(sources)
    steps = -(-lengths // STEPS) * STEPS
    shapes = choose_shapes(steps, buckets, max(batch_tokens, int(steps.max())))
    for batch in pair_batches(lengths, shapes):
        yield batch.members, SourceBatch(*flat.rows(batch.members, batch.steps))


class _Flat:
    """Sequences end to end: one array takes less memory than many."""

    def __init__(self, sequences):
        self._steps = np.array([len(sequence) for sequence in sequences], np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self._steps)])
        self._tokens = np.concatenate(sequences).astype(np.int32)

    def rows(self, members, steps):
        """Tokens ``[steps, B]`` and lengths ``[B]`` of some; -1 is an empty row."""
        padded = np.zeros((steps, len(members)), np.int32)
        lengths = np.where(members >= 0, self._steps[members], 0).astype(np.int32)
        for row in np.flatnonzero(members >= 0):
            start = self._starts[members[row]]
            padded[: lengths[row], row] = self._tokens[start : start + lengths[row]]
        return padded, lengths
