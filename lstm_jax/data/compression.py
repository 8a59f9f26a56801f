"""A yardstick for models of text: what ``xz`` makes of it."""

import lzma

DICTIONARY = 64 * 2**20
"""How many bytes back ``xz -9`` looks."""


def xz_bits(rest: str, text: str) -> float:
    """Bits per character that ``xz -9`` spends on ``text``, having seen ``rest``: the
    size of both together less that of ``rest`` alone.

    Of ``rest`` it sees the last 64 MiB: it would not look back further.

    >>> xz_bits("To be, or not to be. " * 9, "To be, or not to be. " * 99) < 0.1
    True
    """
    size = lambda data: len(lzma.compress(data, preset=9))
    # A character is at least a byte, so as many characters hold the bytes.
    seen = rest[-DICTIONARY:].encode()[-DICTIONARY:]
    return 8 * (size(seen + text.encode()) - size(seen)) / len(text)
