"""The bytes of data files, and where a text is cut into parts."""

import gzip
import importlib
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lstm_jax.files import open_regular

GZIP = b"\x1f\x8b"
"""What a file that gzip made begins with."""

ZSTD = b"\x28\xb5\x2f\xfd"
"""What a file that zstd made begins with."""

CHUNK = 2**20
"""Bytes that are read at a time."""

FILE_BYTES = 2**32
"""A file that is read into memory as a whole has so many bytes at the most: 4 GiB."""

GZIP_BYTES, GZIP_RATIO = 2**28, 100
"""A compressed file may unpack to 256 MiB, or to 100 times its size if that is more.
Texts and tables shrink to a third or a tenth."""


class DataError(ValueError):
    """Data that cannot be used; the message is meant for the person who owns it."""


def read_bytes(path: str | Path, called: str) -> bytes:
    """The bytes of a file, unpacked if gzip or zstd compressed it, whatever its name.

    Raises:
        DataError: the file is missing, unreadable or corrupt, is not a regular file, or
            has more than `FILE_BYTES` bytes.
    """
    with open_data(path, called) as file:
        data = bytearray()
        _check_size(os.fstat(file.fileno()).st_size, called)
        for chunk in unpacked(file, called):
            data += chunk
            _check_size(len(data), called)
    return bytes(data)


def _check_size(size, called):
    if size > FILE_BYTES:
        raise DataError(
            f"{called} has more than {FILE_BYTES:,} bytes, the most that is read into "
            f"memory; cut it into smaller files."
        )


def open_data(path: str | Path, called: str) -> BinaryIO:
    """A data file, opened to read.

    Raises:
        DataError: it is missing or unreadable, or a folder, a pipe or a device.
    """
    try:
        return open_regular(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{called} cannot be read: {reason}.") from error


def is_packed(file: BinaryIO) -> bool:
    """Whether gzip or zstd has compressed an open file."""
    return _packing(file) is not None


def unpacked(file: BinaryIO, called: str) -> Iterator[bytes]:
    """The bytes of an open file in chunks of at most `CHUNK`, unpacked if gzip or zstd
    has compressed them. The file may be closed afterwards.

    Raises:
        DataError: the file cannot be read, is corrupt, or unpacks to more than
            `GZIP_BYTES` and `GZIP_RATIO` times its size; or zstd compressed it and the
            package pyarrow is not installed.
    """
    packing = _packing(file)
    size = os.fstat(file.fileno()).st_size
    most, count = max(GZIP_BYTES, GZIP_RATIO * size), 0
    source: Any = file
    if packing == "gzip":
        source = gzip.GzipFile(fileobj=file)
    elif packing == "zstd":
        # The package zstandard reads half of a truncated file without an error.
        arrow = need_pyarrow("pyarrow", called)
        raw = arrow.PythonFile(file, mode="r")
        source = arrow.CompressedInputStream(raw, "zstd")
    try:
        while chunk := source.read(CHUNK):
            count += len(chunk)
            if packing and count > most:
                raise DataError(
                    f"{called} has {size:,} bytes of {packing} that unpack to more "
                    f"than {most:,}; unpack it first if that is right."
                )
            yield chunk
    except (EOFError, zlib.error, OSError) as error:
        if packing:
            raise DataError(
                f"{called} is a corrupt {packing} file ({error}); fetch it again."
            ) from error
        raise DataError(f"{called} cannot be read: {error}.") from error


def _packing(file):
    """What has compressed an open file, if anything."""
    file.seek(0)
    start = file.read(len(ZSTD))
    file.seek(0)
    if start.startswith(GZIP):
        return "gzip"
    return "zstd" if start == ZSTD else None


def need_pyarrow(module: str, called: str) -> Any:
    """A module of the package pyarrow, an extra.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{called} needs the package pyarrow: pip install 'lstm-jax[data]'."
        ) from error


def counted(count: int, what: str) -> str:
    """A number and what is counted.

    >>> counted(1, "token"), counted(2000, "token")
    ('1 token', '2,000 tokens')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


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


def ends(length: int, shares: Sequence[float]) -> list[int]:
    """Cuts ``length`` into consecutive splits by fraction; returns where each ends.

    >>> ends(10, (0.7, 0.2, 0.1))
    [7, 9, 10]
    """
    total = np.cumsum(shares)
    return np.rint(total / total[-1] * length).astype(int).tolist()
