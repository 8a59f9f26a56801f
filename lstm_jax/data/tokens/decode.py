"""Tokens to text while they come."""

from collections.abc import Iterable, Iterator

import numpy as np

from lstm_jax.data.tokens.tokenizer import Tokenizer

UNFINISHED = "\ufffd"
"""What stands for a character of which bytes are missing."""


def decode_stream(tokenizer: Tokenizer, parts: Iterable[np.ndarray]) -> Iterator[str]:
    """The text of all parts together, a piece for each, as far as it is known.

    A character that is cut between two parts comes with the second. Only the last parts
    are decoded again, so a long text costs no more than its length.

    >>> from lstm_jax.data.tokens import decode_stream, learn
    >>> parts = [[0xE2, 0x82], [0xAC], [0x21]]
    >>> [*decode_stream(learn("bytes", "any"), map(np.array, parts))]
    ['', '\u20ac', '!']
    """
    before, pending = "", np.zeros(0, np.int32)
    for part in parts:
        pending = np.concatenate([pending, part]).astype(np.int32)
        text = tokenizer.decode(pending)
        if text.endswith(UNFINISHED):
            yield ""
            continue
        yield text[len(before) :]
        # What follows is joined to the last part, with a space between words, say.
        pending = pending[-len(part) :] if len(part) else pending
        before = tokenizer.decode(pending)
    rest = tokenizer.decode(pending)
    if rest.endswith(UNFINISHED):
        yield rest[len(before) :]
