"""A token is what stands between white space, or the end of a line."""

import collections
import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable
from typing import ClassVar, Self

import numpy as np

from lstm_jax.data.text import DataError
from lstm_jax.data.tokens.borders import at_borders
from lstm_jax.data.tokens.tokenizer import Tokenizer, check_tokens

END = "<eos>"
UNKNOWN = "<unk>"
WORD = re.compile(r"\n|\S+")
PART = 2**20
"""Characters of which a list of words is made at a time."""


@dataclasses.dataclass(frozen=True)
class Words(Tokenizer):
    """Words as they are written, ``<eos>`` for every line end, ``<unk>`` for words that
    the vocabulary does not have: what the Penn Treebank of Mikolov et al. (2010) is
    measured in. Both are always there, and where a text has them as words, they are
    these tokens.

    The vocabulary is in order of falling count, then of code points, where ``<unk>``
    counts what it stands for.

    >>> tokenizer = Words.learn("the cat\\nthe dog\\nthe end\\n", limit=4)
    >>> tokenizer.words
    ('<eos>', 'the', '<unk>', 'cat')
    >>> tokenizer.encode("a cat\\n")
    array([2, 3, 0], dtype=int32)
    >>> tokenizer.decode([2, 3, 0, 1])
    '<unk> cat\\nthe'
    """

    words: tuple[str, ...]

    name: ClassVar[str] = "words"
    lossless: ClassVar[bool] = False

    def __post_init__(self):
        words = tuple(self.words)
        object.__setattr__(self, "words", words)
        if not all(isinstance(word, str) and word.split() == [word] for word in words):
            raise DataError("words are not all strings without white space.")
        if len(set(words)) < len(words) or not {END, UNKNOWN} <= set(words):
            raise DataError(
                f"words are not distinct, or without {END} or {UNKNOWN}; "
                f"learn them from a text."
            )

    @classmethod
    def learn_pieces(
        cls, pieces: Iterable[str], *, limit: int = 0, min_count: int = 1
    ) -> Self:
        if 0 < limit < 3:
            raise DataError(
                f"vocabulary_limit={limit} leaves no room for words beside {END} and "
                f"{UNKNOWN}; expected 3 or more, or 0 for all."
            )
        counts: collections.Counter[str] = collections.Counter()
        for piece in pieces:
            for part in _parts(piece):
                counts.update(WORD.findall(part))
        total = counts.total()
        counts[END] += counts.pop("\n", 0)
        kept = [w for w, n in counts.items() if n >= min_count]
        falling = lambda word: (-counts[word], word)
        kept = sorted({*kept} - {END, UNKNOWN}, key=falling)
        if limit:
            kept = kept[: limit - 2]
        counts[UNKNOWN] = total - counts[END] - sum(counts[w] for w in kept)
        return cls(tuple(sorted([END, UNKNOWN, *kept], key=falling)))

    def __len__(self):
        return len(self.words)

    def encode(self, text):
        at, unknown = self._index.get, itertools.repeat(self._index[UNKNOWN])
        tokens = (map(at, WORD.findall(part), unknown) for part in _parts(text))
        return np.fromiter(itertools.chain.from_iterable(tokens), np.int32)

    def decode(self, tokens):
        """Words with a space between them, ``<eos>`` as the end of a line."""
        tokens = check_tokens(tokens, len(self)).tolist()
        said = ["\n" if t == self._index[END] else self.words[t] for t in tokens]
        return " ".join(said).replace(" \n", "\n").replace("\n ", "\n")

    def unknown(self, text):
        words = (match[0] for match in WORD.finditer(text))
        return sorted({word for word in words if word not in self._index})

    def facts(self):
        return {"name": self.name, "words": list(self.words)}

    @functools.cached_property
    def _index(self):
        index = {word: token for token, word in enumerate(self.words)}
        return index | {"\n": index[END]}


def _parts(text):
    """A text in parts with whole words. A list of all words would take ten times the
    memory of the text."""
    return at_borders(text[at : at + PART] for at in range(0, len(text), PART))
