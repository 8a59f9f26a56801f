"""A yardstick for models of text: what ``xz`` makes of it."""

DICTIONARY = 64 * 2**20
"""How many bytes back ``xz -9`` looks."""

PIECE = 2**18
"""Bytes for xz at a time. Ctrl-C is heard between two pieces."""


def xz_bits(rest: str, text: str) -> float:
    """Bits per character that ``xz -9`` spends on ``text``, having seen ``rest``: the
    size of both together less that of ``rest`` alone.

    Of ``rest`` it sees the last 64 MiB: it would not look back further.

    >>> xz_bits("To be, or not to be. " * 9, "To be, or not to be. " * 99) < 0.1
    True

    Raises:
        ModuleNotFoundError: this Python was built without xz.
    """
    import lzma  # here, since some Pythons have no _lzma, and need it for nothing else

    def size(*texts):
        xz, written = lzma.LZMACompressor(preset=9), 0
        for data in texts:
            for at in range(0, len(data), PIECE):
                written += len(xz.compress(data[at : at + PIECE]))
        return written + len(xz.flush())

    # A character is at least a byte, so as many characters hold the bytes.
    seen = rest[-DICTIONARY:].encode()[-DICTIONARY:]
    return 8 * (size(seen, text.encode()) - size(seen)) / len(text)
