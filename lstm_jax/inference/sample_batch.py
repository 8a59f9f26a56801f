"""Samples sequences that end, one for each row of a batch.

    y_t ~ q(y_t | y_1 ... y_{t-1})       the distribution p of the model, as `Sampling`
                                         changes it
    S(y) = sum over t of log p(y_t | y_1 ... y_{t-1})

For sequences without an end see `lstm_jax.inference.generate`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Float, Int, Key, Lengths, PyTree
from lstm_jax.core.arguments import check_key, check_size
from lstm_jax.inference.rules import check_end, make_rules
from lstm_jax.inference.sampling import Sampling, draw
from lstm_jax.inference.stepwise import Step, check_step


class Samples(NamedTuple):
    """A sequence of every row."""

    tokens: Int[Array, "B length"]
    """int32; after ``end`` all tokens are ``end``."""
    nats: Float[Array, "B"]
    """The log-probability ``S`` of the model."""
    lengths: Int[Array, "B"]
    """int32; the tokens of each sequence, ``end`` included."""


def sample_batch(
    step: Step,
    carry: PyTree,
    logits: Float[Array, "B V"],
    keys: Key[Array, "B"],
    length: int,
    sampling: Sampling,
    *,
    end: int,
    min_lengths: Lengths = 0,
    max_lengths: Lengths | None = None,
    prefix: Int[Array, "B P"] | np.ndarray | list | None = None,
    prefix_lengths: Lengths | None = None,
) -> Samples:
    """A sequence for every row, in one jitted loop.

    The loop ends when all sequences have ended. The tokens of a row depend on its key
    and its logits alone.

    Args:
        step: the model, ``(carry, tokens [B]) -> (carry, logits [B, V])``.
        carry: the state of each row, ``[B, ...]`` in every array.
        logits: the logits of the first token, ``[B, V]``.
        keys: one key for every row.
        length: the most tokens of a sequence.
        sampling: which tokens may be drawn, and how likely each is.
        end: the token that ends a sequence.
        min_lengths, max_lengths, prefix, prefix_lengths: as in `beam_search_batch`. An
            ``end`` that is too early is never drawn.

    Returns:
        `Samples`. NaN in the logits of a row gives NaN in its ``nats``.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax.inference import Sampling, sample_batch
    >>> table = jnp.log(jnp.array([[0.1, 0.5, 0.4], [0.5, 0.3, 0.2], [0.5, 0.2, 0.3]]))
    >>> step = lambda carry, tokens: (carry, table[tokens])
    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> coldest, first = Sampling(temperature=0), [[2], [1]]
    >>> found = sample_batch(
    ...     step, (), table[:2], keys, 4, coldest, end=0, prefix=first
    ... )
    >>> found.tokens.tolist(), found.lengths.tolist()
    ([[2, 0, 0, 0], [1, 0, 0, 0]], [2, 2])
    """
    check_size("length", length)
    if not isinstance(sampling, Sampling):
        raise TypeError(f"sampling is {sampling!r}, expected a Sampling.")
    step, carry, logits = check_step(step, carry, logits)
    rows, vocabulary = logits.shape
    keys = check_key(keys)
    if getattr(keys, "shape", None) != (rows,):
        raise ValueError(
            f"keys has shape {getattr(keys, 'shape', None)}, expected ({rows},), a key "
            f"for every row of logits; use jax.random.split."
        )
    check_end(end, vocabulary)
    shape = rows, length, vocabulary
    rules = make_rules(shape, min_lengths, max_lengths, prefix, prefix_lengths)
    static = dict(length=length, sampling=sampling)
    return _run(step, rules, np.int32(end), carry, logits, keys, **static)


@functools.partial(jax.jit, static_argnames=("length", "sampling"))
def _run(step, rules, end, carry, logits, keys, *, length, sampling):
    def more(state):
        t, found, _, _ = state
        return (t < length) & ~_ended(rules, end, found, t).all()

    def go_on(state):
        t, found, carry, logits = state
        ended = _ended(rules, end, found, t)
        now = jax.vmap(jax.random.fold_in, (0, None))(keys, t)
        early = rules.too_early(t)[:, None]
        open_logits = jnp.where(
            early & (jnp.arange(logits.shape[1]) == end)[None], -jnp.inf, logits
        )
        forced, token = rules.forced(t, end)
        token = jnp.where(forced, token, draw(open_logits, now, sampling))
        # As in a beam search, a token outside the vocabulary gives NaN.
        heard = jnp.where(token < 0, logits.shape[1], token)
        log_p = jax.nn.log_softmax(logits)
        gained = jnp.take_along_axis(log_p, heard[:, None], axis=1)[:, 0]
        token = jnp.where(ended, end, token)
        found = Samples(
            found.tokens.at[:, t].set(token),
            found.nats + jnp.where(ended, 0, gained),
            found.lengths + (~ended).astype(jnp.int32),
        )
        carry, following = step(carry, token)
        return t + 1, found, carry, following.astype(logits.dtype)

    rows = len(logits)
    nothing = Samples(
        jnp.full((rows, length), end),
        jnp.zeros(rows, logits.dtype),
        jnp.zeros(rows, jnp.int32),
    )
    state = jnp.int32(0), nothing, carry, logits
    return jax.lax.while_loop(more, go_on, state)[1]


def _ended(rules, end, found, t):
    """Whether a sequence has said its end, or may not have a token."""
    before = jnp.maximum(t - 1, 0)
    said = (t > 0) & (found.tokens[:, before] == end)
    return said | (rules.max_lengths == 0)
