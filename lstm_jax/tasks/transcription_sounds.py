"""Recordings of a split: their samples, transcripts and tokens."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from lstm_jax.data.sounds import (
    Recordings,
    fraction_clipped,
    is_silent,
    read_sound,
)
from lstm_jax.data.tokens import Tokenizer

CLIPPED = 0.01
"""A recording with this fraction of samples at full scale is called clipped."""


class Sounds:
    """Samples of recordings, kept in memory as far as they fit.

    Args:
        recordings: their paths.
        rate: samples a second.
        room: bytes that may be kept.
    """

    def __init__(self, recordings: Recordings, rate: int, room: int):
        self.recordings, self._rate = recordings, rate
        self._kept: dict[int, np.ndarray] = {}
        self.lengths = np.zeros(len(recordings), np.int64)
        """Samples of every recording."""
        self.notes: dict[str, list[str]] = {"silent": [], "clipped": []}
        """Recordings that the user should know of."""
        self.digest = hashlib.sha256()
        for n, source in enumerate(recordings.sources):
            samples = self._read(n)
            self.lengths[n] = len(samples)
            self.digest.update(f"{len(samples)} ".encode())
            self.digest.update(samples.tobytes())
            if is_silent(samples):
                self.notes["silent"].append(source)
            elif fraction_clipped(samples) > CLIPPED:
                self.notes["clipped"].append(source)
            room -= samples.nbytes
            if room >= 0:
                self._kept[n] = samples
        self.room = max(room, 0)

    def __len__(self):
        return len(self.recordings)

    def __getitem__(self, n: int) -> np.ndarray:
        """The samples ``[N]`` of one, float32."""
        kept = self._kept.get(n)
        return self._read(n) if kept is None else kept

    def _read(self, n):
        recordings = self.recordings
        return read_sound(recordings.paths[n], self._rate, recordings.sources[n])


class Utterances:
    """A split: samples, transcripts and their tokens.

    Args:
        sounds: the samples.
        texts: the transcripts.
        tokens: their tokens; ``None`` for a transcript that the vocabulary does not
            have.
        chosen: indices of the recordings that belong to the split.
        tokenizer: text to tokens.
        steps_of: samples to steps of the model.
    """

    def __init__(
        self,
        sounds: Sounds,
        texts: Sequence[str],
        tokens: Sequence[np.ndarray | None],
        chosen: np.ndarray,
        tokenizer: Tokenizer,
        steps_of: Callable[[int], int],
    ):
        self._sounds, self._chosen = sounds, chosen
        self._tokenizer, self._steps_of = tokenizer, steps_of
        self.texts: list[str] = [str(texts[n]) for n in chosen]
        self._tokens = [tokens[n] for n in chosen]
        self.lengths = sounds.lengths[chosen]
        """Samples of every recording."""
        recordings = sounds.recordings.take(chosen)
        self.groups, self.sources = recordings.groups, recordings.sources

    def __len__(self):
        return len(self._chosen)

    def sound(self, n: int) -> np.ndarray:
        """The samples of one."""
        return self._sounds[int(self._chosen[n])]

    def tokens(self, members: Sequence[int]) -> np.ndarray | None:
        """The tokens of the transcripts of some, with a space between; ``None`` where
        the vocabulary does not have them."""
        if len(members) == 1:
            return self._tokens[members[0]]
        texts = [text for n in members if (text := self.texts[n])]
        return self._tokenizer.encode(" ".join(texts))

    def fits(self, tokens: np.ndarray | None, samples: int) -> bool:
        """Whether a sound of so many samples has steps for its tokens: the loss of
        another is infinite."""
        return tokens is not None and needed_steps(tokens) <= self._steps_of(samples)


def needed_steps(tokens: np.ndarray) -> int:
    """Steps that CTC needs: one for each token, and one between two that are equal.

    >>> needed_steps(np.array([3, 3, 1]))
    4
    """
    return len(tokens) + int((tokens[1:] == tokens[:-1]).sum())
