"""Pairs as tokens."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lstm_jax.data.checks import check_count
from lstm_jax.data.labelled.texts import check_characters
from lstm_jax.data.parallel.pairs import LeftOut, Pairs
from lstm_jax.data.parallel.tokens import SentenceTokens
from lstm_jax.data.text import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedPairs:
    """The tokens of pairs, each with its end as `SentenceTokens.encode` makes them."""

    pairs: Pairs
    sources: Sequence[np.ndarray]
    """int32 ``[S_i]``."""
    targets: Sequence[np.ndarray]
    """int32 ``[T_i]``."""
    begin: int
    """What the decoder reads before a target."""

    def __len__(self):
        return len(self.sources)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of both sides, ends included, ``[N, 2]``."""
        both = zip(self.sources, self.targets, strict=True)
        return np.array([(len(s), len(t)) for s, t in both], np.int64).reshape(-1, 2)


def encode_pairs(
    pairs: Pairs, source: SentenceTokens, target: SentenceTokens
) -> EncodedPairs:
    """Both sides of every pair as tokens.

    Raises:
        DataError: a sentence has half of a character; the message names its line.

    >>> from lstm_jax.data.tokens import learn
    >>> pairs = Pairs(("ja",), ("yes",), "a.tsv", (1,))
    >>> tokens = SentenceTokens(learn("bytes", "any"))
    >>> encode_pairs(pairs, tokens, tokens).lengths
    array([[3, 4]])
    """
    for sentences in (pairs.sources, pairs.targets):
        for n, sentence in enumerate(sentences):
            check_characters(sentence, pairs.place(n))
    sources = tuple(source.encode_all(pairs.sources))
    targets = tuple(target.encode_all(pairs.targets))
    return EncodedPairs(pairs, sources, targets, target.begin)


def without_long(
    encoded: EncodedPairs, max_length: int
) -> tuple[EncodedPairs, LeftOut]:
    """The pairs to train on: those with at most ``max_length`` tokens on either side,
    ends included; and a note of the others.

    Raises:
        DataError: every pair is longer.

    >>> from lstm_jax.data.tokens import learn
    >>> pairs = Pairs(("ja", "jawohl"), ("yes", "yes"), "a.tsv", (1, 2))
    >>> tokens = SentenceTokens(learn("bytes", "any"))
    >>> kept, left_out = without_long(encode_pairs(pairs, tokens, tokens), 4)
    >>> kept.pairs.sources, left_out.count
    (('ja',), 1)
    """
    max_length = check_count("max_length", max_length)
    long = encoded.lengths.max(axis=1) > max_length
    if long.all():
        raise DataError(
            f"all {len(encoded):,} pairs have more than max_length={max_length} tokens "
            f"on one side; raise max_length, or cut the sentences."
        )
    why = f"one side has more than max_length={max_length} tokens"
    kept = np.flatnonzero(~long).tolist()
    pairs, left_out = encoded.pairs.split(~long, why)
    if not left_out:
        return encoded, left_out
    sources = tuple(encoded.sources[i] for i in kept)
    targets = tuple(encoded.targets[i] for i in kept)
    return EncodedPairs(pairs, sources, targets, encoded.begin), left_out
