"""Sounds to transcripts: the scores of a model, a search, and words with times."""

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import PyTree
from lstm_jax.audio.frames import power_of_two
from lstm_jax.data.tokens import Tokenizer, Words
from lstm_jax.models.acoustic import AcousticModel
from lstm_jax.tasks.transcription_search import (
    Heard,
    Search,
    TranscriptionOptions,
    new_search,
)

BATCH_SECONDS = 480
"""Seconds of sound, with padding, that are transcribed at a time; results do not depend
on it."""
GROWTH = 1.25
"""Batches have a length in powers of this, for the sake of few compiled shapes."""
SPACE = re.compile(r"\S+")


class Word(NamedTuple):
    """A word, and when it was said."""

    text: str
    start: float
    """In seconds: where its first token begins."""
    end: float
    """In seconds: after the step in which its last token begins."""
    confidence: float
    """The geometric mean of the probabilities of its tokens, each where it begins."""


class Token(NamedTuple):
    """A token, such as a character, and when it was heard."""

    text: str
    start: float
    """In seconds: the step at which it was heard first."""
    confidence: float
    """Its probability there."""


class Transcript(NamedTuple):
    """What was said."""

    text: str
    score: float
    """Log-probability in nats: with one beam that of the best path, with more that of
    all paths of the text that were found."""
    words: list[Word]
    tokens: list[Token]
    """What the text is made of, spaces included if they are tokens."""


class Posteriors(NamedTuple):
    """What a model heard at every step of a sound."""

    features: np.ndarray
    """``[T, F]``, as of `lstm_jax.audio.features`."""
    frame_seconds: float
    """From the beginning of a frame of the features to that of the next."""
    probabilities: np.ndarray
    """Of the classes ``[T', K]``, the blank the last of them."""
    step_seconds: float
    """From the beginning of a step to that of the next."""
    tokens: list[str]
    """The text of every class but the blank."""


class Transcribing:
    """Transcribes with one model.

    Args:
        model: parameters to the model, in evaluation.
        tokenizer: tokens to text. The blank is the class after its last token.
        rate: samples a second.
        step_seconds: from the beginning of a step of the model to that of the next.
    """

    def __init__(
        self,
        model: Callable[[PyTree], AcousticModel],
        tokenizer: Tokenizer,
        rate: int,
        step_seconds: float,
    ):
        self._model, self._tokenizer = model, tokenizer
        self._rate, self._step_seconds = rate, step_seconds
        self.blank = len(tokenizer)

    @functools.cached_property
    def log_p(self) -> Any:
        """``(params, signal, lengths)`` to log-probabilities ``[T, B, K]`` and steps
        ``[B]``, jitted."""

        @jax.jit
        def log_p(params, signal, lengths):
            logits, steps = self._model(params)(signal, lengths)
            return jax.nn.log_softmax(logits.astype(jnp.float32)), steps

        return log_p

    def transcribe(
        self,
        params: PyTree,
        sounds: Sequence[np.ndarray],
        options: TranscriptionOptions,
    ) -> list[list[Transcript]]:
        """The best transcripts of every sound, in order.

        Args:
            params: the parameters.
            sounds: samples ``[N]`` each, float32, at the rate of the model. One that
                is shorter than a frame has an empty transcript.
            options: how to search.
        """
        found: list[list[Transcript]] = [[] for _ in sounds]
        for members, signal, lengths in self._batches(sounds):
            log_p, steps = self.log_p(params, signal, lengths)
            said = self.search(log_p, steps, options)
            for row, n in enumerate(members):
                found[n] = [self.as_transcript(heard) for heard in said[row]]
        return found

    def _batches(self, sounds) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
        order = sorted(range(len(sounds)), key=lambda n: len(sounds[n]))
        shapes = [_up(len(sounds[n]), self._rate) for n in order]
        most, start = BATCH_SECONDS * self._rate, 0
        while start < len(order):
            end = start + 1
            while end < len(order) and shapes[end] * (end + 1 - start) <= most:
                end += 1
            some, size = order[start:end], shapes[end - 1]
            rows = power_of_two(len(some))
            signal = np.zeros((size, rows), np.float32)
            lengths = np.zeros(rows, np.int32)
            for row, n in enumerate(some):
                signal[: len(sounds[n]), row] = sounds[n]
                lengths[row] = len(sounds[n])
            yield some, signal, lengths
            start = end

    def search(
        self, log_p: Any, steps: Any, options: TranscriptionOptions
    ) -> list[list[Heard]]:
        """The best tokens of every row of log-probabilities ``[T, B, K]``."""
        search = self.new_search(options, log_p.shape[1])
        search.advance(log_p, steps)
        return search.best()

    def new_search(self, options: TranscriptionOptions, rows: int = 1) -> Search:
        """A search that goes on piece by piece."""
        return new_search(options, rows, self.blank)

    def as_transcript(self, heard: Heard) -> Transcript:
        """Tokens as text, with the times of words."""
        words = [word for word, _ in self.words(heard)]
        text = " ".join(word.text for word in words)
        return Transcript(text, heard.score, words, self.tokens(heard))

    def tokens(self, heard: Heard) -> list[Token]:
        """Tokens with their times."""
        return [
            Token(
                self._tokenizer.decode([token]), self._seconds(step), float(np.exp(p))
            )
            for token, step, p in zip(
                heard.tokens, heard.steps, heard.log_p, strict=True
            )
        ]

    def _seconds(self, step):
        return round(float(step) * self._step_seconds, 6)

    def words(self, heard: Heard) -> list[tuple[Word, int]]:
        """The words of some tokens, each with the index of its first token."""
        text, found = self._tokenizer.decode(heard.tokens), []
        ends = self._ends(heard.tokens, text)
        for match in SPACE.finditer(text):
            a = int(np.searchsorted(ends, match.start(), side="right"))
            b = int(np.searchsorted(ends, match.end(), side="left"))
            at, log_p = heard.steps[a : b + 1], heard.log_p[a : b + 1]
            start, end = self._seconds(at[0]), self._seconds(at[-1] + 1)
            word = Word(match[0], start, end, float(np.exp(log_p.mean())))
            found.append((word, a))
        return found

    @property
    def whole_words(self) -> bool:
        """Whether a token is always a word of its own."""
        return isinstance(self._tokenizer, Words)

    def _ends(self, tokens, text):
        """The character of the text after each token."""
        between = 1 if isinstance(self._tokenizer, Words) else 0
        pieces = [self._tokenizer.decode([token]) for token in tokens]
        ends = (
            np.cumsum([len(piece) + between for piece in pieces], dtype=int) - between
        )
        if len(ends) and ends[-1] == len(text):
            return ends
        # A character of several bytes may be in pieces.
        decode = self._tokenizer.decode
        return np.array([len(decode(tokens[: n + 1])) for n in range(len(tokens))], int)


def _up(samples, rate):
    """The length that so many samples are padded to."""
    size = rate / 2
    while size < samples:
        size *= GROWTH
    return int(np.ceil(size))
