"""A transcript that grows while the sound comes, equal to that of the whole sound."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import PyTree
from lstm_jax.audio import FeatureConfig, FeatureStream
from lstm_jax.audio.frames import power_of_two
from lstm_jax.data.sounds import StreamResampler, check_sound
from lstm_jax.models.acoustic import AcousticModel
from lstm_jax.tasks.transcribing import (
    Transcribing,
    Transcript,
    TranscriptionOptions,
    Word,
)
from lstm_jax.tasks.transcription_search import BestPath

CHUNK = 128
"""Steps that are computed at a time at the most."""
FEW = 4
"""Up to here every number of steps has a program of its own."""


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
        self._stack, self._of = stack_frames, of
        # As a tuple, because taking a tree apart in every call takes time.
        leaves, structure = jax.tree.flatten(params)
        self._leaves = tuple(leaves)
        listen, self._advance = _functions_of(model, structure)
        self._state = listen(self._leaves)
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
            # Pieces of a few steps are frequent, and padding would cost a third.
            size = steps if steps <= FEW else power_of_two(steps)
            part = frames[start * each : (start + steps) * each]
            padded = np.zeros((size * each, 1, frames.shape[1]), np.float32)
            padded[: len(part), 0] = part
            self._state, log_p = self._advance(
                self._leaves, self._state, padded, np.int32(steps)
            )
            found.append(np.asarray(log_p)[:steps, 0])
        self._frames = frames[count * each :]
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


@functools.lru_cache(maxsize=8)
def _functions_of(model, structure) -> tuple[Any, Any]:
    """The first state, and how it goes on; jitted once for all streams of a model."""

    @jax.jit
    def listen(leaves):
        return model(jax.tree.unflatten(structure, leaves)).listen()

    @functools.partial(jax.jit, donate_argnums=1)
    def advance(leaves, state, frames, steps):
        module = model(jax.tree.unflatten(structure, leaves))
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
        self._taken, self._samples = 0, 0

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
        if isinstance(self._search, BestPath):
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
        return [Transcript(" ".join(w.text for w in words), heard.score, words)]

    @property
    def transcript(self) -> Transcript:
        """The most likely transcript so far."""
        return self.transcripts[0]

    @property
    def text(self) -> str:
        """The text of the most likely transcript so far."""
        return self.transcript.text
