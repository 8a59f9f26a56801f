"""Log-probabilities to tokens, piece by piece: one search for files and for streams.

BestPath    the most likely class of every step
Beams       prefix beam search, which adds up all paths of the same tokens
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.audio.frames import power_of_two
from lstm_jax.core.arguments import check_size
from lstm_jax.inference import ctc_advance, ctc_begin, ctc_best
from lstm_jax.tasks.transcription_fusion import LabelModel

CHUNK = 128
"""Steps that are searched at a time."""
CAPACITY = 64
"""Tokens that the beams have room for at first; the room doubles when it is full."""
MOST_BEAMS = 1000
USUAL_BEAMS = 16
"""With a language model."""
USUAL_WEIGHT = 0.5
"""Of a language model."""


@dataclasses.dataclass(frozen=True)
class TranscriptionOptions:
    """How transcripts are searched for.

    Raises:
        ValueError: a number is out of its range.
    """

    beams: int = 1
    """Transcripts that the search follows; 1 takes the most likely class at every step.
    """
    results: int = 1
    """Transcripts of a sound that are returned, the best."""
    language: LabelModel | None = dataclasses.field(default=None, compare=False)
    """The language model; it needs beams."""
    weight: float = USUAL_WEIGHT
    """What the log-probabilities of the language model are multiplied by."""
    bonus: float = 0.0
    """What every token adds to the score of a transcript, with several beams."""

    def changed(
        self,
        beams: int | None,
        language: LabelModel | None,
        weight: float = USUAL_WEIGHT,
        bonus: float = 0.0,
        results: int = 1,
    ) -> "TranscriptionOptions":
        """The same with another search; without ``beams``, as many as before, or as the
        language model and the results need."""
        if beams is None:
            usual = self.beams if language is None else max(self.beams, USUAL_BEAMS)
            beams = max(usual, results)
        return TranscriptionOptions(beams, results, language, weight, bonus)

    def __post_init__(self):
        check_size("beams", self.beams, most=MOST_BEAMS)
        check_size("results", self.results, most=self.beams)
        if self.bonus and self.beams == 1:
            raise ValueError(
                f"bonus is {self.bonus} and beams 1, expected 2 or more, since it "
                f"chooses among transcripts."
            )
        if self.language is not None and self.beams == 1:
            raise ValueError(
                f"beams is 1, and a language model needs 2 or more, since it chooses "
                f"among transcripts; {USUAL_BEAMS} is usual."
            )


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
        self._scores = [0.0] * rows
        self._previous = [blank] * rows
        self._found: list[list[tuple[int, int, float]]] = [[] for _ in range(rows)]

    def advance(self, log_p: Any, lengths: Any) -> None:
        """Goes on by log-probabilities ``[T, B, K]``, of which a row has ``lengths``
        ``[B]``; after a row has ended, it has 0."""
        # The equations of `ctc_greedy`. A piece of a stream has few steps, for which
        # a loop takes less time than a jitted function, or than arrays.
        log_p = np.asarray(log_p)
        classes, best = log_p.argmax(axis=-1).T.tolist(), log_p.max(axis=-1).T.tolist()
        for row, steps in enumerate(map(int, lengths)):
            found, previous = self._found[row], self._previous[row]
            for step in range(steps):
                token = classes[row][step]
                if token not in (previous, self._blank):
                    found.append((token, self._step + step, best[row][step]))
                previous = token
            self._previous[row] = previous
            self._scores[row] += sum(best[row][:steps])
        self._step += max(map(int, lengths), default=0)

    def best(self) -> list[list[Heard]]:
        """The tokens of every row so far."""
        return [[self.since(0, row)] for row in range(len(self._found))]

    def __len__(self):
        """Tokens of the first row."""
        return len(self._found[0])

    def since(self, first: int, row: int = 0) -> Heard:
        """The tokens of a row from the one with this index on. They are final."""
        return _heard(self._found[row][first:], self._scores[row])


def _heard(found, score):
    tokens, steps, log_p = zip(*found, strict=True) if found else ((), (), ())
    of = np.array(tokens, np.int32), np.array(steps, np.int32)
    return Heard(*of, np.array(log_p, np.float32), score)


class Beams:
    """Prefix beam search over several rows.

    Args:
        rows: ``B``.
        blank: the class that stands for no token.
        options: how many prefixes are followed and returned, and the language model.
    """

    def __init__(self, rows: int, blank: int, options: TranscriptionOptions):
        self._options, model = options, options.language
        self._how: dict[str, Any] = dict(blank=blank, bonus=options.bonus)
        first = {}
        if model is not None:
            first = dict(carry=model.carry, logits=model.logits)
            first = jax.tree.map(lambda a: jnp.repeat(a, rows, axis=0), first)
            self._how |= dict(language_model=model.step, weight=options.weight)
        self._state: Any = ctc_begin((rows,), options.beams, CAPACITY, **first)

    def advance(self, log_p: Any, lengths: Any) -> None:
        """As `BestPath.advance`."""
        for some, counts in _chunks(log_p, lengths):
            self._make_room(len(some))
            self._state = ctc_advance(self._state, some, counts, **self._how)

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
        found = ctc_best(self._state, self._options.results)
        found = jax.tree.map(np.asarray, found)

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


def new_search(options: TranscriptionOptions, rows: int, blank: int) -> Search:
    """The search that the options ask for."""
    if options.beams == 1:
        return BestPath(rows, blank)
    return Beams(rows, blank, options)


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
