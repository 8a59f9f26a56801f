"""A transcript that grows while the sound comes, equal to that of the whole sound."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import PyTree
from lstm_jax.audio import FeatureConfig, FeatureStream
from lstm_jax.data.sounds import StreamResampler
from lstm_jax.inference import ctc_advance, ctc_begin, ctc_best, ctc_greedy
from lstm_jax.models.acoustic import AcousticModel
from lstm_jax.tasks.transcribing import (
    Heard,
    SpeechOptions,
    Transcribing,
    Transcript,
    heard_of,
)

CHUNK = 128
"""Steps that are computed at a time at the most."""
CAPACITY = 64
"""Labels that the search has room for at first; the room doubles when it is full."""


class Listener:
    """Samples to log-probabilities of the classes, as they come.

    Args:
        model: parameters to the model, in evaluation.
        params: its parameters.
        of: which features.
        stack_frames: frames of a step.
        rate: samples a second of the sound; another rate than that of the features is
            resampled.
    """

    def __init__(
        self,
        model: Callable[[PyTree], AcousticModel],
        params: PyTree,
        of: FeatureConfig,
        stack_frames: int,
        rate: int,
    ):
        self._params, self._stack, self._of = params, stack_frames, of
        self._advance = _advance_of(model)
        self._state = jax.jit(lambda params: model(params).listen())(params)
        self._resampler = StreamResampler(rate, of.rate)
        self._features = FeatureStream(of)
        self._frames = np.zeros((0, of.size), np.float32)

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """The log-probabilities ``[T, K]`` of the steps that these samples complete.

        Args:
            samples: the next samples ``[N]``, any number of them, floating point.

        Raises:
            TypeError, ValueError, RuntimeError: as in `FeatureStream.feed`.
        """
        return self._hear(self._features.feed(self._resampler.feed(samples)))

    def finish(self) -> np.ndarray:
        """The log-probabilities of the last steps. Frames that fill no step are left
        out."""
        last = self._features.feed(self._resampler.finish())
        return self._hear(np.concatenate([last, self._features.finish()]))

    def _hear(self, frames):
        each = self._stack
        frames = np.concatenate([self._frames, frames])
        count, found = len(frames) // each, []
        for start in range(0, count, CHUNK):
            steps = min(CHUNK, count - start)
            size = 1 << (steps - 1).bit_length()
            part = frames[start * each : (start + steps) * each]
            part = np.pad(part, ((0, (size - steps) * each), (0, 0)))
            self._state, log_p = self._advance(
                self._params, self._state, part[:, None], np.int32(steps)
            )
            found.append(np.asarray(log_p)[:steps, 0])
        self._frames = frames[count * each :]
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


@functools.lru_cache(maxsize=8)
def _advance_of(model) -> Any:
    """One jitted function for all streams of a model."""

    @functools.partial(jax.jit, donate_argnums=1)
    def advance(params, state, frames, steps):
        state, logits = model(params).hear(state, frames, steps)
        return state, jax.nn.log_softmax(logits.astype(jnp.float32))

    return advance


class TranscriptStream:
    """What was said so far.

    Pieces of the sound may have any length. They change neither text nor times. With
    one beam the text only grows; with more, its end may still change.

    Args:
        transcribing: tokens to transcripts.
        model: parameters to the model, in evaluation.
        params: its parameters.
        of: which features.
        stack_frames: frames of a step of the model.
        rate: samples a second of the sound.
        options: how to search.
    """

    def __init__(
        self,
        transcribing: Transcribing,
        model: Callable[[PyTree], AcousticModel],
        params: PyTree,
        of: FeatureConfig,
        stack_frames: int,
        rate: int,
        options: SpeechOptions,
    ):
        self._listener = Listener(model, params, of, stack_frames, rate)
        self._transcribing = transcribing
        blank = transcribing.blank
        if options.beams == 1:
            self._search: Any = _BestPath(blank)
        else:
            self._search = _Beams(blank, options)

    def feed(self, samples: np.ndarray) -> "TranscriptStream":
        """Hears the next samples ``[N]``, floating point, by convention between -1 and
        1; returns itself.

        Raises:
            TypeError, ValueError, RuntimeError: as in
                `lstm_jax.audio.FeatureStream.feed`.
        """
        self._search.advance(self._listener.feed(samples))
        return self

    def finish(self) -> Transcript:
        """The transcript of the whole sound; nothing can be fed after it."""
        self._search.advance(self._listener.finish())
        return self.transcript

    @property
    def transcript(self) -> Transcript:
        """The most likely transcript so far."""
        return self._transcribing.as_transcript(self._search.best())

    @property
    def text(self) -> str:
        """Its text."""
        return self.transcript.text


class _BestPath:
    def __init__(self, blank):
        self._blank, self._step, self._score = blank, 0, 0.0
        self._previous: Any = np.full(1, blank, np.int32)
        self._found: list[tuple[int, int, float]] = []

    def advance(self, log_p):
        """Goes on by log-probabilities ``[T, K]``."""
        for start in range(0, len(log_p), CHUNK):
            some = log_p[start : start + CHUNK]
            part, lengths = _padded(some)
            emitted, self._previous = ctc_greedy(
                part, lengths, self._previous, blank=self._blank
            )
            labels = np.asarray(emitted.labels)[: len(some), 0]
            at_step = np.asarray(emitted.log_p)[: len(some), 0]
            for n in np.flatnonzero(labels >= 0).tolist():
                self._found.append((int(labels[n]), self._step + n, float(at_step[n])))
            self._score += float(at_step.sum())
            self._step += len(some)

    def best(self):
        tokens, steps, log_p = (
            zip(*self._found, strict=True) if self._found else [()] * 3
        )
        return Heard(
            np.array(tokens, np.int32),
            np.array(steps, np.int32),
            np.array(log_p, np.float32),
            self._score,
        )


class _Beams:
    def __init__(self, blank, options):
        self._blank = blank
        self._state: Any = ctc_begin((1,), options.beams, CAPACITY)

    def advance(self, log_p):
        for start in range(0, len(log_p), CHUNK):
            part, lengths = _padded(log_p[start : start + CHUNK])
            self._make_room(len(part))
            self._state = ctc_advance(self._state, part, lengths, blank=self._blank)

    def _make_room(self, steps):
        """Every step may add a label."""
        longest = int(np.asarray(self._state.sizes).max())
        while longest + steps > self._state.prefixes.shape[-1]:
            names = "prefixes", "times", "label_log_p"
            self._state = self._state._replace(
                **{name: _twice(getattr(self._state, name)) for name in names}
            )

    def best(self):
        return heard_of(jax.tree.map(np.asarray, ctc_best(self._state)), 0, 0)


def _twice(a):
    """An array with twice the room on its last axis."""
    return jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, a.shape[-1])])


def _padded(log_p) -> Any:
    """One row in one of a few compiled sizes, and its length."""
    size = 1 << (len(log_p) - 1).bit_length()
    rest = (0, size - len(log_p)), (0, 0), (0, 0)
    return np.pad(log_p[:, None], rest), np.array([len(log_p)], np.int32)
