"""Recordings as batches: of similar length, padded, changed at random for training."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.bucketing import bucket_sizes
from lstm_jax.data.sounds import augment
from lstm_jax.tasks.speech_config import SoundsConfig
from lstm_jax.tasks.speech_data import Utterances

GROWTH = 1.25
"""A batch that is longer than those of the first epoch has a shape longer by powers of
this."""
LABELS = 8
"""Labels of a batch are padded to a multiple of this."""


class SpeechBatch(NamedTuple):
    """A batch, time-major."""

    signal: Any
    """Samples, float32 ``[N, B]``."""
    lengths: Any
    """Samples of every row, int32 ``[B]``; 0 of rows that fill up a batch."""
    labels: Any
    """Tokens, int32 ``[L, B]``; 0 in the padding."""
    label_lengths: Any
    """Tokens of every row, int32 ``[B]``."""
    weights: Any
    """``[B]``: 1, and 0 of rows that fill up a batch."""


@dataclasses.dataclass(frozen=True)
class Utterance:
    """Some recordings in a row, and how they are changed."""

    members: tuple[int, ...]
    gaps: tuple[int, ...]
    """Samples of silence before, between and after recordings that are joined."""
    factor: float
    """How much faster."""
    seed: tuple[int, ...]
    """Of gain and noise."""


class Planned(NamedTuple):
    """A batch that is not loaded yet."""

    samples: int
    labels: int
    utterances: Sequence[Utterance]


class SpeechBatches:
    """A `lstm_jax.training.batches.BatchSource`: shuffled epochs of recordings.

    What an epoch holds is a function of (seed, epoch). Without ``join`` every recording
    is in every epoch once. With it, an epoch has as many joined recordings as there are
    recordings by the mean number that is joined, drawn from shuffled rounds of them.

    Args:
        split: the recordings.
        between: the tokens between the transcripts of joined recordings.
        batch_size: rows of a batch.
        buckets: shapes of batches, roughly.
        sounds: how recordings are changed; ``None``: not at all.
        rate: samples a second.
        seed: of all random numbers.
    """

    def __init__(
        self,
        split: Utterances,
        batch_size: int,
        buckets: int,
        *,
        rate: int,
        sounds: SoundsConfig | None = None,
        between: np.ndarray | None = None,
        seed: int = 0,
    ):
        self._split, self._seed, self._rate = split, seed, rate
        self._sounds = sounds or SoundsConfig()
        nothing = np.zeros(0, np.int32)
        self._between = nothing if between is None else between
        mean = (1 + self._sounds.join) / 2
        self._count = max(round(len(split) / mean), 1)
        self._rows = min(batch_size, self._count)
        self._shapes = self._choose(buckets)

    # What an epoch holds

    def _utterances(self, epoch) -> list[Utterance]:
        config, count = self._sounds, self._count
        rng = np.random.default_rng([self._seed, epoch])
        sizes = rng.integers(1, config.join + 1, count) if config.join > 1 else None
        each = np.ones(count, int) if sizes is None else sizes
        rounds = -(-int(each.sum()) // len(self._split))
        order = np.concatenate(
            [rng.permutation(len(self._split)) for _ in range(rounds)]
        ).tolist()
        low, high = (
            round(ms / 1000 * self._rate)
            for ms in (config.gap_low_ms, config.gap_high_ms)
        )
        found, at = [], 0
        for n, size in enumerate(each.tolist()):
            gaps = ()
            if config.join > 1:
                gaps = tuple(rng.integers(low, high + 1, size + 1).tolist())
            factor = augment.speed_factor(rng, config.speed_percent)
            members = tuple(order[at : at + size])
            found.append(Utterance(members, gaps, factor, (self._seed, epoch, n)))
            at += size
        return found

    def _samples(self, utterance: Utterance) -> int:
        total = int(self._split.lengths[[*utterance.members]].sum())
        return augment.length_at_speed(total + sum(utterance.gaps), utterance.factor)

    def _labels(self, utterance: Utterance) -> int:
        own = sum(len(self._split.tokens[n]) for n in utterance.members)
        return own + len(self._between) * (len(utterance.members) - 1)

    def _grouped(self, utterances, rng=None):
        """Batches of similar length: the same number in every epoch."""
        lengths = np.array([self._samples(u) for u in utterances])
        # Not always the same neighbours.
        nearly = (
            lengths if rng is None else lengths * rng.uniform(0.9, 1.1, len(lengths))
        )
        order = np.argsort(nearly, kind="stable")
        for start in range(0, len(order), self._rows):
            some = order[start : start + self._rows]
            yield some, int(lengths[some].max())

    def _choose(self, buckets):
        """Shapes as ``(samples, labels)``, by the batches of the first epoch."""
        utterances = self._utterances(0)
        rng = np.random.default_rng([self._seed, 0, 0])
        batches = [*self._grouped(utterances, rng), *self._grouped(utterances)]
        lengths = [max(longest, 1) for _, longest in batches]
        step = max(self._rate // 10, 1)
        sizes = bucket_sizes(lengths, buckets, multiple=step).tolist()
        labels = dict.fromkeys(sizes, 0)
        for (some, _), longest in zip(batches, lengths, strict=True):
            size = sizes[int(np.searchsorted(sizes, longest))]
            most = max(self._labels(utterances[n]) for n in some)
            labels[size] = max(labels[size], most)
        return [(size, _round_up(labels[size])) for size in sizes]

    def _shape(self, samples, labels):
        sizes = [size for size, _ in self._shapes]
        at = int(np.searchsorted(sizes, samples))
        if at < len(sizes):
            size, most = self._shapes[at]
        else:
            size, most = self._shapes[-1]
            while size < samples:
                size = int(size * GROWTH)
        while most < labels:
            most *= 2
        return size, most

    def plan(self, epoch: int) -> Sequence[Planned]:
        rng = np.random.default_rng([self._seed, epoch, 0])
        planned = [batch for _, batch in self._planned(self._utterances(epoch), rng)]
        # Some of one shape in a row: a jitted block takes them together.
        shapes = sorted({batch[:2] for batch in planned})
        order, found = rng.permutation(len(planned)), []
        group = 4 * len(shapes)
        for start in range(0, len(order), group):
            some = [planned[n] for n in order[start : start + group]]
            for k in rng.permutation(len(shapes)):
                found += [batch for batch in some if batch[:2] == shapes[k]]
        return found

    def _planned(self, utterances, rng=None) -> Iterator[tuple[np.ndarray, Planned]]:
        for some, longest in self._grouped(utterances, rng):
            rows = [utterances[n] for n in some]
            shape = self._shape(longest, max(map(self._labels, rows)))
            yield some, Planned(*shape, rows)

    def in_order(self) -> Iterator[tuple[np.ndarray, SpeechBatch]]:
        """Every recording once and unchanged: the indices of the rows of each batch (-1
        where a row fills it up), and the batch."""
        plain = [Utterance((n,), (), 1.0, ()) for n in range(len(self._split))]
        for some, batch in self._planned(plain):
            rest = (0, self._rows - len(some))
            yield np.pad(some, rest, constant_values=-1), self.load(batch)

    # Samples and tokens

    def load(self, batch: Planned) -> SpeechBatch:
        shape = batch.samples, self._rows
        signal, lengths = np.zeros(shape, np.float32), np.zeros(self._rows, np.int32)
        labels = np.zeros((batch.labels, self._rows), np.int32)
        label_lengths = np.zeros(self._rows, np.int32)
        for row, utterance in enumerate(batch.utterances):
            sound, tokens = self._sound(utterance), self._tokens(utterance)
            signal[: len(sound), row], lengths[row] = sound, len(sound)
            labels[: len(tokens), row], label_lengths[row] = tokens, len(tokens)
        weights = (np.arange(self._rows) < len(batch.utterances)).astype(np.float32)
        return SpeechBatch(signal, lengths, labels, label_lengths, weights)

    def _tokens(self, utterance):
        pieces = []
        for n in utterance.members:
            pieces += [self._between, self._split.tokens[n]]
        return np.concatenate(pieces[1:])

    def _sound(self, utterance):
        config = self._sounds
        pieces = [self._split.sound(n) for n in utterance.members]
        sound = augment.join(pieces, utterance.gaps) if utterance.gaps else pieces[0]
        if utterance.factor != 1:
            sound = augment.at_speed(sound, utterance.factor)
        if not utterance.seed:
            return sound
        rng = np.random.default_rng(utterance.seed)
        if config.gain_db:
            sound = augment.gain(sound, rng, config.gain_db)
        if rng.random() < config.noise_fraction:
            sound = augment.add_noise(
                sound, rng, config.noise_low_db, config.noise_high_db
            )
        return sound


def _round_up(count):
    return max(-(-count // LABELS), 1) * LABELS
