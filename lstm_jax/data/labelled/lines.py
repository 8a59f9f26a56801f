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
    data = read_bytes(path, str(path))
    if data.startswith(UTF_16):
        raise DataError(f"{path} is UTF-16, expected UTF-8; save it as UTF-8.")
    if b"\0" in data:
        raise DataError(
            f"{_place(path, data, data.index(0))}: there is a NUL byte, expected UTF-8 "
            f"text; remove it, or pass another file."
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{_place(path, data, error.start)}: byte {data[error.start]:#04x} is not "
            f"UTF-8; convert the file to UTF-8."
        ) from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.strip():
        raise DataError(f"{path} is empty, expected data.")
    return text.removesuffix("\n").split("\n")


def _place(path, data, at):
    return f"{path}, line {data.count(10, 0, at) + 1}"
