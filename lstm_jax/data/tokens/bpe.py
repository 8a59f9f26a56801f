"""A token is a run of bytes that often stand together."""

import dataclasses
import functools
import importlib
import re
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np

from lstm_jax.data.text import DataError
from lstm_jax.data.tokens.bytestring import BYTES
from lstm_jax.data.tokens.tokenizer import Tokenizer, check_tokens, utf8

DEFAULT_LIMIT = 4096
PIECE = 4096
"""Characters that the library takes at a time, at least."""
BATCH = 256
"""Pieces at a time: while they are encoded a token takes a hundred bytes and more."""
BORDER = re.compile(r"\S[ \n]")


@dataclasses.dataclass(frozen=True)
class BPE(Tokenizer):
    """Byte-pair encoding of bytes (Sennrich, Haddow & Birch 2016, on bytes as in
    Radford et al. 2019), by the library ``tokenizers``: beginning with the 256 bytes,
    the pair of tokens that is most frequent within words becomes one, until there are
    ``limit`` (0: 4096), or no pair occurs ``min_count`` times. Every text can be
    encoded and is restored to the byte.

    >>> tokenizer = BPE.learn("low lower lowest", limit=258)
    >>> len(tokenizer), tokenizer.decode(tokenizer.encode("slow né")[1:])
    (258, 'low né')
    >>> tokenizer.encode("lowlow")
    array([257, 257], dtype=int32)
    """

    json: str
    """As the library writes it."""

    name: ClassVar[str] = "bpe"
    lossless: ClassVar[bool] = True

    def __post_init__(self):
        self._library  # noqa: B018, what cannot be read is told now

    @classmethod
    def learn(cls, text: str, *, limit: int = 0, min_count: int = 1) -> Self:
        if limit and limit < BYTES:
            raise DataError(
                f"vocabulary_limit={limit} is less than the {BYTES} bytes that every "
                f"vocabulary of bpe begins with; expected more, or 0 for "
                f"{DEFAULT_LIMIT}."
            )
        utf8(text)
        package = library()
        tokenizer = package.Tokenizer(package.models.BPE())
        by_bytes = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.pre_tokenizer = by_bytes
        tokenizer.decoder = package.decoders.ByteLevel()
        trainer = package.trainers.BpeTrainer(
            vocab_size=limit or DEFAULT_LIMIT,
            min_frequency=min_count,
            initial_alphabet=by_bytes.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(pieces(text), trainer)
        return cls(tokenizer.to_str())

    def __len__(self):
        return self._library.get_vocab_size()

    def encode(self, text):
        utf8(text)
        parts, tokens = list(pieces(text)), [np.zeros(0, np.int32)]
        for at in range(0, len(parts), BATCH):
            encoded = self._library.encode_batch_fast(parts[at : at + BATCH])
            tokens += [np.array(part.ids, np.int32) for part in encoded]
        return np.concatenate(tokens)

    def decode(self, tokens):
        """As `Bytes`: a `�` stands for what is not UTF-8."""
        return self._library.decode(check_tokens(tokens, len(self)).tolist())

    def facts(self):
        return {"name": self.name, "json": self.json}

    @functools.cached_property
    def _library(self) -> Any:
        package = library()
        try:
            return package.Tokenizer.from_str(self.json)
        except Exception as error:  # the library has no class of its own for it
            raise DataError(
                f"the JSON of this bpe cannot be read: {error}; learn it from a text."
            ) from error


def library() -> Any:
    """The package ``tokenizers``, an extra.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module("tokenizers")
    except ModuleNotFoundError as error:
        raise DataError(
            "bpe needs the package tokenizers: pip install 'lstm-jax[bpe]'."
        ) from error


def pieces(text: str) -> Iterator[str]:
    """The text in pieces whose tokens are those of the whole: the library first cuts
    a text before the white space after a word, so a cut there changes nothing.

    >>> [len(piece) for piece in pieces("word " * 2000)]
    [4099, 4100, 1801]
    """
    at = 0
    while border := BORDER.search(text, at + PIECE):
        yield text[at : border.start() + 1]
        at = border.start() + 1
    if at < len(text):
        yield text[at:]
