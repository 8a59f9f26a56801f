"""Tokens that are runs of bytes, by the library ``tokenizers`` (an extra)."""

import abc
import dataclasses
import functools
import importlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import numpy as np

from lstm_jax.data.text import DataError
from lstm_jax.data.tokens.bytestring import BYTES
from lstm_jax.data.tokens.tokenizer import Tokenizer, check_tokens, utf8

DEFAULT_LIMIT = 4096
PIECE = 4096
"""Characters that the library takes at a time, at least."""
BATCH = 256
"""Texts at a time: while they are encoded a token takes a hundred bytes and more."""
BORDER = re.compile(r"\S[ \n]")


@dataclasses.dataclass(frozen=True)
class SubWords(Tokenizer, abc.ABC):
    """Runs of bytes within words; the space before a word is part of its first token.

    The 256 bytes are always there, so every text can be encoded and is restored to the
    byte.
    """

    json: str
    """As the library writes it."""

    lossless: ClassVar[bool] = True

    def __post_init__(self):
        self._library  # noqa: B018, what cannot be read is told now

    def __len__(self):
        return self._library.get_vocab_size()

    def encode(self, text):
        parts = self.encode_all(list(cut([text])))
        return np.concatenate([np.zeros(0, np.int32), *parts])

    def encode_all(self, texts):
        tokens = []
        for at in range(0, len(texts), BATCH):
            some = texts[at : at + BATCH]
            for text in some:
                utf8(text)
            encoded = self._library.encode_batch_fast(some)
            tokens += [np.array(one.ids, np.int32) for one in encoded]
        return tokens

    def decode(self, tokens):
        """As `Bytes`: a `�` stands for what is not UTF-8."""
        return self._library.decode(check_tokens(tokens, len(self)).tolist())

    def facts(self):
        return {"name": self.name, "json": self.json}

    @functools.cached_property
    def _library(self) -> Any:
        package = library(self.name)
        try:
            return package.Tokenizer.from_str(self.json)
        except Exception as error:  # the library has no class of its own for it
            raise DataError(
                f"the JSON of this {self.name} cannot be read: {error}; learn it from "
                f"a text."
            ) from error


def library(name: str) -> Any:
    """The package ``tokenizers``, an extra, which the tokenizer ``name`` needs.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module("tokenizers")
    except ModuleNotFoundError as error:
        raise DataError(
            f"{name} needs the package tokenizers: pip install 'lstm-jax[bpe]'."
        ) from error


def by_bytes(package: Any, model: Any) -> Any:
    """A tokenizer of the library on bytes, cut into words as in Radford et al. 2019."""
    tokenizer = package.Tokenizer(model)
    tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = package.decoders.ByteLevel()
    return tokenizer


def check_limit(name: str, limit: int) -> int:
    """The most tokens there may be, `DEFAULT_LIMIT` for 0.

    Raises:
        DataError: there is no room for the bytes.
    """
    if limit and limit < BYTES:
        raise DataError(
            f"vocabulary_limit={limit} is less than the {BYTES} bytes that every "
            f"vocabulary of {name} begins with; expected more, or 0 for "
            f"{DEFAULT_LIMIT}."
        )
    return limit or DEFAULT_LIMIT


def cut(texts: Iterable[str]) -> Iterator[str]:
    """Texts in pieces whose tokens are those of the whole: the library first cuts a
    text before the white space after a word, so a cut there changes nothing.

    Raises:
        DataError: a text has half a character.

    >>> [len(piece) for piece in cut(["word " * 2000])]
    [4099, 4100, 1801]
    """
    for text in texts:
        utf8(text)
        at = 0
        while border := BORDER.search(text, at + PIECE):
            yield text[at : border.start() + 1]
            at = border.start() + 1
        if at < len(text):
            yield text[at:]
