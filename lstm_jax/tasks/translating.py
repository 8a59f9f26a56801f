"""Sentences to translations, searched for or drawn, batch by batch and in order."""

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
from lstm_jax.data.text import DataError
from lstm_jax.data.tokens import Words
from lstm_jax.inference import (
    Sampling,
    beam_search_batch,
    coverage_penalty,
    sample_batch,
)
from lstm_jax.inference.beam_search import Beams
from lstm_jax.models.translation import Memory, Translator
from lstm_jax.tasks.translation_batches import STEPS, SourceBatch, source_batches

BATCH_TOKENS = 2048
"""Source tokens that are searched for at a time, with up to `BEAMS` beams; results do
not depend on it."""
BEAMS = 5
"""With more beams than these there are fewer sentences at a time, for the memory."""
MOST_BEAMS = 1000
BUCKETS = 6
"""Shapes of batches at the most. Each is compiled once, and again for beginnings of
another length."""


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
    """No n-gram of this many tokens appears twice in a translation; 0: no limit."""
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


@dataclasses.dataclass(frozen=True)
class SampleOptions:
    """How translations are drawn; see `lstm_jax.inference.sample_batch`.

    Raises:
        ValueError: a number is out of its range.
    """

    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    """Which tokens may be drawn, and how likely each is."""
    seed: int = 0
    """Each sentence has its own random numbers, made from `seed` and its place."""
    first: int = 0
    """The place of the first sentence."""
    min_length: int = 0
    """The fewest tokens of a translation."""
    max_ratio: float = 2.0
    """As in `BeamOptions`."""
    results: int = 1
    """Translations that are drawn for a sentence."""

    def __post_init__(self):
        if not isinstance(self.sampling, Sampling):
            raise TypeError(
                f"sampling is {self.sampling!r}, expected lstm_jax.inference.Sampling, "
                f"such as Sampling(temperature=0.7)."
            )
        check_size("results", self.results, most=MOST_BEAMS)
        check_size("seed", self.seed, least=0, most=2**31 - 1)
        check_size("first", self.first, least=0)
        check_size("min_length", self.min_length, least=0)
        if not 0 <= self.max_ratio <= 100:
            raise ValueError(f"max_ratio is {self.max_ratio!r}, expected 0 to 100.")


