"""A text in splits and its tokens, which may be larger than memory."""

import functools
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lstm_jax.data.corpus import SHARES, find_parts, read_corpus, sha256
from lstm_jax.data.records import COLUMN
from lstm_jax.data.store import Store, Tokens
from lstm_jax.data.stored import IN_MEMORY, UTF_8, Text
from lstm_jax.data.text import DataError
from lstm_jax.data.tokens import (
    Bytes,
    Tokenizer,
    dtype_of,
    encode_stored,
    encoded,
    learn_stored,
    restore,
)

LARGE = 2**28
"""The user is told before files of more than these 256 MiB are read."""

FORMAT = 1
"""Changes with what is kept of a text, and with how a text is read and encoded."""


class TokenizedText:
    """A text in splits and its tokens. All is made when it is asked for.

    The tokens of a small text are in memory. Those of a large one (`Text.in_memory`)
    are in a file, from which the system reads the pages that are used. Byte tokens are
    the text itself.

    Args:
        path: as for `read_corpus`.
        shares: as for `read_corpus`.
        encoding: as for `read_corpus`.
        column: as for `read_corpus`.
        cache: a folder in which tokens are kept, and found again as long as the files
            have the same place, size and times. Empty: nothing is kept.
        tell: told what takes long, in a sentence.
        in_memory: as for `read_corpus`.

    Raises:
        DataError: ``cache`` is in the folder of the text.
    """

    def __init__(
        self,
        path: str = "",
        shares: Sequence[float] = SHARES,
        encoding: str = UTF_8,
        column: str = COLUMN,
        *,
        cache: str = "",
        tell: Callable[[str], None] = lambda said: None,
        in_memory: int = IN_MEMORY,
    ):
        self._path, self._shares, self._encoding = path, tuple(shares), encoding
        self._column, self._tell, self._in_memory = column, tell, in_memory
        self._cache = cache
        if cache and os.path.isdir(path) and _is_in(cache, path):
            raise DataError(
                f"data.cache={cache} is in the folder data.path={path}, whose files "
                f"are the text; set it to another folder."
            )
        self._store = Store(cache)
        self._parts: dict[str, Text] | None = None
        self._tokens: dict[str, Tokens] = {}
        self.seconds = 0.0
        """How long reading, learning and encoding took."""

    @property
    def parts(self) -> dict[str, Text]:
        """The text, by the names of its splits."""
        if self._parts is None:
            size = sum(size for _, size, *_ in self._files)
            if size > LARGE:
                self._tell(f"reading {_in_words(size)} of data.path={self._path} ...")
            asked = self._path, self._shares, self._encoding, self._column
            read = lambda: read_corpus(*asked, in_memory=self._in_memory)
            self._parts = self._timed(read)
        return self._parts

    @property
    def characters(self) -> dict[str, int]:
        """How many characters each split has."""
        return self._facts["characters"]

    @property
    def sha256(self) -> str:
        """The digest of the text; see `lstm_jax.data.corpus.sha256`."""
        return self._facts["sha256"]

    def learn(self, kind: str, *, limit: int = 0, min_count: int = 1) -> Tokenizer:
        """The tokenizer ``kind`` of the train split, or of all splits for characters:
        a character that only another split has must be known.

        Arguments and errors are those of `lstm_jax.data.tokens.learn`.
        """

        def make():
            every = kind == "characters"
            texts = [*self.parts.values()] if every else [self.parts["train"]]
            how = dict(limit=limit, min_count=min_count)
            return self._timed(lambda: learn_stored(kind, texts, **how)).facts()

        key = self._key | {"kind": kind, "limit": limit, "min_count": min_count}
        return restore(self._store.facts("tokenizer", key, make))

    def tokens(self, part: str, tokenizer: Tokenizer) -> Tokens:
        """The tokens of a split, of the same tokenizer in every call.

        Raises:
            DataError: there is no such split, the text has what no token stands for,
                or there is no room for the tokens.
        """
        if part not in self.characters:
            raise DataError(
                f"the data have no split {part}, only {', '.join(self.characters)}."
            )
        if part not in self._tokens:
            self._tokens[part] = self._timed(lambda: self._encode(part, tokenizer))
            in_place = isinstance(tokenizer, Bytes) and not self._cache
            if {*self._tokens} == {*self.characters} and not in_place:
                self._forget_parts()
        return self._tokens[part]

    def _forget_parts(self):
        """A large text may have a temporary file, which goes when nobody uses it."""
        parts = self._parts or {}
        if not all(text.in_memory for text in parts.values()):
            self._parts = None

    def _encode(self, part, tokenizer):
        if not self._cache:
            text = self.parts[part]
            if isinstance(tokenizer, Bytes) or text.in_memory:
                return Tokens(encode_stored(tokenizer, text), text.mapped)
        dtype = dtype_of(tokenizer)
        key = self._key | {"part": part, "tokenizer": tokenizer.facts()}
        if self._store.has("tokens", key):
            if not self._tokens:
                self._tell(f"the tokens are those of data.cache={self._cache}")
        else:
            size = len(self.parts[part].data)
            if size > LARGE:
                self._tell(f"encoding {_in_words(size)} of the {part} split ...")
        make = lambda: encoded(tokenizer, self.parts[part])
        tokens = self._store.tokens("tokens", key, dtype, make)
        if self._cache:
            self._check_unchanged()
        return tokens

    @functools.cached_property
    def _facts(self) -> Mapping[str, Any]:
        def make():
            characters = {name: text.characters for name, text in self.parts.items()}
            digest = self._timed(lambda: sha256(self.parts))
            self._check_unchanged()
            return {"characters": characters, "sha256": digest}

        return self._store.facts("text", self._key, make)

    @functools.cached_property
    def _files(self):
        """The files of the text, with what changes when they do."""
        return _files_of(self._path)

    def _check_unchanged(self):
        if _files_of(self._path) != self._files:
            raise DataError(
                f"files of data.path={self._path} changed while they were read; start "
                f"again when they are complete."
            )

    @functools.cached_property
    def _key(self) -> dict[str, Any]:
        """All that the text depends on."""
        return {
            "format": FORMAT,
            "path": os.path.realpath(self._path) if self._path else "",
            "files": self._files if self._path else platform.python_version(),
            "encoding": self._encoding,
            "column": self._column,
            "shares": self._shares,
        }

    def _timed(self, call):
        start, before = time.monotonic(), self.seconds
        try:
            return call()
        finally:  # also of calls within, which are counted once
            self.seconds = before + time.monotonic() - start


def _files_of(path):
    """``[name, size, when written, when changed]`` of every file."""
    if not path:
        return []
    folder = Path(path)
    if not os.path.isdir(path):
        found = [folder]
    else:
        named = find_parts(folder)
        lists = named.values() if isinstance(named, dict) else [named]
        found = [file for files in lists for file in files]
    stats = []
    for file in found:
        try:
            at = os.stat(file)
        except (OSError, ValueError):  # the reader says what is wrong
            continue
        times = at.st_mtime_ns, at.st_ctime_ns
        stats.append([os.path.relpath(file, path), at.st_size, *times])
    return stats


def _is_in(inner, folder):
    inner, folder = Path(os.path.realpath(inner)), Path(os.path.realpath(folder))
    return inner.is_relative_to(folder)


def _in_words(size):
    return f"{size / 1e9:.1f} GB"
