"""A text as its UTF-8, in memory or, if it is large, in a file.

A text of at most `IN_MEMORY` bytes is an array in memory. A larger one is mapped from
its file: the system reads the pages that are used, and may drop them again. If the file
is not plain UTF-8 with ``\\n`` (compressed, another encoding, Parquet, several files),
the text is first written to a temporary file in the folder that TMPDIR names.
"""

import codecs
import contextlib
import io
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lstm_jax.data.records import (
    ARRAY_RECORD,
    COLUMN,
    PARQUET,
    TEXT,
    array_records,
    joined,
    kind_of,
    parquet_rows,
)
from lstm_jax.data.text import (
    CHUNK,
    FILE_BYTES,
    DataError,
    is_packed,
    open_data,
    unpacked,
)

IN_MEMORY = 2**26
"""A text of more bytes than these 64 MiB stays in its file."""

UTF_8 = "utf-8"


class Mapped:
    """A file as bytes in the address space. It must not change meanwhile.

    Args:
        file: the open file; it may be closed afterwards.
        called: what errors call it.
    """

    def __init__(self, file: BinaryIO, called: str):
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._called = called
        self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        self._before = os.fstat(self._file)
        self.data = np.frombuffer(self._map, np.uint8)

    def check(self) -> None:
        """Raises DataError where the file has changed: to read what is not there any
        more would end the process."""
        now, before = os.fstat(self._file), self._before
        if now.st_size != before.st_size:
            changed = (
                f"has {now.st_size:,} bytes now and had {before.st_size:,} when it was "
                f"opened"
            )
        elif now.st_nlink and now.st_mtime_ns != before.st_mtime_ns:
            changed = "was written to since it was opened"
        else:
            return
        raise DataError(
            f"{self._called} {changed}; bring the file back, and do not write to it "
            f"while it is used."
        )

    def forget(self, start: int, stop: int) -> None:
        """Tells the system that these bytes are not needed in memory for now."""
        if hasattr(self._map, "madvise"):
            page = mmap.PAGESIZE
            first, last = -(-start // page) * page, stop // page * page
            if last > first:
                self._map.madvise(mmap.MADV_DONTNEED, first, last - first)


class Text:
    """A text as its UTF-8.

    Args:
        data: the bytes, uint8 ``[N]``.
        characters: how many characters they are.
        mapped: the file that they are in, if they are not in memory.
        start: where in the file they begin.

    >>> text = Text.of("né!")
    >>> text.characters, len(text.data), str(text), [str(t) for t in text.cut([2, 3])]
    (3, 4, 'né!', ['né', '!'])
    """

    def __init__(
        self,
        data: np.ndarray,
        characters: int,
        mapped: Mapped | None = None,
        start: int = 0,
    ):
        self.data, self.characters = data, characters
        self._mapped, self._start = mapped, start

    @classmethod
    def of(cls, text: str) -> "Text":
        """The text of a string."""
        return cls(np.frombuffer(text.encode(), np.uint8), len(text))

    @property
    def in_memory(self) -> bool:
        """Whether it is in memory, not in a file."""
        return self._mapped is None

    @property
    def mapped(self) -> Mapped | None:
        """The file that it is in, if it is not in memory."""
        return self._mapped

    def check(self) -> None:
        """Raises DataError where the file of the text has changed."""
        if self._mapped is not None:
            self._mapped.check()

    def chunks(self) -> Iterator[np.ndarray]:
        """The bytes, `CHUNK` at a time; no more than that is brought into memory."""
        for at in range(0, len(self.data), CHUNK):
            self.check()
            chunk = self.data[at : at + CHUNK]
            yield chunk
            if self._mapped is not None:
                begin = self._start + at
                self._mapped.forget(begin, begin + len(chunk))

    def pieces(self) -> Iterator[str]:
        """The text in pieces that are about `CHUNK` bytes each."""
        decoder = codecs.getincrementaldecoder(UTF_8)()
        for chunk in self.chunks():
            yield decoder.decode(chunk.tobytes())

    def __str__(self) -> str:
        return "".join(self.pieces())

    def last(self, count: int) -> str:
        """The last ``count`` bytes as text, without half a character in front."""
        return self.data[-count:].tobytes().decode(UTF_8, "ignore")

    def cut(self, ends: Sequence[int]) -> list["Text"]:
        """Consecutive parts that end after so many characters each."""
        stops, begin, parts = self._offsets(ends), 0, []
        for stop, before, end in zip(stops, [0, *ends], ends, strict=False):
            mapped, start = self._mapped, self._start + begin
            parts.append(Text(self.data[begin:stop], end - before, mapped, start))
            begin = stop
        return parts

    def _offsets(self, ends):
        """The bytes that so many characters have."""
        if self.characters == len(self.data):
            return [*ends]
        wanted, found, seen, at = [*ends], [], 0, 0
        for chunk in self.chunks():
            first = (chunk & 0xC0) != 0x80  # the first byte of a character
            inside = int(np.count_nonzero(first))
            # A character ends where the next one begins.
            while len(found) < len(wanted) and wanted[len(found)] < seen + inside:
                starts = np.flatnonzero(first)
                found.append(at + int(starts[wanted[len(found)] - seen]))
            seen, at = seen + inside, at + len(chunk)
        return found + [len(self.data)] * (len(wanted) - len(found))


def read_text(
    path: str | Path,
    called: str = "",
    encoding: str = UTF_8,
    column: str = COLUMN,
    *,
    in_memory: int = IN_MEMORY,
) -> Text:
    """The text of a file: plain, compressed by gzip or zstd, Parquet or array_record.
    What is in the file decides, not its name.

    Line ends become ``\\n``, and the mark that some programs put first is left out.
    Rows of Parquet, and records, are joined by line ends; see
    `lstm_jax.data.records.joined`.

    Args:
        path: the file.
        called: what errors call the file; ``data.path=PATH`` if empty.
        encoding: what a text file is written in.
        column: the column of text of a Parquet file.
        in_memory: a text of more bytes stays in its file.

    Raises:
        DataError: the file is missing, unreadable, corrupt, binary, not in this
            encoding, empty, a single character, or no regular file.
    """
    called, encoding = called or f"data.path={path}", _name(encoding)
    with open_data(path, called) as file:
        size = os.fstat(file.fileno()).st_size
        plain = kind_of(file) == TEXT and not is_packed(file)
        if plain and size > in_memory and encoding == UTF_8:
            characters = written = 0
            for piece in _pieces(path, called, encoding, column):
                characters += len(piece)
                written += len(piece.encode())
            if written == size:  # Nothing is left out, so the file is the text.
                mapped = Mapped(file, called)
                return Text(mapped.data, characters, mapped)
    return stored(_pieces(path, called, encoding, column), called, in_memory)


def read_texts(
    paths: Sequence[Path],
    called: Sequence[str],
    encoding: str = UTF_8,
    column: str = COLUMN,
    *,
    in_memory: int = IN_MEMORY,
) -> Text:
    """The texts of several files, one after the other, as one. A text that does not
    end with a line end gets one, unless it is the last.

    Args and errors are those of `read_text`, of every file. Text files, Parquet files
    and array_record files cannot be mixed.
    """
    if len(paths) == 1:
        return read_text(paths[0], called[0], encoding, column, in_memory=in_memory)

    encoding = _name(encoding)
    _check_one_kind(paths, called)

    def pieces():
        end = "\n"
        for path, name in zip(paths, called, strict=True):
            if not end.endswith("\n"):
                yield "\n"
            for piece in _pieces(path, name, encoding, column):
                yield piece
                end = piece or end

    return stored(pieces(), called[0], in_memory)


def _check_one_kind(paths, called):
    first: dict[str, str] = {}
    for path, name in zip(paths, called, strict=True):
        with open_data(path, name) as file:
            first.setdefault(kind_of(file), name)
    if len(first) > 1:
        said = " and ".join(f"{name} is {kind}" for kind, name in first.items())
        raise DataError(
            f"{said}, expected files of one kind; put the others elsewhere."
        )


def _pieces(path, called, encoding, column):
    """The text of a file of any kind."""
    with open_data(path, called) as file:
        kind = kind_of(file)
        if kind != TEXT and encoding != UTF_8:
            raise DataError(
                f"data.encoding={encoding} is for text files, and {called} is {kind}, "
                f"which holds UTF-8; leave it out."
            )
        if kind != PARQUET and column != COLUMN:
            raise DataError(
                f"data.column={column} is for Parquet files, and {called} is {kind}; "
                f"leave it out."
            )
        if kind == PARQUET:
            chunks = joined(parquet_rows(file, called, column))
        elif kind == ARRAY_RECORD:
            chunks = joined(array_records(path, called))
        else:
            chunks = unpacked(file, called)
        yield from decoded(chunks, called, encoding)


def read_stream(file: BinaryIO, called: str, encoding: str = UTF_8) -> Text:
    """The text that comes from a pipe, such as standard input.

    Raises:
        DataError: as `read_text`, or it cannot be read or has too many bytes.
    """

    def read():
        try:
            return file.read(CHUNK)
        except OSError as error:
            raise DataError(f"{called} cannot be read: {error.strerror}.") from error

    def chunks():
        count = 0
        while chunk := read():
            count += len(chunk)
            if count > FILE_BYTES:
                raise DataError(
                    f"{called} has more than {FILE_BYTES:,} bytes; write it to a file."
                )
            yield chunk

    return stored(decoded(chunks(), called, _name(encoding)), called)


def stored(pieces: Iterator[str], called: str, in_memory: int = IN_MEMORY) -> Text:
    """The text of pieces: in memory, or in a temporary file where it is larger.

    Raises:
        DataError: there is no room for the file.
    """
    characters, memory = 0, io.BytesIO()
    file: BinaryIO = memory
    try:
        for piece in pieces:
            characters += len(piece)
            file.write(piece.encode())
            if file is memory and file.tell() > in_memory:
                file = _temporary()
                file.write(memory.getbuffer())
                memory = io.BytesIO()
        if file is memory:
            return Text(np.frombuffer(memory.getvalue(), np.uint8), characters)
        file.flush()
        mapped = Mapped(file, f"the temporary copy of {called}")
        return Text(mapped.data, characters, mapped)
    except OSError as error:
        raise DataError(
            f"{called} is large, and its text cannot be written to the folder "
            f"{tempfile.gettempdir()}: {error.strerror}; set TMPDIR to one with room."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # what is left to write has no room either
            file.close()


def check_encoding(encoding: str) -> None:
    """Raises DataError where Python has no encoding of text by this name."""
    try:
        b"a".decode(encoding)
        codecs.getincrementaldecoder(encoding)
    except UnicodeError:  # "a" is not a whole character of some
        return
    except (LookupError, ValueError) as error:
        raise DataError(
            f"encoding is {encoding!r}, which is not an encoding of text that Python "
            f"knows; expected one such as utf-8, latin-1, cp1252 or utf-16"
        ) from error


def _name(encoding):
    """An encoding by the one name that Python has for it."""
    return codecs.lookup(encoding).name


def _temporary():
    """A file that has no name, and goes when nobody uses it any more."""
    return tempfile.TemporaryFile()


def decoded(chunks: Iterator[bytes], called: str, encoding: str) -> Iterator[str]:
    """The text of chunks of bytes, with ``\\n`` for ``\\r\\n`` and no mark in front.

    Raises:
        DataError: it is binary, not in this encoding, empty or a single character.
    """
    first, count, held, shown = True, 0, "", ""
    for piece in _characters(chunks, called, encoding):
        if first and piece:
            piece, first = piece.removeprefix("\ufeff"), False
        piece = held + piece
        # The ``\n`` may come with the next piece.
        held = "\r" if piece.endswith("\r") else ""
        piece = piece.removesuffix(held).replace("\r\n", "\n")
        count, shown = count + len(piece), shown or piece[:1]
        yield piece
    yield held
    count, shown = count + len(held), shown or held
    if count < 2:
        has = f"has a single character, {shown!r}" if count else "is empty"
        raise DataError(f"{called} {has}, expected text; name another file.")


def _characters(chunks, called, encoding):
    plain = encoding == UTF_8
    decoder = codecs.getincrementaldecoder(encoding)()
    before = 0
    for chunk in _and_end(chunks):
        waiting = len(decoder.getstate()[0])
        if plain and b"\0" in chunk:
            raise _binary(called, f"byte {before + chunk.index(0)}")
        try:
            piece = decoder.decode(chunk, final=not chunk)
            piece.encode()  # Some encodings have halves of characters.
        except UnicodeDecodeError as error:
            at = before - waiting + error.start
            name = "UTF-8" if plain else encoding
            raise DataError(
                f"{called} is not {name} text (byte {at}); set data.encoding to what "
                f"it is written in, or convert it first."
            ) from error
        except UnicodeError as error:
            raise DataError(f"{called} is not {encoding} text: {error}.") from error
        if "\0" in piece:
            raise _binary(called, "a character")
        before += len(chunk)
        yield piece


def _and_end(chunks):
    yield from chunks
    yield b""


def _binary(called, what):
    return DataError(f"{called} looks binary ({what} is NUL), expected UTF-8 text.")
