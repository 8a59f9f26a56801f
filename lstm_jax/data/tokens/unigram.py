"""A token is a run of bytes, and a text is its most probable tokens."""

import dataclasses
import json
from collections.abc import Iterable
from typing import ClassVar, Self

from lstm_jax.data.tokens.sub_words import (
    SubWords,
    by_bytes,
    check_limit,
    cut,
    library,
)
from lstm_jax.data.tokens.tokenizer import refuse_min_count

PENALTY = 1e-4
"""By so much the library raises the score of one byte that it adds after the other."""

DIGITS = 6
"""Decimals of a score that are kept."""


@dataclasses.dataclass(frozen=True)
class Unigram(SubWords):
    """The unigram language model of Kudo (2018), by the library ``tokenizers``: each
    token has a probability, and a word becomes the tokens whose product is largest.
    Learning begins with all frequent runs of bytes and drops those that the text needs
    least, until ``limit`` (0: 4096) are left. The 256 bytes stay, so every text can be
    encoded and is restored to the byte; there is no unknown token.

    >>> tokenizer = Unigram.learn("low lower lowest slow slower " * 9, limit=300)
    >>> tokenizer.decode(tokenizer.encode("  lowest né"))
    '  lowest né'
    """

    name: ClassVar[str] = "unigram"

    @classmethod
    def learn_pieces(
        cls, pieces: Iterable[str], *, limit: int = 0, min_count: int = 1
    ) -> Self:
        limit = check_limit(cls.name, limit)
        refuse_min_count(cls.name, min_count)
        package = library(cls.name)
        learned = by_bytes(package, package.models.Unigram())
        trainer = package.trainers.UnigramTrainer(
            vocab_size=limit,
            initial_alphabet=learned.pre_tokenizer.alphabet(),
            show_progress=False,
        )
        learned.train_from_iterator(cut(pieces), trainer)
        scores = _reproducible(json.loads(learned.to_str())["model"]["vocab"])
        # With a limit of the 256 bytes alone the library forgets the limit.
        bytes_, runs = (
            [pair for pair in scores if (len(pair[0]) == 1) == single]
            for single in (True, False)
        )
        scores = _ranked(bytes_ + runs[: limit - len(bytes_)])
        return cls(by_bytes(package, package.models.Unigram(scores)).to_str())


def _reproducible(scores: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Tokens and scores without what differs from one run of the library to the next.

    The library adds up in any order, which changes the last digits of a score, and it
    numbers the bytes that are no token on their own in any order.
    """
    least = min(score for _, score in scores)
    added = least + PENALTY * (len(scores) + 1)

    def score_of(token: str, score: float) -> float:
        return round(least if len(token) == 1 and score < added else score, DIGITS)

    return _ranked([(token, score_of(token, score)) for token, score in scores])


def _ranked(scores: list[tuple[str, float]]) -> list[tuple[str, float]]:
    return sorted(scores, key=lambda pair: (-pair[1], pair[0]))
