"""Text to tokens and back.

    characters    every character of the text, none other
    bytes         the 256 bytes of UTF-8
    words         what stands between white space, line ends, and an unknown one
    bpe           frequent runs of bytes, by the library ``tokenizers`` (an extra)
    unigram       probable runs of bytes, by the same library

`learn` makes one from a text, `restore` from what its ``facts`` said. `learn_stored`
and `encode_stored` do the work on a text of `lstm_jax.data.stored`, which may be larger
than memory: bytes are the text itself, and characters come piece by piece.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_jax.data.checks import check_count
from lstm_jax.data.stored import Text
from lstm_jax.data.text import DataError
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
    "encode_stored",
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

    Arguments and errors are those of `learn`. The vocabularies of bytes and of
    characters need no more than a piece of a text in memory.

    >>> learn_stored("characters", [Text.of("abba"), Text.of("ca")])
    Characters(characters='abc')
    """
    if _kind(name) is Bytes:
        text = "bytes are known before"
    elif _kind(name) is Characters:
        text = "".join({c for text in texts for piece in text.pieces() for c in piece})
    else:
        text = "".join(map(str, texts))
    return learn(name, text, limit=limit, min_count=min_count)


def encode_stored(tokenizer: Tokenizer, text: Text) -> np.ndarray:
    """The tokens of a text ``[T]`` in the smallest unsigned integers that hold the
    vocabulary. Bytes are those of the text, and nothing is copied.

    Raises:
        DataError: the text has what no token stands for.

    >>> encode_stored(Bytes(), Text.of("né"))
    array([110, 195, 169], dtype=uint8)
    """
    if isinstance(tokenizer, Bytes):
        return text.data
    dtype = np.min_scalar_type(len(tokenizer) - 1)
    if not isinstance(tokenizer, Characters):
        return tokenizer.encode(str(text)).astype(dtype)
    tokens, at = np.empty(text.characters, dtype), 0
    for piece in text.pieces():
        tokens[at : at + len(piece)] = tokenizer.encode(piece)
        at += len(piece)
    return tokens


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
