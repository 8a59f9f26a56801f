"""Recordings as batches: of similar length, padded, changed at random for training."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.bucketing import bucket_sizes, in_runs
from lstm_jax.data.sounds import augment
from lstm_jax.tasks.transcription_config import SoundsConfig
from lstm_jax.tasks.transcription_data import Utterances

GROWTH = 1.25
"""A batch that is longer than all of the first epoch gets a shape that is longer by a
power of this factor."""
WHICH, ORDER, CHANGES = 1, 2, 3
"""Part of the seeds of an epoch: which recordings, their order, and their changes."""
MOST_SAMPLES = 2**23
"""Of an evaluation batch, with padding; a longer recording goes alone."""
LABELS = 8
"""Labels of a batch are padded to a multiple of this."""


class TranscriptionBatch(NamedTuple):
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
    """``[B]``: 1, and 0 of rows without a loss: those that fill up a batch, and
    transcripts that the vocabulary does not have."""


@dataclasses.dataclass(frozen=True)
class Utterance:
    """Some recordings in a row, and how they are changed."""

    members: tuple[int, ...]
    gaps: tuple[int, ...]
    """Samples of silence before, between and after recordings that are joined."""
    speed: float
    """How much faster the recordings are played, with the pitch."""
    tempo: float
    """How much faster they are played without the pitch."""
    seed: tuple[int, ...]
    """The seed of tone, level and noise; empty: one recording as it is."""


class Planned(NamedTuple):
    """A batch that is not loaded yet."""

    steps: int
    """Samples of a row, with padding."""
    rows: int
    labels: int
    utterances: Sequence[Utterance]


class TranscriptionBatches:
    """A `lstm_jax.training.batches.BatchSource`: shuffled epochs of recordings.

    What an epoch holds is a function of (seed, epoch). Without ``join`` every recording
    is in every epoch once. With it, an epoch has as many joined recordings as there are
    recordings by the mean number that is joined, drawn from shuffled rounds of them.

    Args:
        split: the recordings.
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
        seed: int = 0,
    ):
        self._split, self._seed, self._rate = split, seed, rate
        self._sounds = sounds or SoundsConfig()
        mean = (1 + self._sounds.join) / 2
        self._count = max(round(len(split) / mean), 1)
        self._rows = min(batch_size, self._count)
        self._shapes = self._choose(buckets)

    # What an epoch holds

    def _utterances(self, epoch) -> list[Utterance]:
        config, count = self._sounds, self._count
        rng = np.random.default_rng([self._seed, epoch, WHICH])
        sizes = rng.integers(1, config.join + 1, count) if config.join > 1 else None
        each = np.ones(count, int) if sizes is None else sizes
        rounds = -(-int(each.sum()) // len(self._split))
        order = np.concatenate(
            [rng.permutation(len(self._split)) for _ in range(rounds)]
        ).tolist()
        gap = config.gap_low_ms / 1000, config.gap_high_ms / 1000, self._rate
        found, at = [], 0
        for n, size in enumerate(each.tolist()):
            gaps = ()
            if config.join > 1:
                gaps = tuple(augment.draw_gaps(rng, size, *gap).tolist())
            speed = augment.speed_factor(rng, config.speed_percent)
            tempo = augment.speed_factor(rng, config.tempo_percent)
            members = tuple(order[at : at + size])
            seed = self._seed, epoch, CHANGES, n
            made = Utterance(members, gaps, speed, tempo, seed)
            if not self._split.fits(self._split.tokens(members), self._samples(made)):
                made = dataclasses.replace(made, speed=1.0, tempo=1.0)
            found.append(made)
            at += size
        return found

    def _samples(self, utterance: Utterance) -> int:
        lengths = self._split.lengths[[*utterance.members]].tolist()
        for factor in (utterance.speed, utterance.tempo):
            lengths = [augment.length_at_speed(length, factor) for length in lengths]
        return sum(lengths) + sum(utterance.gaps)

    def _labels(self, utterance: Utterance) -> int:
        return len(self._tokens(utterance))

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
        rng = np.random.default_rng([self._seed, 0, ORDER])
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
        rng = np.random.default_rng([self._seed, epoch, ORDER])
        planned = [batch for _, batch in self._planned(self._utterances(epoch), rng)]
        shuffled = [planned[n] for n in rng.permutation(len(planned))]
        return in_runs(shuffled, sorted({batch.steps for batch in planned}), rng)

    def _planned(self, utterances, rng=None) -> Iterator[tuple[np.ndarray, Planned]]:
        for some, longest in self._grouped(utterances, rng):
            rows = [utterances[n] for n in some]
            size, labels = self._shape(longest, max(map(self._labels, rows)))
            yield some, Planned(size, self._rows, labels, rows)

    def in_order(self) -> Iterator[tuple[np.ndarray, TranscriptionBatch]]:
        """Every recording once and unchanged: the indices of the rows of each batch (-1
        where a row fills it up), and the batch. Long ones have fewer rows."""
        plain = [Utterance((n,), (), 1.0, 1.0, ()) for n in range(len(self._split))]
        for some, batch in self._planned(plain):
            rows = max(min(self._rows, MOST_SAMPLES // batch.steps), 1)
            for start in range(0, len(some), rows):
                part = some[start : start + rows]
                rest = (0, rows - len(part))
                planned = batch._replace(rows=rows, utterances=[plain[n] for n in part])
                yield np.pad(part, rest, constant_values=-1), self.load(planned)

    # Samples and tokens

    axes = TranscriptionBatch(1, 0, 1, 0, 0)

    def rows(self, batch: Planned) -> int:
        return batch.rows

    def part(self, batch: Planned, first: int, last: int) -> Planned:
        some = batch.utterances[first:last]
        return batch._replace(rows=last - first, utterances=some)

    def load(self, batch: Planned) -> TranscriptionBatch:
        rows = batch.rows
        signal = np.zeros((batch.steps, rows), np.float32)
        lengths = np.zeros(rows, np.int32)
        labels = np.zeros((batch.labels, rows), np.int32)
        label_lengths = np.zeros(rows, np.int32)
        for row, utterance in enumerate(batch.utterances):
            sound, tokens = self._sound(utterance), self._tokens(utterance)
            signal[: len(sound), row], lengths[row] = sound, len(sound)
            labels[: len(tokens), row], label_lengths[row] = tokens, len(tokens)
        known = [self._split.tokens(u.members) is not None for u in batch.utterances]
        weights = np.zeros(rows, np.float32)
        weights[: len(known)] = known
        return TranscriptionBatch(signal, lengths, labels, label_lengths, weights)

    def _tokens(self, utterance):
        tokens = self._split.tokens(utterance.members)
        return np.zeros(0, np.int32) if tokens is None else tokens

    def _sound(self, utterance):
        pieces = [self._split.sound(n) for n in utterance.members]
        if not utterance.seed:
            return pieces[0]
        config, rng = self._sounds, np.random.default_rng(utterance.seed)
        pieces = [augment.at_speed(piece, utterance.speed) for piece in pieces]
        tempo = utterance.tempo, self._rate
        pieces = [augment.at_tempo(piece, *tempo) for piece in pieces]
        if config.tone_db:
            levels = augment.draw_tone(rng, config.tone_db)
            pieces = [augment.at_tone(piece, levels) for piece in pieces]
        # Only now the gaps: the silence in them must stay exactly 0 for the noise.
        sound = augment.join(pieces, utterance.gaps) if utterance.gaps else pieces[0]
        if config.gain_db:
            sound = augment.gain(sound, rng, config.gain_db)
        if rng.random() < config.noise_fraction:
            ratios = config.noise_low_db, config.noise_high_db
            sound = augment.add_noise(sound, rng, *ratios, config.noise)
        return sound


def _round_up(count):
    return max(-(-count // LABELS), 1) * LABELS
