"""Texts: read from files, and cut into parts."""

import gzip
import zlib
from pathlib import Path

import numpy as np

GZIP = b"\x1f\x8b"
"""What a file that gzip made begins with."""


class DataError(ValueError):
    """Data that cannot be used; the message is meant for the person who owns it."""


def read_text(path: str | Path, called: str = "") -> str:
    """The text of a UTF-8 file, or of one compressed by gzip whatever its name.

    Line ends become ``\\n``, and the mark that some programs put first is left out.

    Args:
        called: what errors call the file; ``data.path=PATH`` if empty.

    Raises:
        DataError: the file is missing, unreadable, damaged, binary, not UTF-8, empty,
            or a single character.
    """
    called = called or f"data.path={path}"
    data = read_bytes(path, called)
    if b"\0" in data:
        raise DataError(
            f"{called} looks binary (byte {data.index(0)} is NUL), expected UTF-8 text."
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{called} is not UTF-8 text (byte {error.start}); convert it first."
        ) from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if len(text) < 2:
        has = f"has a single character, {text!r}" if text else "is empty"
        raise DataError(f"{called} {has}, expected a text to learn from.")
    return text


def read_bytes(path: str | Path, called: str) -> bytes:
    """The bytes of a file, or of one compressed by gzip whatever its name.

    Raises:
        DataError: the file is missing, unreadable or damaged.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{called} cannot be read: {reason}.") from error
    if data.startswith(GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{called} is a damaged gzip file ({error}); fetch it again."
            ) from error
    return data


def python_reference() -> str:
    """The Python language reference that ships inside CPython: English, about 465,000
    characters in 3.11, more in newer versions.

    Raises:
        DataError: this Python comes without it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            "this Python comes without its language reference (pydoc_data.topics); "
            "set data.path to a UTF-8 text file of your own."
        ) from error
    return "".join(topics[name] for name in sorted(topics))


def split(text: str, shares: tuple[float, ...]) -> list[str]:
    """Consecutive parts of ``text``, by share of its length, with nothing left over.

    >>> split("abcdefghij", (0.7, 0.2, 0.1))
    ['abcdefg', 'hi', 'j']
    """
    ends = np.cumsum(shares)
    ends = np.rint(ends / ends[-1] * len(text)).astype(int)
    return [text[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
