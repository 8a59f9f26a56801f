"""Pairs of a sentence and its translation, and what is left out of training."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lstm_jax.data.text import DataError, counted


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Sentences and their translations, in the order of their files.

    >>> pairs = Pairs(("Ja.", ""), ("Yes.", "No."), "a.tsv", (1, 2))
    >>> len(pairs), pairs.place(1)
    (2, 'a.tsv, line 2')
    """

    sources: Sequence[str]
    targets: Sequence[str]
    where: str
    """The file, or both files, that the pairs come from."""
    lines: Sequence[int]
    """The line of every pair in its file, counted from 1."""

    def __post_init__(self):
        for name in ("sources", "targets", "lines"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def __len__(self):
        return len(self.sources)

    def place(self, index: int) -> str:
        """The file and the line of a pair, for errors."""
        return f"{self.where}, line {self.lines[index]}"

    def take(self, indices: Sequence[int] | np.ndarray) -> "Pairs":
        """The pairs at ``indices``, in that order."""
        pick = lambda values: [values[i] for i in indices]
        sources, targets = pick(self.sources), pick(self.targets)
        return Pairs(sources, targets, self.where, pick(self.lines))

    def split(self, fine: np.ndarray, why: str) -> tuple["Pairs", "LeftOut"]:
        """The pairs that are ``fine`` ``[N]``, and a note why the others are not."""
        others = np.flatnonzero(~fine)
        first = self.place(others[0]) if len(others) else ""
        left_out = LeftOut(len(others), len(self), why, first)
        return (self.take(np.flatnonzero(fine)) if left_out else self), left_out


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """How many pairs are not trained on, and why.

    As text it is the note for the user, empty where no pair is left out.

    >>> str(LeftOut(2, 100, "one side is empty", "a.tsv, line 7"))
    '2 of 100 pairs are left out of training: one side is empty (first: a.tsv, line 7)'
    >>> bool(LeftOut(0, 100, "one side is empty", ""))
    False
    """

    count: int
    total: int
    why: str
    first: str
    """The file and the line of the first of them."""

    def __bool__(self):
        return self.count > 0

    def __str__(self):
        if not self:
            return ""
        are = "is" if self.count == 1 else "are"
        return (
            f"{self.count:,} of {counted(self.total, 'pair')} {are} left out of "
            f"training: {self.why} (first: {self.first})"
        )


def without_empty(pairs: Pairs) -> tuple[Pairs, LeftOut]:
    """The pairs to train on: those with words on both sides; and a note of the others.

    Raises:
        DataError: no pair has words on both sides.

    >>> pairs = Pairs(("Ja.", " ", "Nein."), ("Yes.", "No.", ""), "a.tsv", (1, 2, 3))
    >>> kept, left_out = without_empty(pairs)
    >>> kept.sources, left_out.count, left_out.first
    (('Ja.',), 2, 'a.tsv, line 2')
    """
    both = zip(pairs.sources, pairs.targets, strict=True)
    fine = np.array([bool(s.strip() and t.strip()) for s, t in both], bool)
    if not fine.any():
        raise DataError(
            f"{pairs.where}: every one of {counted(len(pairs), 'pair')} has an empty "
            f"side, expected a sentence on both sides; check that these are the files "
            f"of both languages."
        )
    return pairs.split(fine, "one side is empty")
