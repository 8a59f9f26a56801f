"""Text to tokens and back.

    characters    every character of the text, none other
    bytes         the 256 bytes of UTF-8
    words         what stands between white space, line ends, and an unknown one
    bpe           frequent runs of bytes, by the library ``tokenizers`` (an extra)
    unigram       probable runs of bytes, by the same library

`learn` makes one from a text, `restore` from what its ``facts`` said. `learn_stored`
and `encoded` do the work on a text of `lstm_jax.data.stored`, which may be larger than
memory, piece by piece.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lstm_jax.data.checks import check_count
from lstm_jax.data.stored import Text
from lstm_jax.data.text import DataError
from lstm_jax.data.tokens.borders import at_borders
from lstm_jax.data.tokens.bpe import BPE
from lstm_jax.data.tokens.bytestring import Bytes
from lstm_jax.data.tokens.characters import Characters
from lstm_jax.data.tokens.decode import decode_stream
from lstm_jax.data.tokens.sub_words import SubWords
from lstm_jax.data.tokens.tokenizer import Tokenizer
from lstm_jax.data.tokens.unigram import Unigram
from lstm_jax.data.tokens.words import Words

__all__ = [
    "BPE",
    "TOKENIZERS",
    "Bytes",
    "Characters",
    "SubWords",
    "Tokenizer",
    "Unigram",
    "Words",
    "decode_stream",
    "dtype_of",
    "encode_stored",
    "encoded",
    "learn",
    "learn_stored",
    "restore",
]

TOKENIZERS: dict[str, type[Tokenizer]] = {
    kind.name: kind for kind in (Characters, Bytes, Words, BPE, Unigram)
}
"""Name to class."""


def learn(name: str, text: str, *, limit: int = 0, min_count: int = 1) -> Tokenizer:
    """The tokenizer ``name`` of `TOKENIZERS` with the vocabulary of ``text``.

    Args:
        limit: how many tokens there may be; 0 for all, and for 4096 of ``bpe``
            and ``unigram``.
        min_count: how often a word, or a pair of ``bpe``, must be there to be a token.

    Raises:
        DataError: there is no such tokenizer, the text is empty, it needs more tokens
            than ``limit``, or ``min_count`` would do nothing.

    >>> len(learn("words", "to be or not to be")), len(learn("bytes", "to be"))
    (6, 256)
    """
    kind = _kind(name)
    check_count("limit", limit, least=0)
    check_count("min_count", min_count)
    if not text:
        raise DataError(f"the text is empty, expected one to learn {name} from.")
    return kind.learn(text, limit=limit, min_count=min_count)


def learn_stored(
    name: str, texts: Sequence[Text], *, limit: int = 0, min_count: int = 1
) -> Tokenizer:
    """The tokenizer ``name`` with the vocabulary of all ``texts``.

    Arguments and errors are those of `learn`. A piece of a text is in memory, and the
    distinct words that it has.

    >>> learn_stored("characters", [Text.of("abba"), Text.of("ca")])
    Characters(characters='abc')
    """
    kind = _kind(name)
    check_count("limit", limit, least=0)
    check_count("min_count", min_count)
    if not any(text.characters for text in texts):
        raise DataError(f"the text is empty, expected one to learn {name} from.")
    pieces = _pieces(kind, itertools.chain.from_iterable(t.pieces() for t in texts))
    return kind.learn_pieces(pieces, limit=limit, min_count=min_count)


def dtype_of(tokenizer: Tokenizer) -> np.dtype:
    """The smallest unsigned integers that hold the vocabulary."""
    return np.min_scalar_type(len(tokenizer) - 1)


def encoded(tokenizer: Tokenizer, text: Text) -> Iterator[np.ndarray]:
    """The tokens of a text, some at a time, in integers of `dtype_of`.

    Raises:
        DataError: the text has what no token stands for.
    """
    if isinstance(tokenizer, Bytes):
        yield from text.chunks()
        return
    dtype = dtype_of(tokenizer)
    for piece in _pieces(type(tokenizer), text.pieces()):
        yield tokenizer.encode(piece).astype(dtype)


def _pieces(kind, pieces):
    """Pieces of a text that no token crosses."""
    return pieces if issubclass(kind, Characters | Bytes) else at_borders(pieces)


def encode_stored(tokenizer: Tokenizer, text: Text) -> np.ndarray:
    """The tokens of a text ``[T]`` in memory, in integers of `dtype_of`. Bytes are
    those of the text, and nothing is copied.

    Raises:
        DataError: the text has what no token stands for.

    >>> encode_stored(Bytes(), Text.of("né"))
    array([110, 195, 169], dtype=uint8)
    """
    if isinstance(tokenizer, Bytes):
        return text.data
    none = np.zeros(0, dtype_of(tokenizer))
    return np.concatenate([none, *encoded(tokenizer, text)])


def restore(facts: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that said these ``facts``, also after they went through JSON.

    Raises:
        DataError: they are not what one of `TOKENIZERS` says.

    >>> restore(learn("characters", "abca").facts())
    Characters(characters='abc')
    """
    kind = _kind(facts.get("name"))
    vocabulary = {key: value for key, value in facts.items() if key != "name"}
    try:
        return kind(**vocabulary)
    except TypeError as error:
        raise DataError(
            f"the facts of {kind.name} are not what it says of itself: {error}."
        ) from error


def _kind(name):
    if not isinstance(name, str) or name not in TOKENIZERS:
        raise DataError(
            f"there is no tokenizer {name!r}, expected one of {', '.join(TOKENIZERS)}."
        )
    return TOKENIZERS[name]
