"""The loop of beam search, over the sentences of a batch.

A step of the model computes all sequences of all sentences as rows, ``R = B * width``.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Bool, Float, Int, PyTree
from lstm_jax.inference.rules import Rules, without_repeats

Penalty = Callable[[PyTree], Float[Array, "R"]]
"""A term of the rank, 0 or less, of the state that each row of a carry holds."""


class Hypotheses(NamedTuple):
    """The sequences so far, ``W`` of each sentence, best first."""

    tokens: Int[Array, "B W length"]
    nats: Float[Array, "B W"]
    """The log-probability. ``-inf`` marks a place without a sequence."""
    ranks: Float[Array, "B W"]
    lengths: Int[Array, "B W"]
    ended: Bool[Array, "B W"]


class Search(NamedTuple):
    """What is searched for: all but the model."""

    rules: Rules
    end: Int[Array, ""] | np.int32
    alpha: Float[Array, ""] | float
    penalty: Penalty | None


@functools.partial(jax.jit, static_argnames=("width", "length", "results", "no_repeat"))
def run(step, search, carry, logits, *, width, length, results, no_repeat):
    """The hypotheses at the end, all ``width`` of them.

    The search of a sentence is over when its first ``results`` cannot change any more.
    """
    advance = functools.partial(_advance, search, width=width, no_repeat=no_repeat)

    def more(state):
        t, found, _ = state
        return (t < length) & ~_over(search, found, results).all()

    def go_on(state):
        t, found, carry = state
        last = found.tokens[:, :, t - 1].reshape(-1)
        carry, following = step(carry, last)
        found, carry = advance(found, carry, following.astype(logits.dtype), t)
        return t + 1, found, carry

    zero = jnp.int32(0)
    found = _nothing_said(search, len(logits), length, logits.dtype)
    found, carry = advance(found, carry, logits, zero)
    return jax.lax.while_loop(more, go_on, (zero + 1, found, carry))[1]


def _nothing_said(search, sentences, length, dtype):
    """One empty sequence of each sentence. It has ended if it may have no token."""
    one = (sentences, 1)
    fill = jnp.maximum(search.end, 0)
    return Hypotheses(
        jnp.broadcast_to(fill, (*one, length)),
        jnp.zeros(one, dtype),
        jnp.zeros(one, dtype),
        jnp.zeros(one, jnp.int32),
        search.rules.max_lengths[:, None] == 0,
    )


def _over(search, found, results):
    """Whether the first results of a sentence are known.

    No log-probability is above 0, and no penalty either. So an open sequence cannot
    rank higher than its log-probability so far does at the greatest length.
    """
    length = found.tokens.shape[-1]
    longest = jnp.minimum(search.rules.max_lengths, length)[:, None]
    best = found.nats / _normaliser(longest, search.alpha, found.nats.dtype)
    is_open = ~found.ended & (found.nats > -jnp.inf)
    within_reach = jnp.where(is_open, best, -jnp.inf).max(axis=1, keepdims=True)
    safe = (found.ended & (found.ranks > within_reach)).sum(axis=1)
    return (safe >= results) | ~is_open.any(axis=1)


def _normaliser(lengths, alpha, dtype):
    return ((5 + lengths.astype(dtype)) / 6) ** alpha.astype(dtype)


def _advance(search, found, carry, logits, t, *, width, no_repeat):
    """The best ``width`` sequences with one token more, and the states after all but
    this token.
    """
    sentences, before = found.nats.shape
    nats, ranks, tokens = _continuations(
        search, found, carry, logits, t, width, no_repeat
    )
    # NaN comes first, so that it cannot go unseen.
    order = _flat(jnp.where(jnp.isnan(ranks), jnp.inf, ranks), width, -jnp.inf)
    _, best = jax.lax.top_k(order, width)
    parents = jnp.minimum(best // tokens.shape[-1], before - 1)
    take = lambda a: jnp.take_along_axis(a, best, axis=1)
    inherit = lambda a: jnp.take_along_axis(a, parents, axis=1)
    ended, lengths = inherit(found.ended), inherit(found.lengths)
    said = take(_flat(tokens, width, 0))
    texts = jnp.take_along_axis(found.tokens, parents[:, :, None], axis=1)
    kept = Hypotheses(
        texts.at[:, :, t].set(said),
        take(_flat(nats, width, -jnp.inf)),
        take(_flat(ranks, width, -jnp.inf)),
        lengths + (~ended).astype(jnp.int32),
        ended | (said == search.end),
    )
    starts = before * jnp.arange(sentences, dtype=jnp.int32)
    rows = (starts[:, None] + parents).reshape(-1)
    return kept, jax.tree.map(lambda a: a[rows], carry)


def _flat(candidates, width, fill):
    """``[B, W, K]`` as ``[B, W K]``, and at least ``[B, width]``."""
    flat = candidates.reshape(len(candidates), -1)
    short = max(0, width - flat.shape[1])
    return jnp.pad(flat, ((0, 0), (0, short)), constant_values=fill)


def _continuations(search, found, carry, logits, t, width, no_repeat):
    """Log-probabilities, ranks and last tokens of the continuations of each sequence
    that may be among the best ``width``, ``[B, W, K]``.

    An ended sequence goes on as itself, with one more ``end``.
    """
    tokens, log_p = _next_tokens(search, found, logits, t, width, no_repeat)
    ended, nats = found.ended[:, :, None], found.nats[:, :, None]
    first = (jnp.arange(tokens.shape[-1]) == 0)[None, None]
    tokens = jnp.where(ended, search.end, tokens)
    itself = jnp.where(first, nats, -jnp.inf)
    nats = jnp.where(ended, itself, nats + log_p)
    # What a model says of a sequence that is none does not matter, not even NaN.
    nowhere = jnp.isneginf(found.nats)[:, :, None] | jnp.isneginf(nats)
    nats = jnp.where(nowhere, -jnp.inf, nats)
    normaliser = _normaliser(found.lengths + 1, search.alpha, nats.dtype)
    ranks = nats / normaliser[:, :, None]
    if search.penalty is not None:
        penalty = search.penalty(carry).astype(nats.dtype)
        # A penalty above 0 would end the search too early.
        penalty = jnp.where(penalty > 0, jnp.nan, penalty)
        ranks += penalty.reshape(*found.nats.shape, 1)
    ranks = jnp.where(ended, found.ranks[:, :, None], ranks)
    return nats, jnp.where(nowhere, -jnp.inf, ranks), tokens


def _next_tokens(search, found, logits, t, width, no_repeat):
    """The best allowed tokens of each sequence and their log-probabilities. At most
    ``width`` of them can be of use. One more makes up for an ``end`` that is too early.
    """
    sentences, before = found.nats.shape
    rules, count = search.rules, min(width + 1, logits.shape[1])
    of_row = lambda a: jnp.repeat(a, before, axis=0)[:, None]
    allowed = logits
    if no_repeat:
        texts = found.tokens.reshape(sentences * before, -1)
        allowed = without_repeats(logits, texts, t, no_repeat)
    # Tried and lost: sorting only the chunks of highest maximum. It takes a third of
    # the time for 8,000 tokens, but XLA then writes the logits twice.
    values, tokens = jax.lax.top_k(allowed, count)
    early = of_row(rules.too_early(t)) & (tokens == search.end)
    values = jnp.where(early, -jnp.inf, values)
    forced, token = map(of_row, rules.forced(t, search.end))
    # A token outside the vocabulary gives NaN.
    token = jnp.where(token < 0, logits.shape[1], token)
    only = jnp.take_along_axis(logits, token, axis=1)
    first = (jnp.arange(count) == 0)[None]
    values = jnp.where(forced, jnp.where(first, only, -jnp.inf), values)
    tokens = jnp.where(forced, token, tokens)
    # As `jax.nn.log_softmax`, of these tokens alone.
    top = logits.max(axis=-1, keepdims=True)
    log_p = values - top - jnp.log(jnp.exp(logits - top).sum(-1, keepdims=True))
    shape = sentences, before, count
    return tokens.reshape(shape), log_p.reshape(shape)
