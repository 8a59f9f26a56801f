"""A transcript that grows while the sound comes, equal to that of the whole sound."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import PyTree
from lstm_jax.audio import FeatureConfig, FeatureStream, FrameStream, features
from lstm_jax.audio.frames import some_size
from lstm_jax.data.sounds import StreamResampler, check_sound
from lstm_jax.models.acoustic import AcousticModel
from lstm_jax.tasks.transcribing import (
    Token,
    Transcribing,
    Transcript,
    Word,
)
from lstm_jax.tasks.transcription_search import BestPath, TranscriptionOptions

CHUNK = 128
"""Steps that are computed at a time at the most."""


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
        # As a tuple, because taking a tree apart in every call takes time.
        leaves, structure = jax.tree.flatten(params)
        self._leaves = tuple(leaves)
        listen, self._advance = _functions_of(model, structure)
        self._state = listen(self._leaves)
        self._resampler = StreamResampler(rate, of.rate)
        # Deltas need later frames. Without them, one function from samples to classes
        # takes less time than two.
        read = FeatureGroups if of.deltas else FrameStream
        self._pieces = read(of, stack_frames)

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """The log-probabilities ``[T, K]`` of the steps that these samples complete.

        Args:
            samples: the next samples ``[N]``, any number of them, floating point.

        Raises:
            TypeError, ValueError, RuntimeError: as in `StreamResampler.feed`.
        """
        return self._hear(self._pieces.feed(self._resampler.feed(samples)))

    def finish(self) -> np.ndarray:
        """The log-probabilities of the last steps. Frames that fill no step are left
        out."""
        last = self._pieces.feed(self._resampler.finish())
        return self._hear([*last, *self._pieces.finish()])

    def _hear(self, pieces):
        found = []
        for sound, steps in pieces:
            real = None if steps == some_size(steps) else np.int32(steps)
            self._state, log_p = self._advance(self._leaves, self._state, sound, real)
            found.append(np.asarray(log_p)[:steps, 0])
        if len(found) == 1:
            return found[0]
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


class FeatureGroups:
    """Takes pieces of a signal, and returns features of the frames of whole steps.

    Args:
        config: which features.
        group: frames of a step.
    """

    def __init__(self, config: FeatureConfig, group: int):
        self._features, self._group = FeatureStream(config), group
        self._frames = np.zeros((0, config.size), np.float32)

    def feed(self, samples: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        """Features ``[T, 1, F]``, and the steps that are complete; the others fill up
        one of a few sizes."""
        return self._groups(self._features.feed(samples))

    def finish(self) -> Iterator[tuple[np.ndarray, int]]:
        """As `feed`, for the last samples."""
        return self._groups(self._features.finish())

    def _groups(self, frames):
        each = self._group
        frames = np.concatenate([self._frames, frames])
        count = len(frames) // each
        self._frames = frames[count * each :]
        for start in range(0, count, CHUNK):
            steps = min(CHUNK, count - start)
            part = frames[start * each : (start + steps) * each]
            rest = (some_size(steps) - steps) * each
            yield np.pad(part, ((0, rest), (0, 0)))[:, None], steps


@functools.lru_cache(maxsize=8)
def _functions_of(model, structure) -> tuple[Any, Any]:
    """The first state, and how it goes on; jitted once for all streams of a model."""

    @jax.jit
    def listen(leaves):
        return model(jax.tree.unflatten(structure, leaves)).listen()

    @functools.partial(jax.jit, donate_argnums=1)
    def advance(leaves, state, sound, steps):
        module = model(jax.tree.unflatten(structure, leaves))
        is_signal = sound.ndim == 1
        frames = features(sound, module.of)[:, None] if is_signal else sound
        state, logits = module.hear(state, frames, steps)
        return state, jax.nn.log_softmax(logits.astype(jnp.float32))

    return listen, advance


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
        options: TranscriptionOptions,
    ):
        self._listener = Listener(model, params, of, stack_frames, rate)
        self._transcribing, self._rate = transcribing, rate
        self._search = transcribing.new_search(options)
        self._final: list[Word] = []
        self._tokens: list[Token] = []
        self._taken, self._looked, self._samples = 0, 0, 0

    def feed(self, samples: np.ndarray) -> "TranscriptStream":
        """Hears the next samples ``[N]``, floating point, between -1 and 1; returns
        itself.

        Raises:
            TypeError, ValueError: the samples are not floating point, or not ``[N]``.
            DataError: a sample is not finite, or not between -1 and 1.
            RuntimeError: the stream is finished.
        """
        called = f"a piece that begins at {self._samples / self._rate:.3f} s"
        samples = check_sound(samples, self._rate, called)
        self._samples += len(samples)
        self._advance(self._listener.feed(samples))
        return self

    def finish(self) -> Transcript:
        """The transcript of the whole sound; nothing can be fed after it."""
        self._advance(self._listener.finish())
        return self.transcript

    def _advance(self, log_p):
        if len(log_p):
            self._search.advance(log_p[:, None], [len(log_p)])

    @property
    def final_words(self) -> list[Word]:
        """The words that nothing can change any more; none with several beams. A word
        of characters or sub-words is final when the next one begins."""
        if isinstance(self._search, BestPath) and len(self._search) > self._looked:
            self._looked = len(self._search)
            found = self._transcribing.words(self._search.since(self._taken))
            last = len(found) if self._transcribing.whole_words else len(found) - 1
            self._final += [word for word, _ in found[:last]]
            if last > 0:
                ended = last == len(found)
                end = len(self._search) if ended else self._taken + found[last][1]
                self._taken = end
        return self._final

    @property
    def transcripts(self) -> list[Transcript]:
        """The most likely transcripts so far, the best first."""
        if not isinstance(self._search, BestPath):
            (found,) = self._search.best()
            return [self._transcribing.as_transcript(heard) for heard in found]
        # Only the end is decoded, so that a stream of hours stays as fast as it was.
        final = self.final_words
        heard = self._search.since(self._taken)
        rest = [word for word, _ in self._transcribing.words(heard)]
        words = [*final, *rest]
        self._tokens += self._transcribing.tokens(self._search.since(len(self._tokens)))
        text = " ".join(word.text for word in words)
        return [Transcript(text, heard.score, words, [*self._tokens])]

    @property
    def transcript(self) -> Transcript:
        """The most likely transcript so far."""
        return self.transcripts[0]

    @property
    def text(self) -> str:
        """The text of the most likely transcript so far."""
        return self.transcript.text
