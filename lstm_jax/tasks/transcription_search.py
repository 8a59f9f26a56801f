"""Log-probabilities to tokens, piece by piece: one search for files and for streams.

BestPath    the most likely class of every step
Beams       prefix beam search, which adds up all paths of the same tokens
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.audio.frames import power_of_two
from lstm_jax.inference import ctc_advance, ctc_begin, ctc_best

CHUNK = 128
"""Steps that are searched at a time."""
CAPACITY = 64
"""Tokens that the beams have room for at first; the room doubles when it is full."""


class Heard(NamedTuple):
    """Tokens, the step at which each begins, and its log-probability there."""

    tokens: np.ndarray
    steps: np.ndarray
    log_p: np.ndarray
    score: float


class BestPath:
    """The most likely class of every step, of several rows.

    Args:
        rows: ``B``.
        blank: the class that stands for no token.
    """

    def __init__(self, rows: int, blank: int):
        self._blank, self._step = blank, 0
        self._scores = np.zeros(rows)
        self._previous = np.full(rows, blank)
        self._found: list[list[tuple[int, int, float]]] = [[] for _ in range(rows)]

    def advance(self, log_p: Any, lengths: Any) -> None:
        """Goes on by log-probabilities ``[T, B, K]``, of which a row has ``lengths``
        ``[B]``; after a row has ended, it has 0."""
        # The equations of `ctc_greedy`. In NumPy, since a call of a jitted function
        # takes longer than these few steps.
        log_p, lengths = np.asarray(log_p), np.asarray(lengths)
        real = np.arange(len(log_p))[:, None] < lengths
        classes = np.concatenate([self._previous[None], log_p.argmax(axis=-1)])
        begins = real & (classes[1:] != self._blank) & (classes[1:] != classes[:-1])
        at_step = np.where(real, log_p.max(axis=-1), 0)
        for step, row in np.argwhere(begins).tolist():
            token = int(classes[step + 1, row]), self._step + step
            self._found[row].append((*token, float(at_step[step, row])))
        self._scores += at_step.sum(axis=0, dtype=np.float64)
        self._previous = np.take_along_axis(classes, lengths[None], axis=0)[0]
        self._step += int(lengths.max(initial=0))

    def best(self) -> list[list[Heard]]:
        """The tokens of every row so far."""
        return [[self.since(0, row)] for row in range(len(self._found))]

    def __len__(self):
        """Tokens of the first row."""
        return len(self._found[0])

    def since(self, first: int, row: int = 0) -> Heard:
        """The tokens of a row from the one with this index on. They are final."""
        return _heard(self._found[row][first:], float(self._scores[row]))


def _heard(found, score):
    tokens, steps, log_p = zip(*found, strict=True) if found else ((), (), ())
    of = np.array(tokens, np.int32), np.array(steps, np.int32)
    return Heard(*of, np.array(log_p, np.float32), score)


class Beams:
    """Prefix beam search over several rows.

    Args:
        rows: ``B``.
        blank: the class that stands for no token.
        beams: prefixes that are followed.
        results: how many `best` returns for a row, at the most.
    """

    def __init__(self, rows: int, blank: int, beams: int, results: int = 1):
        self._blank, self._results = blank, results
        self._state: Any = ctc_begin((rows,), beams, CAPACITY)

    def advance(self, log_p: Any, lengths: Any) -> None:
        """As `BestPath.advance`."""
        for some, counts in _chunks(log_p, lengths):
            self._make_room(len(some))
            self._state = ctc_advance(self._state, some, counts, blank=self._blank)

    def _make_room(self, steps):
        """Every step may add a token."""
        longest = int(np.asarray(self._state.sizes).max())
        while longest + steps > self._state.prefixes.shape[-1]:
            names = "prefixes", "times", "label_log_p"
            self._state = self._state._replace(
                **{name: _twice(getattr(self._state, name)) for name in names}
            )

    def best(self) -> list[list[Heard]]:
        """The best tokens of every row so far, the best first."""
        found = jax.tree.map(np.asarray, ctc_best(self._state, self._results))

        def heard(row, k):
            size = int(found.sizes[row, k])
            of = found.labels, found.times, found.label_log_p
            tokens, steps, log_p = (a[row, k, :size] for a in of)
            return Heard(tokens, steps, log_p, float(found.scores[row, k]))

        return [
            # The best one always: NaN is for those who look at scores to see.
            [heard(row, k) for k in range(len(scores)) if k == 0 or scores[k] > -np.inf]
            for row, scores in enumerate(found.scores)
        ]


Search = BestPath | Beams


def search_with(beams: int, results: int, blank: int) -> Callable[[int], Search]:
    """The search for so many beams: a function of the number of rows."""
    if beams == 1:
        return functools.partial(BestPath, blank=blank)
    return functools.partial(Beams, blank=blank, beams=beams, results=results)


def _chunks(log_p, lengths):
    """Pieces of up to `CHUNK` steps in a few sizes, and the real steps of each."""
    log_p, lengths = np.asarray(log_p), np.asarray(lengths, np.int32)
    for start in range(0, int(lengths.max(initial=0)), CHUNK):
        some = log_p[start : start + CHUNK]
        size = power_of_two(len(some))
        # Whatever is annotated as an array of JAX takes one of NumPy, too.
        piece: Any = np.pad(some, ((0, size - len(some)), (0, 0), (0, 0)))
        yield piece, np.clip(lengths - start, 0, CHUNK).astype(np.int32)


def _twice(a):
    """An array with twice the room on its last axis."""
    return jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, a.shape[-1])])
