"""Texts and sentences as tokens of a vocabulary."""

import dataclasses

import numpy as np

from lstm_jax.data.labelled.examples import Examples
from lstm_jax.data.text import DataError, counted
from lstm_jax.data.tokens import Tokenizer


def text_of(examples: Examples) -> str:
    """All texts, a line each, for `lstm_jax.data.tokens.learn`.

    >>> text_of(Examples(("a b", ("c", "d")), None, ("", "")))
    'a b\\nc d\\n'
    """
    return "".join(f"{_text(sequence)}\n" for sequence in examples.sequences)


def encode(examples: Examples, tokenizer: Tokenizer) -> Examples:
    """The examples with tokens, int32 ``[T_i]``, in the place of texts.

    Raises:
        DataError: a text has what the vocabulary has not, becomes no token at all, or a
            tagged sentence becomes more or fewer tokens than it has tags; the message
            names its line.

    >>> from lstm_jax.data.tokens import learn
    >>> examples = Examples(("to be", "or not"), ("x", "y"), ("line 1", "line 2"))
    >>> encode(examples, learn("bytes", "any")).sequences[0]
    array([116, 111,  32,  98, 101], dtype=int32)
    """
    pairs = zip(examples.sequences, examples.sources, strict=True)
    sequences = tuple(_encoded(tokenizer, *pair) for pair in pairs)
    return dataclasses.replace(examples, sequences=sequences)


def _encoded(tokenizer, sequence, source):
    try:
        tokens = tokenizer.encode(_text(sequence)).astype(np.int32)
    except DataError as error:
        raise DataError(f"{source}: {error}") from error
    if isinstance(sequence, tuple) and len(tokens) != len(sequence):
        raise DataError(
            f"{source}: {counted(len(sequence), 'token')} became {len(tokens)} by "
            f"{tokenizer.name}, but each has one tag; take words."
        )
    if not len(tokens):
        raise DataError(
            f"{source}: the text has no token of {tokenizer.name}; remove it."
        )
    return tokens


def _text(sequence):
    return " ".join(sequence) if isinstance(sequence, tuple) else sequence
