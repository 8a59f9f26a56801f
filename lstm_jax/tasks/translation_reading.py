"""Translations that are there already: what they cost, and where they attended to."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import PyTree
from lstm_jax.data.parallel import EncodedPairs, Pairs, SentenceTokens
from lstm_jax.data.text import DataError
from lstm_jax.data.tokens import Words
from lstm_jax.data.tokens.words import UNKNOWN
from lstm_jax.models.translation import Translator
from lstm_jax.tasks.translation_batches import TranslationBatches

BATCH_TOKENS = 8192
"""Tokens of a side that are read at a time; results do not depend on it."""
BUCKETS = 6


class Alignment(NamedTuple):
    """A translation, token by token."""

    source: list[str]
    """The tokens of the sentence ``[S]``, its end included."""
    target: list[str]
    """The tokens of the translation ``[T]``, its end included."""
    attention: np.ndarray
    """The weight of every source position at every token ``[T, S]``; rows add up to 1.
    Of several heads the mean."""
    nats: np.ndarray
    """``-log p`` of every token of the translation ``[T]``, as in a search: the begin
    token has probability 0. The loss of training counts it."""


class PairReader:
    """Reads pairs of a sentence and its translation.

    Args:
        model: parameters to the model, in evaluation.
        source: sentences to tokens.
        target: translations to tokens.
    """

    def __init__(
        self,
        model: Callable[[PyTree], Translator],
        source: SentenceTokens,
        target: SentenceTokens,
    ):
        self._model, self._source, self._target = model, source, target

    def read(
        self, params: PyTree, sources: Sequence[str], targets: Sequence[str]
    ) -> list[Alignment]:
        """The alignment and the cost of every pair, in order.

        Raises:
            DataError: there are not as many translations as sentences, or one cannot be
                encoded.
        """
        if len(sources) != len(targets):
            raise DataError(
                f"{len(sources):,} sentences and {len(targets):,} translations, "
                f"expected one translation for each sentence."
            )
        if not len(sources):
            return []
        pairs = EncodedPairs(
            Pairs(sources, targets, "the pairs", range(1, len(sources) + 1)),
            self._source.encode_all(sources),
            self._target.encode_all(targets),
            self._target.begin,
        )
        found: list[Any] = [None] * len(sources)
        tokens = max(BATCH_TOKENS, int(pairs.lengths.max()))
        batches = TranslationBatches(pairs, tokens, BUCKETS)
        for members, batch in batches.in_order():
            nats, attention = jax.tree.map(np.asarray, self._read(params, batch))
            for row in np.flatnonzero(members >= 0):
                member = members[row]
                source, target = pairs.sources[member], pairs.targets[member]
                found[member] = Alignment(
                    _spelled(self._source, sources[member], source),
                    _spelled(self._target, targets[member], target),
                    attention[: len(target), row, : len(source)],
                    nats[: len(target), row],
                )
        return found

    @functools.cached_property
    def _read(self) -> Any:
        @jax.jit
        def read(params, batch):
            model = self._model(params)
            memory, carry = model.encode(batch.source, batch.source_lengths)

            def step(carry, tokens):
                said, heard = tokens
                carry, logits, weights = model.step(memory, carry, said)
                # As in a search: the begin token stands in no translation.
                logits = logits.at[:, self._target.begin].set(-jnp.inf)
                log_p = jax.nn.log_softmax(logits)
                picked = jnp.take_along_axis(log_p, heard[:, None], axis=1)
                return carry, (-picked[:, 0], weights.mean(axis=1))

            return jax.lax.scan(step, carry, (batch.inputs, batch.outputs))[1]

        return read


def with_copies(found: Alignment) -> str:
    """The translation, with the source word of the largest weight for every ``<unk>``.

    For tokens that are words. Luong, Sutskever, Le, Vinyals & Zaremba, "Addressing the
    Rare Word Problem in Neural Machine Translation", ACL 2015, with attention for their
    alignments.

    >>> weights = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.0, 1.0]])
    >>> said = Alignment(
    ...     ["Frau", "Kim", "</s>"], ["Ms", "<unk>", "</s>"], weights, np.zeros(3)
    ... )
    >>> with_copies(said)
    'Ms Kim'
    """
    best = found.attention[:, :-1].argmax(axis=1)
    words = zip(found.target[:-1], best[:-1], strict=True)
    return " ".join(found.source[s] if word == UNKNOWN else word for word, s in words)


def _spelled(tokens, sentence, sequence):
    """The text of every token. A space within a token shows where a word begins; a word
    that the vocabulary does not have is shown as it is written."""
    if isinstance(tokens.tokenizer, Words):
        words = sentence.split()
    else:
        words = [tokens.tokenizer.decode(np.array([token])) for token in sequence[:-1]]
    return [*words, "</s>"]
