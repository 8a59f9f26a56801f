"""Errors of transcripts: the fewest edits that turn one sequence into another.

    word error rate = (substitutions + deletions + insertions) / words of the reference

The distance is that of Levenshtein (1966), by the library ``rapidfuzz``.
"""

import importlib
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.scores.classification import confusion_matrix

NONE = "(none)"
"""Stands for the word that is missing where one was left out or put in."""


class Edits(NamedTuple):
    """Edits, and the length of the reference. They can be added."""

    edits: int
    length: int

    def __add__(self, other: Any) -> "Edits":
        return Edits(self.edits + other.edits, self.length + other.length)

    @property
    def rate(self) -> float:
        """Edits by the length; without any reference 0 or 1."""
        return self.edits / self.length if self.length else float(self.edits > 0)


def count_edits(reference: Sequence[Hashable], said: Sequence[Hashable]) -> Edits:
    """The fewest substitutions, deletions and insertions.

    Raises:
        ModuleNotFoundError: rapidfuzz is not installed.

    >>> from lstm_jax.scores.edits import count_edits
    >>> count_edits("one two three".split(), "one too three four".split())
    Edits(edits=2, length=3)
    """
    return Edits(_levenshtein().distance(reference, said), len(reference))


def aligned(reference: Sequence[str], said: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The words of both side by side; `NONE` where one has no partner.

    >>> from lstm_jax.scores.edits import aligned
    >>> [*aligned(["a", "b", "c"], ["a", "x"])]
    [('a', 'a'), ('b', 'x'), ('c', '(none)')]
    """
    for tag, i, j, k, m in _levenshtein().opcodes(reference, said):
        left, right = list(reference[i:j]), list(said[k:m])
        missing = len(left) - len(right)
        if tag in ("equal", "replace", "delete", "insert"):
            left += [NONE] * -missing
            right += [NONE] * missing
        yield from zip(left, right, strict=True)


def word_confusion(pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> Any:
    """How often each word was heard as each, ``[C, C]``.

    Args:
        pairs: from `aligned`.
        classes: all words that occur.

    >>> from lstm_jax.scores.edits import word_confusion
    >>> word_confusion([("a", "a"), ("a", "b")], ["a", "b"]).tolist()
    [[1, 1], [0, 0]]
    """
    index = {name: n for n, name in enumerate(classes)}
    right, heard = ([index[pair[side]] for pair in pairs] for side in (0, 1))
    return confusion_matrix(
        np.array(right, np.int64), np.array(heard, np.int64), len(classes)
    )


def _levenshtein():
    try:
        return importlib.import_module("rapidfuzz.distance").Levenshtein
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "error rates need the package rapidfuzz: pip install 'lstm-jax[speech]'.",
            name=error.name,
        ) from error
