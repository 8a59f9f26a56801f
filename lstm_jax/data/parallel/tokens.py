"""A sentence as tokens with an end, and a tokenizer for each side of pairs."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lstm_jax.data.parallel.pairs import Pairs
from lstm_jax.data.text import DataError
from lstm_jax.data.tokens import SubWords, Tokenizer, learn
from lstm_jax.data.tokens.tokenizer import check_tokens

KINDS = ("bpe", "unigram", "words", "bytes")
"""Tokenizers that take every sentence. `characters` is not one of them: a sentence to
translate may have characters that training has not seen, and `bytes` takes them all."""


@dataclasses.dataclass(frozen=True)
class SentenceTokens:
    """Sentences to tokens and back, with two more tokens than the tokenizer has.

        0 ... V-1    those of the tokenizer
        V            `begin`, which the decoder reads first
        V+1          `end`, after the last token of every sentence

    Padding has no token of its own: a sentence comes with its length. For ``bpe`` and
    ``unigram`` a space stands in front of a sentence while it is encoded, so that the
    first word has the tokens that it has elsewhere.

    >>> tokens = SentenceTokens(learn("words", "to be or not to be"))
    >>> tokens.size, tokens.begin, tokens.end
    (8, 6, 7)
    >>> tokens.encode("not to be")
    array([2, 1, 0, 7], dtype=int32)
    >>> tokens.decode([6, 2, 1, 0, 7])
    'not to be'
    """

    tokenizer: Tokenizer

    @property
    def begin(self) -> int:
        """The token that the decoder reads first."""
        return len(self.tokenizer)

    @property
    def end(self) -> int:
        """The token after the last one of a sentence."""
        return len(self.tokenizer) + 1

    @property
    def size(self) -> int:
        """How many tokens there are, with `begin` and `end`."""
        return len(self.tokenizer) + 2

    def encode(self, sentence: str) -> np.ndarray:
        """Tokens and `end`, int32 ``[T]``; of an empty sentence `end` alone. A sentence
        is one line: a line end counts as a space.

        Raises:
            DataError: the sentence has half of a character.
        """
        return self.encode_all([sentence])[0]

    def encode_all(self, sentences: Sequence[str]) -> list[np.ndarray]:
        """Many sentences at once, which is faster; see `encode`."""
        texts = [_text(self.tokenizer, sentence) for sentence in sentences]
        end = np.array([self.end], np.int32)
        return [np.append(x, end) for x in self.tokenizer.encode_all(texts)]

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The sentence of tokens up to the first `end`, or up to the last token where
        there is no `end`. `begin` is left out, and a line end becomes a space.

        Raises:
            DataError: one of them is not a token.
        """
        array = check_tokens(tokens, self.size)
        ends = np.flatnonzero(array == self.end)
        array = array[: ends[0]] if len(ends) else array
        text = self.tokenizer.decode(array[array != self.begin])
        if isinstance(self.tokenizer, SubWords):
            text = text.removeprefix(" ")
        return text.replace("\n", " ")


def learn_pair(
    kind: str, pairs: Pairs, *, shared: bool = False, limit: int = 0, min_count: int = 1
) -> tuple[Tokenizer, Tokenizer]:
    """The tokenizers of the sources and of the targets.

    Args:
        kind: one of `KINDS`.
        pairs: those to train on.
        shared: one vocabulary for both sides, learned from both; otherwise each side
            has its own.
        limit: how many tokens a vocabulary may have; see `lstm_jax.data.tokens.learn`.
        min_count: how often a word, or a pair of ``bpe``, must be there to be a token.

    Raises:
        DataError: ``kind`` is not one of `KINDS`, or as `lstm_jax.data.tokens.learn`.

    >>> pairs = Pairs(("das Haus",), ("the house",), "a.tsv", (1,))
    >>> source, target = learn_pair("words", pairs)
    >>> target.words
    ('house', 'the', '<eos>', '<unk>')
    >>> len(learn_pair("words", pairs, shared=True)[0])
    6
    """
    if kind not in KINDS:
        advice = " (bytes take every character)" if kind == "characters" else ""
        raise DataError(
            f"tokens={kind!r} cannot translate, expected one of {', '.join(KINDS)}"
            f"{advice}."
        )

    def learned(*sides):
        # A space in front of each, as when it is encoded, and no line end to learn.
        text = "".join(f" {sentence}" for side in sides for sentence in side)
        return learn(kind, text, limit=limit, min_count=min_count)

    if shared:
        return (both := learned(pairs.sources, pairs.targets)), both
    return learned(pairs.sources), learned(pairs.targets)


def _text(tokenizer, sentence):
    """What the tokenizer reads of a sentence."""
    spaced = sentence and isinstance(tokenizer, SubWords)
    return (" " if spaced else "") + sentence.replace("\n", " ")
