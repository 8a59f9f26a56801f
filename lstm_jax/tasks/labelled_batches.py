"""Labelled sequences as batches: of similar length, padded, filled up with weight 0."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.bucketing import Batch, bucket, bucket_sizes, in_runs
from lstm_jax.data.labelled import Labelled
from lstm_jax.tasks.labelled_data import steps_of
from lstm_jax.training.batches import HostBatches


class LabelledBatch(NamedTuple):
    """A batch, time-major."""

    xs: Any
    """``[T, B, D]``, or tokens ``[T, B]``."""
    lengths: Any
    """``[B]``; 0 of rows that fill up a batch."""
    labels: Any
    """``[B]``, or tags ``[T, B]``; 0 in the padding."""
    weights: Any
    """``[B]``: 1, and 0 of rows that fill up a batch."""


class LabelledBatches:
    """A `lstm_jax.training.batches.BatchSource`: shuffled epochs of labelled sequences.

    The order is a function of (seed, epoch). Every sequence is seen once an epoch.

    Args:
        sequences: ``[T_i, D]``, or tokens ``[T_i]``.
        labels: an index each, or tags ``[T_i]``; ``None`` where there are none.
        batch_size: rows of a batch.
        buckets: how many shapes batches have, at the most.
        seed: of the order.
    """

    def __init__(
        self,
        sequences: Sequence[np.ndarray],
        labels: Any,
        batch_size: int,
        buckets: int,
        seed: int = 0,
    ):
        self._seed, self._batch_size = seed, min(batch_size, len(sequences))
        self._steps = steps_of(sequences)
        self._sizes = bucket_sizes(self._steps, buckets)
        self._starts = np.concatenate([[0], np.cumsum(self._steps)])
        flat = np.concatenate(sequences)
        wide = np.int32 if flat.dtype.kind in "iu" else np.float32
        self._flat = flat.astype(wide)
        self._tags = isinstance(labels, tuple)
        if labels is None:
            labels = np.zeros(len(sequences), np.int32)
        self._labels = np.concatenate(labels) if self._tags else np.asarray(labels)

    def plan(self, epoch: int) -> Sequence[Batch]:
        rng = np.random.default_rng([self._seed, epoch])
        made = bucket(self._steps, self._sizes, self._batch_size, rng=rng).batches
        return in_runs(made, self._sizes, rng)

    @property
    def axes(self) -> LabelledBatch:
        return LabelledBatch(1, 0, 1 if self._tags else 0, 0)

    def rows(self, batch: Batch) -> int:
        return len(batch.members)

    def part(self, batch: Batch, first: int, last: int) -> Batch:
        return batch.part(first, last)

    def load(self, batch: Batch) -> LabelledBatch:
        real = batch.members >= 0
        shape = batch.steps, len(batch.members)
        xs = np.zeros((*shape, *self._flat.shape[1:]), self._flat.dtype)
        labels = np.zeros(shape if self._tags else shape[1:], np.int32)
        for row in np.flatnonzero(real):
            member = batch.members[row]
            start, steps = self._starts[member], self._steps[member]
            xs[:steps, row] = self._flat[start : start + steps]
            if self._tags:
                labels[:steps, row] = self._labels[start : start + steps]
        if not self._tags:
            labels[real] = self._labels[batch.members[real]]
        weights = real.astype(np.float32)
        return LabelledBatch(xs, batch.lengths.astype(np.int32), labels, weights)

    @functools.cached_property
    def _in_order(self):
        return bucket(self._steps, self._sizes, self._batch_size).batches

    def in_order(self) -> Iterator[tuple[np.ndarray, LabelledBatch]]:
        """Every sequence once: the indices of the rows of each batch (-1 where a row
        fills it up), and the batch."""
        for batch in self._in_order:
            yield batch.members, self.load(batch)


def training_batches(train: Labelled, config: Any, seed: int) -> HostBatches:
    """Batches of the training split, as ``batch_size``, ``buckets`` and ``block`` of
    the config of training say; their order is a function of ``seed``."""
    source = LabelledBatches(
        train.sequences, train.labels, config.batch_size, config.buckets, seed
    )
    return HostBatches(source, config.block)
