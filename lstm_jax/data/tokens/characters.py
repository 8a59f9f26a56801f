"""A token is a character."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import ClassVar, Self

import numpy as np

from lstm_jax.data.text import DataError
from lstm_jax.data.tokens.tokenizer import Tokenizer, check_tokens, refuse_min_count

CODES = 0x110000
"""Code points of Unicode."""

SHOWN = 20
"""So many unknown characters are named in an error."""


@dataclasses.dataclass(frozen=True)
class Characters(Tokenizer):
    """The characters of a text, in code point order; there is no unknown one.

    >>> tokenizer = Characters.learn("abca")
    >>> tokenizer.characters
    'abc'
    >>> tokenizer.encode("cab")
    array([2, 0, 1], dtype=int32)
    >>> tokenizer.decode([2, 0, 1])
    'cab'
    """

    characters: str

    name: ClassVar[str] = "characters"
    lossless: ClassVar[bool] = True

    def __post_init__(self):
        once = "".join(sorted({*self.characters}))
        if not once or once != self.characters:
            raise DataError(
                f"characters={self.characters!r} are none, or not in code point order, "
                f"each once; learn them from a text."
            )

    @classmethod
    def learn_pieces(
        cls, pieces: Iterable[str], *, limit: int = 0, min_count: int = 1
    ) -> Self:
        refuse_min_count(cls.name, min_count)
        seen = np.zeros(CODES, bool)
        for piece in pieces:
            seen[_codes(piece)] = True
        characters = _text(np.flatnonzero(seen))
        if limit and len(characters) > limit:
            raise DataError(
                f"vocabulary_limit={limit} is less than the {len(characters)} distinct "
                f"characters of the text; raise it, or take bytes, of which there "
                f"are 256."
            )
        return cls(characters)

    def __len__(self):
        return len(self.characters)

    def encode(self, text):
        codes = _codes(text)
        tokens = np.take(self._tokens, codes, mode="clip")
        if tokens.min(initial=0) < 0:
            unknown = [chr(c) for c in np.unique(codes[tokens < 0])]
            more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
            raise DataError(
                f"the vocabulary of this model does not have "
                f"{''.join(unknown[:SHOWN])!r}{more}; leave these characters out."
            )
        return tokens

    def decode(self, tokens):
        return _text(self._codes[check_tokens(tokens, len(self))])

    def facts(self):
        return {"name": self.name, "characters": self.characters}

    @functools.cached_property
    def _codes(self):
        return _codes(self.characters)

    @functools.cached_property
    def _tokens(self):
        """From a code point to its token, -1 where there is none, as for all beyond
        the last entry."""
        tokens = np.full(int(self._codes[-1]) + 2, -1, np.int32)
        tokens[self._codes] = np.arange(len(self))
        return tokens


def _codes(text):
    """Code points; halves of characters are unknown ones, not another kind of error."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _text(codes):
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
