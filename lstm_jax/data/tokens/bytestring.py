"""A token is a byte."""

import dataclasses
from collections.abc import Iterable
from typing import ClassVar, Self

import numpy as np

from lstm_jax.data.text import DataError
from lstm_jax.data.tokens.tokenizer import (
    Tokenizer,
    check_tokens,
    refuse_min_count,
    utf8,
)

BYTES = 256


@dataclasses.dataclass(frozen=True)
class Bytes(Tokenizer):
    """The bytes of UTF-8: every text has them, in any language.

    >>> Bytes().encode("né")
    array([110, 195, 169], dtype=int32)

    What a model makes up need not be UTF-8; then a `�` stands for what is not:

    >>> Bytes().decode([110, 195])
    'n�'
    """

    name: ClassVar[str] = "bytes"
    lossless: ClassVar[bool] = True

    @classmethod
    def learn_pieces(
        cls, pieces: Iterable[str], *, limit: int = 0, min_count: int = 1
    ) -> Self:
        del pieces
        refuse_min_count(cls.name, min_count)
        if limit and limit < BYTES:
            raise DataError(
                f"vocabulary_limit={limit} is less than the {BYTES} bytes there are; "
                f"leave it at 0."
            )
        return cls()

    def __len__(self):
        return BYTES

    def encode(self, text):
        return np.frombuffer(utf8(text), np.uint8).astype(np.int32)

    def decode(self, tokens):
        data = check_tokens(tokens, len(self)).astype(np.uint8).tobytes()
        return data.decode("utf-8", "replace")

    def facts(self):
        return {"name": self.name}
