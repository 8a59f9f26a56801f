"""The tokenizers of a translator as files of the library ``tokenizers``.

The library reads a file in Python, Rust, Node and other languages, and then gives the
tokens and texts of `SentenceTokens`, without its ``begin`` and ``end``.
"""

import json
from typing import Any

from lstm_jax.data.parallel.tokens import SentenceTokens
from lstm_jax.data.text import DataError
from lstm_jax.data.tokens import Bytes, SubWords, Words
from lstm_jax.data.tokens.words import END, UNKNOWN

SPACE = r"\s\x1c-\x1f"
"""White space of Python's regular expressions, in those of the library."""


def portable(tokens: SentenceTokens) -> str:
    """The JSON of a tokenizer of the library ``tokenizers``.

    Raises:
        DataError: the tokenizer is not for sentences.

    >>> from tokenizers import Tokenizer
    >>> from lstm_jax.data.tokens import learn
    >>> words = Tokenizer.from_str(portable(SentenceTokens(learn("words", "to be"))))
    >>> words.encode("be there").ids, words.decode([1, 0])
    ([0, 3], 'to be')
    """
    tokenizer = tokens.tokenizer
    if isinstance(tokenizer, SubWords):
        values = json.loads(tokenizer.json)
        values["normalizer"] = _sequence(
            "normalizers", {"type": "Prepend", "prepend": " "}, _LINE_END
        )
        values["decoder"] = _sequence(
            "decoders", values["decoder"], _FIRST_SPACE, _LINE_END
        )
    elif isinstance(tokenizer, Words):
        values = _words(tokenizer)
    elif isinstance(tokenizer, Bytes):
        values = _bytes()
    else:
        raise DataError(
            f"{tokenizer.name} cannot be written as a file of the library tokenizers, "
            f"expected bpe, unigram, words or bytes."
        )
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def _sequence(kind, *parts):
    return {"type": "Sequence", kind: [*parts]}


def _replace(content, pattern, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


_LINE_END = _replace(" ", "\n")
_FIRST_SPACE = {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def _file(**values) -> dict[str, Any]:
    empty = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor")
    return {"version": "1.0", **dict.fromkeys(empty), "added_tokens": [], **values}


def _words(tokenizer):
    model = {
        "type": "WordLevel",
        "vocab": {word: token for token, word in enumerate(tokenizer.words)},
        "unk_token": UNKNOWN,
    }
    split = {
        "type": "Split",
        "pattern": {"Regex": f"[^{SPACE}]+"},
        "behavior": "Removed",
        "invert": True,
    }
    # A line end is a space for the words around it. Two line ends mark it here, since
    # `WordPiece` takes the first away instead of a space between the words.
    decoder = _sequence(
        "decoders",
        _replace("\n\n", rf"\A{END}\z", "Regex"),
        {"type": "WordPiece", "prefix": "\n", "cleanup": False},
        {"type": "Fuse"},
        _replace("\n", r"\A\n\n", "Regex"),
        _replace("\n", "\n "),
        _LINE_END,
    )
    return _file(pre_tokenizer=split, decoder=decoder, model=model)


def _bytes():
    model = {"type": "BPE", "vocab": _byte_names(), "merges": []}
    by_bytes = dict(add_prefix_space=False, trim_offsets=True, use_regex=False)
    by_bytes = {"type": "ByteLevel", **by_bytes}
    decoder = _sequence("decoders", by_bytes, _LINE_END)
    return _file(
        normalizer=_LINE_END, pre_tokenizer=by_bytes, decoder=decoder, model=model
    )


def _byte_names():
    """The character that stands for each byte in the library: itself where it can be
    seen, and otherwise the next one from 256."""
    shown = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return {chr(b if b in shown else next(others)): b for b in range(256)}
