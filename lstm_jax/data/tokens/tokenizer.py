"""What every tokenizer is."""

import abc
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from lstm_jax.data.text import DataError


class Tokenizer(abc.ABC):
    """Text to tokens ``0 ... len(self) - 1`` and back.

    A value: equal ones have the same vocabulary, and nothing else decides what they do.
    """

    name: ClassVar[str]
    """What configs call it."""
    lossless: ClassVar[bool]
    """Whether ``decode(encode(text)) == text`` for every text that it takes."""

    @classmethod
    def learn(cls, text: str, *, limit: int = 0, min_count: int = 1) -> Self:
        """The tokenizer of a text; `lstm_jax.data.tokens.learn` checks arguments."""
        return cls.learn_pieces([text], limit=limit, min_count=min_count)

    @classmethod
    @abc.abstractmethod
    def learn_pieces(
        cls, pieces: Iterable[str], *, limit: int = 0, min_count: int = 1
    ) -> Self:
        """The tokenizer of a text that comes in pieces which no token crosses; see
        ``at_borders`` of ``borders.py``."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """How many tokens there are: V."""

    @abc.abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Tokens of ``text``, int32 ``[T]``.

        Raises:
            DataError: the text has what no token stands for.
        """

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Tokens of every text, each encoded alone; errors are those of `encode`."""
        return [self.encode(text) for text in texts]

    @abc.abstractmethod
    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens ``[T]``.

        Raises:
            DataError: one of them is not a token of this vocabulary.
        """

    def unknown(self, text: str) -> list[str]:
        """What of ``text`` becomes a token that stands for anything unknown."""
        del text
        return []

    @abc.abstractmethod
    def facts(self) -> dict[str, Any]:
        """All there is to know, for JSON; `lstm_jax.data.tokens.restore` reads it."""


def check_tokens(tokens: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
    """Tokens ``[T]`` of a vocabulary of ``size``, since a negative or too large index
    would stand for another token, or for none, in silence."""
    array = np.asarray(tokens)
    if array.ndim == 1 and not array.size:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(
            f"tokens has shape {array.shape} and dtype {array.dtype}, expected "
            f"integers [T]."
        )
    outside = (array < 0) | (array >= size)
    if outside.any():
        raise DataError(
            f"token {array[outside][0]} is none of this vocabulary, expected 0 to "
            f"{size - 1}; decode with the tokenizer of the model."
        )
    return array


def utf8(text: str) -> bytes:
    """The text in UTF-8; Python's strings can hold halves of characters, which have
    none (an argument of the command line that was not UTF-8 becomes such)."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"the text has {text[error.start]!r} at character {error.start}, which is "
            f"not a whole character; leave it out."
        ) from error


def refuse_min_count(name: str, min_count: int) -> None:
    """For tokenizers that leave nothing out, however rare."""
    if min_count != 1:
        raise DataError(
            f"min_count={min_count} does nothing with {name}, which leave nothing out; "
            f"leave it at 1."
        )
