"""Text for the terminal: names from files cannot send it commands."""

import sys
import unicodedata
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
