"""The lines of a text file; errors name the file and the line."""

from pathlib import Path

from lstm_jax.data.text import DataError, read_bytes

UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""What a file in UTF-16 begins with."""


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file, or of one compressed by gzip, without line ends.

    A line ends with ``\\n`` or ``\\r\\n``. A byte order mark in front is left out.

    Raises:
        DataError: the file is missing, unreadable, corrupt, empty, in UTF-16, not
            UTF-8, or has a NUL byte.
    """
    lines = split_lines(read_bytes(path, str(path)), str(path))
    if not any(line.strip() for line in lines):
        raise DataError(f"{path} is empty, expected data.")
    return lines


def split_lines(data: bytes, called: str, first: int = 1) -> list[str]:
    """The lines of bytes in UTF-8, as `read_lines`; of no bytes there are none.

    Args:
        data: the bytes.
        called: what errors call the file.
        first: the number of the first line.

    >>> split_lines("one\\r\\n\\ntwo\\u2028three\\n".encode(), "a.txt")
    ['one', '', 'two\\u2028three']

    Raises:
        DataError: they are UTF-16, not UTF-8, or have a NUL byte.
    """
    if data.startswith(UTF_16):
        raise DataError(f"{called} is UTF-16, expected UTF-8; save it as UTF-8.")
    if b"\0" in data:
        place = _place(called, data, data.index(0), first)
        raise DataError(
            f"{place}: there is a NUL byte, expected UTF-8 text; remove it, or pass "
            f"another file."
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = _place(called, data, error.start, first)
        raise DataError(
            f"{place}: byte {data[error.start]:#04x} is not UTF-8; convert the file to "
            f"UTF-8."
        ) from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    return text.removesuffix("\n").split("\n") if text else []


def _place(called, data, at, first):
    return f"{called}, line {data.count(10, 0, at) + first}"
