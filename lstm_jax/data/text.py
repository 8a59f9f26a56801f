"""Text as a stream of characters."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np


class DataError(ValueError):
    """Data that cannot be used; the message is meant for the person who owns it."""


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        DataError: the file is missing, unreadable, empty or not UTF-8.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise DataError(
            f"data.path={path} cannot be read: {error.strerror}."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"data.path={path} is not UTF-8 text (byte {error.start}); "
            f"convert it first."
        ) from error
    if not text:
        raise DataError(f"data.path={path} is empty.")
    return text.replace("\r\n", "\n")


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


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def split(text: str, shares: tuple[float, ...]) -> list[str]:
    """Consecutive parts of ``text``, by share of its length."""
    ends = np.rint(np.cumsum(shares) * len(text)).astype(int)
    return [text[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The characters of a text; a token is the index of one."""

    characters: str

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        """Every character of ``text``, in code point order.

        >>> Vocabulary.of("abca").characters
        'abc'
        """
        return cls("".join(sorted(set(text))))

    def __len__(self):
        return len(self.characters)

    def encode(self, text: str) -> np.ndarray:
        """Tokens of ``text``, int32.

        Raises:
            DataError: naming the characters that the vocabulary does not have.

        >>> Vocabulary("abc").encode("cab")
        array([2, 0, 1], dtype=int32)
        """
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        known = np.frombuffer(self.characters.encode("utf-32-le"), np.uint32)
        tokens = np.searchsorted(known, codes).astype(np.int32)
        found = known[np.minimum(tokens, len(known) - 1)] == codes
        if not found.all():
            unknown = "".join(sorted({chr(c) for c in codes[~found]}))
            raise DataError(
                f"the vocabulary of this model does not have {unknown!r}; "
                f"leave these characters out."
            )
        return tokens

    def decode(self, tokens: np.ndarray) -> str:
        """
        >>> Vocabulary("abc").decode(np.array([2, 0, 1]))
        'cab'
        """
        return "".join(self.characters[t] for t in tokens)