class Translation(NamedTuple):
    """A translation of a sentence."""

    text: str
    score: float
    """Log-probability in nats, divided by ((5 + tokens) / 6) ** alpha, and less the
    coverage penalty; 0 for an empty sentence, and -inf for a sentence that the options
    leave no translation. Of a translation that is drawn, the log-probability."""


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
        options: BeamOptions | SampleOptions,
        prefixes: Sequence[str] | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[list[Translation]]:
        """The best translations of every sentence, or drawn ones, in order.

        Args:
            params: the parameters of each model of the ensemble.
            sentences: one line each. An empty one has an empty translation.
            options: how to search, or how to draw.
            prefixes: what the translation of each sentence begins with.
            batch_tokens: source tokens at a time.

        Raises:
            TypeError: ``options`` are of another type.
            DataError: a sentence cannot be encoded, a prefix has a word that the
                vocabulary does not have, or there are not as many prefixes as
                sentences.
        """
        if not isinstance(options, BeamOptions | SampleOptions):
            raise TypeError(
                f"options is {options!r}, expected BeamOptions or SampleOptions of "
                f"lstm_jax.tasks.translating."
            )
        if prefixes is not None:
            self._check_prefixes(prefixes, len(sentences))
        draws = isinstance(options, SampleOptions)
        beams = 1 if draws else options.beams
        there = [n for n, sentence in enumerate(sentences) if sentence.strip()]
        # A drawn translation is a row of its own.
        rows = [(n, k) for n in there for k in range(options.results if draws else 1)]
        encoded = self._source.encode_all(sentences)
        tokens = [encoded[n] for n, _ in rows]
        starts = None
        if prefixes is not None:
            encoded = self._target.encode_all(prefixes)
            starts = [encoded[n] for n, _ in rows]
        found = {n: [] for n in there}
        batch_tokens = batch_tokens * BEAMS // max(beams, BEAMS)
        for members, batch in source_batches(tokens, batch_tokens, BUCKETS):
            limits = _limits(options, batch, members, starts)
            if draws:
                places = [rows[member] if member >= 0 else (0, 0) for member in members]
                made = self._draw(tuple(params), batch, options, limits, places)
            else:
                made = self._search(tuple(params), batch, options, limits)
            for row, member in enumerate(members):
                if member >= 0:
                    found[rows[member][0]] += self._decode(made, row)
        return [found.get(n, [Translation("", 0.0)]) for n in range(len(sentences))]

    def _check_prefixes(self, prefixes, count):
        if len(prefixes) != count:
            raise DataError(
                f"{count:,} sentences and {len(prefixes):,} prefixes, expected one for "
                f"each sentence; an empty one begins with nothing."
            )
        tokenizer = self._target.tokenizer
        if not isinstance(tokenizer, Words):
            return
        for number, prefix in enumerate(prefixes, start=1):
            if unknown := tokenizer.unknown(prefix):
                raise DataError(
                    f"prefix {number:,} has the word {unknown[0]!r}, which the "
                    f"vocabulary does not have; write another word or none."
                )

    def _decode(self, beams, row):
        found = [
            Translation(self._target.decode(tokens), float(score))
            for tokens, score in zip(beams.tokens[row], beams.scores[row], strict=True)
            if np.isfinite(score)
        ]
        # Without any the sentence still keeps its line.
        return found or [Translation("", float(beams.scores[row, 0]))]

    def _draw(self, params, batch, options, limits, places) -> Beams:
        """One translation a row, for the (sentence, sample) in its place."""
        memories, carry, logits = self._start(params, *batch, False)
        places = np.array([(options.first + n, k) for n, k in places], np.int32)
        keys = _keys(jax.random.key(options.seed), places)
        found = sample_batch(
            jax.tree_util.Partial(self._step, params, memories),
            carry,
            logits,
            keys,
            sampling=options.sampling,
            end=self._target.end,
            **limits,
        )
        return Beams(*jax.tree.map(lambda a: np.asarray(a)[:, None], found))

    def _search(
        self,
        params: tuple[PyTree, ...],
        batch: SourceBatch,
        options: BeamOptions,
        limits: dict[str, Any],
    ) -> Beams:
        covers = options.coverage_penalty > 0
        memories, carry, logits = self._start(params, *batch, covers)
        penalty = None
        if covers:
            weight = jnp.asarray(options.coverage_penalty, jnp.float32)
            penalty = jax.tree_util.Partial(_penalty, weight)
        found = beam_search_batch(
            jax.tree_util.Partial(self._step, params, memories),
            carry,
            logits,
            options.beams,
            end=self._target.end,
            alpha=options.alpha,
            penalty=penalty,
            no_repeat=options.no_repeat,
            results=options.results,
            **limits,
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


def _limits(options, batch, members, starts) -> dict[str, Any]:
    """Lengths and beginnings of the translations of a batch."""
    lengths = np.asarray(batch.source_lengths)
    longest = int(options.max_ratio * len(batch.source)) + 10
    most = (options.max_ratio * lengths).astype(np.int64) + 10
    limits = {
        "length": longest,
        "min_lengths": options.min_length + 1 if options.min_length else 0,
        "max_lengths": np.where(lengths > 0, most, 0),
    }
    if starts is None:
        return limits
    # Without the end that every encoded sentence has.
    given = [starts[m][:-1] if m >= 0 else [] for m in members]
    counts = np.array([len(tokens) for tokens in given], np.int32)
    columns = -(-int(counts.max()) // STEPS) * STEPS
    prefix = np.zeros((len(given), columns), np.int32)
    for row, tokens in zip(prefix, given, strict=True):
        row[: len(tokens)] = tokens
    # A long beginning still has room for its end.
    most = np.where(lengths > 0, np.maximum(most, counts + 10), 0)
    return limits | {
        "length": max(longest, columns + 10),
        "max_lengths": most,
        "prefix": prefix,
        "prefix_lengths": counts,
    }


@jax.jit
def _keys(key, places):
    """A key for every (sentence, sample)."""
    of_place = lambda n, k: jax.random.fold_in(jax.random.fold_in(key, n), k)
    return jax.vmap(of_place)(places[:, 0], places[:, 1])


def _penalty(weight, carry):
    return weight * coverage_penalty(carry.attended)
