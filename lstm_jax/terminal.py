"""Text for the terminal: names from files cannot send it commands."""

import contextlib
import errno
import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

_COMMANDS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's control and format characters, halves of characters, and line ends."""


def escape(text: Any, keep: str = "\n\t") -> str:
    r"""``text`` with escapes in place of characters that a terminal would obey.

    An escape sequence in the name of a file, a folder or a tensor can move the cursor,
    change the title, or hide what was printed.

    Args:
        text: any object, taken as a string.
        keep: characters that stay as they are.

    >>> escape("runs/\x1b[2Jmine")
    'runs/\\x1b[2Jmine'
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        c if c in keep or unicodedata.category(c) not in _COMMANDS else _escaped(c)
        for c in text
    )


def _escaped(character):
    return character.encode("unicode_escape").decode()


def say(*words: Any, sep: str = " ", end: str = "\n", error: bool = False) -> None:
    """Prints words, escaped; on standard error if ``error``."""
    stream = sys.stderr if error else sys.stdout
    print(*map(escape, words), sep=sep, end=end, file=stream)


def prepare_output() -> None:
    """Makes standard output and error take whatever is written to them.

    They escape what their encoding does not have: a terminal that says it is ASCII must
    not end a training by a "·". Where one of them was closed before the start, as by
    ``>&-``, its text goes nowhere. A standard input that was closed is empty.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


LOST_OUTPUT = {errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of an output that takes no more text: its reader has gone, its terminal is
closed, or its disk is full."""


def drop_output(stream: Any) -> None:
    """Sends the rest of a stream nowhere.

    The text in its buffer would meet the same error once more when Python ends.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class _Kept:
    """A stream that may take no more text: the text is lost then, and nothing else."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        with self._alive():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._alive():
            self._stream.flush()

    @contextlib.contextmanager
    def _alive(self):
        try:
            yield
        except OSError:
            drop_output(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def output_may_close() -> Iterator[None]:
    """Goes on where nothing can be written to the output any more."""
    out, error = _Kept(sys.stdout), _Kept(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            yield
        finally:
            out.flush()  # what fails now would fail at the end of the process
            error.flush()
