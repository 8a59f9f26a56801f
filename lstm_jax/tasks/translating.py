"""Sentences to translations: beam search, batch by batch, in the order of the input."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Float, PyTree
from lstm_jax.core.arguments import check_size
from lstm_jax.data.parallel import SentenceTokens
from lstm_jax.inference import beam_search_batch, coverage_penalty
from lstm_jax.inference.beam_search import Beams
from lstm_jax.models.translation import Memory, Translator
from lstm_jax.tasks.translation_batches import SourceBatch, source_batches

BATCH_TOKENS = 2048
"""Source tokens that are searched for at a time, with up to `BEAMS` beams; results do
not depend on it."""
BEAMS = 5
"""With more beams than these there are fewer sentences at a time, for the memory."""
MOST_BEAMS = 1000
BUCKETS = 6
"""Shapes of batches at the most: each is compiled once."""


@dataclasses.dataclass(frozen=True)
class BeamOptions:
    """How translations are searched for; see `lstm_jax.inference.beam_search_batch`.

    Raises:
        ValueError: a number is out of its range.
    """

    beams: int = BEAMS
    """Translations that the search follows; 1 takes the most likely token at every
    step."""
    alpha: float = 1.0
    """Strength of the length normalisation: 0 favours short translations."""
    coverage_penalty: float = 0.0
    """Weight of a penalty for source tokens that were not attended to."""
    no_repeat: int = 0
    """No so many tokens in a row come twice in a translation; 0 allows it."""
    min_length: int = 0
    """The fewest tokens of a translation."""
    max_ratio: float = 2.0
    """A translation has at most this many times the tokens of its sentence, and 10
    more."""
    results: int = 1
    """Translations of a sentence that are returned, the best."""

    def __post_init__(self):
        check_size("beams", self.beams, most=MOST_BEAMS)
        check_size("results", self.results, most=self.beams)
        for name in ("no_repeat", "min_length"):
            check_size(name, getattr(self, name), least=0)
        for name in ("alpha", "coverage_penalty", "max_ratio"):
            value = getattr(self, name)
            if not 0 <= value <= 100:
                raise ValueError(f"{name} is {value!r}, expected 0 to 100.")


class Translation(NamedTuple):
    """A translation of a sentence."""

    text: str
    score: float
    """Log-probability in nats, divided by ((5 + tokens) / 6) ** alpha, and less the
    coverage penalty; 0 for an empty sentence, and -inf for a sentence that the options
    leave no translation."""


class _Carry(NamedTuple):
    decoders: tuple[PyTree, ...]
    """One for each model of an ensemble."""
    attended: Float[Array, "R S"] | tuple[()]
    """The sum of the attention to each position, where the coverage penalty reads it.
    """


class Translating:
    """Translates with one model, or with several as an ensemble.

    An ensemble takes the mean of the probabilities of its models at every step.

    Args:
        model: parameters to the model, in evaluation.
        source: sentences to tokens.
        target: tokens to translations.
    """

    def __init__(
        self,
        model: Callable[[PyTree], Translator],
        source: SentenceTokens,
        target: SentenceTokens,
    ):
        self._model, self._source, self._target = model, source, target

    def translate(
        self,
        params: Sequence[PyTree],
        sentences: Sequence[str],
        options: BeamOptions,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[list[Translation]]:
        """The best translations of every sentence, in order.

        Args:
            params: the parameters of each model of the ensemble.
            sentences: one line each. An empty one has an empty translation.
            options: how to search.
            batch_tokens: source tokens at a time.

        Raises:
            DataError: a sentence cannot be encoded.
        """
        found = [[Translation("", 0.0)] for _ in sentences]
        there = [n for n, sentence in enumerate(sentences) if sentence.strip()]
        tokens = self._source.encode_all([sentences[n] for n in there])
        batch_tokens = batch_tokens * BEAMS // max(options.beams, BEAMS)
        for members, batch in source_batches(tokens, batch_tokens, BUCKETS):
            beams = self._search(tuple(params), batch, options)
            for row, member in enumerate(members):
                if member >= 0:
                    found[there[member]] = self._decode(beams, row)
        return found

    def _decode(self, beams, row):
        found = [
            Translation(self._target.decode(tokens), float(score))
            for tokens, score in zip(beams.tokens[row], beams.scores[row], strict=True)
            if np.isfinite(score)
        ]
        # Without any the sentence still keeps its line.
        return found or [Translation("", float(beams.scores[row, 0]))]

    def _search(
        self, params: tuple[PyTree, ...], batch: SourceBatch, options: BeamOptions
    ) -> Beams:
        covers = options.coverage_penalty > 0
        memories, carry, logits = self._start(params, *batch, covers)
        lengths = np.asarray(batch.source_lengths)
        longest = int(options.max_ratio * len(batch.source)) + 10
        most = (options.max_ratio * lengths).astype(np.int64) + 10
        penalty = None
        if covers:
            weight = jnp.asarray(options.coverage_penalty, jnp.float32)
            penalty = jax.tree_util.Partial(_penalty, weight)
        found = beam_search_batch(
            jax.tree_util.Partial(self._step, params, memories),
            carry,
            logits,
            options.beams,
            longest,
            end=self._target.end,
            alpha=options.alpha,
            penalty=penalty,
            min_lengths=options.min_length + 1 if options.min_length else 0,
            max_lengths=np.where(lengths > 0, most, 0),
            no_repeat=options.no_repeat,
            results=options.results,
        )
        return jax.tree.map(np.asarray, found)

    @functools.cached_property
    def _start(self) -> Any:
        """Memory, state and logits of the first token."""

        @functools.partial(jax.jit, static_argnums=3)
        def start(params, source, lengths, covers):
            begin = jnp.full(source.shape[1:], self._target.begin, jnp.int32)
            models = [self._model(of) for of in params]
            read = [model.encode(source, lengths) for model in models]
            memories = tuple(memory for memory, _ in read)
            attended = ()
            if covers:  # padding counts as covered
                attended = (memories[0].bias < 0).astype(jnp.float32)
            carry = _Carry(tuple(carry for _, carry in read), attended)
            carry, logits = self._step(params, memories, carry, begin)
            return memories, carry, logits

        return start

    def _step(self, params, memories: tuple[Memory, ...], carry: _Carry, tokens):
        """One token further: the carry, and the logits of the next token."""
        decoders, said, attended = [], [], []
        for of, memory, state in zip(params, memories, carry.decoders, strict=True):
            state, logits, weights = self._model(of).step(memory, state, tokens)
            # The begin token ends no sentence, and stands in none.
            logits = logits.at[:, self._target.begin].set(-jnp.inf)
            decoders.append(state)
            said.append(logits)
            attended.append(weights.mean(axis=1))
        if len(said) > 1:
            each = jnp.stack([jax.nn.log_softmax(logits) for logits in said])
            mean = jax.nn.logsumexp(each, axis=0) - np.log(len(said)).astype("float32")
        else:
            (mean,) = said
        covered = carry.attended
        if not isinstance(covered, tuple):
            covered = covered + sum(attended) / len(attended)
        return _Carry(tuple(decoders), covered), mean


def _penalty(weight, carry):
    return weight * coverage_penalty(carry.attended)
