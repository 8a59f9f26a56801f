"""Beam search: the most likely sequences that a beam finds.

    S(y) = sum over t of log p(y_t | y_1 ... y_{t-1})
    rank(y) = S(y) / ((5 + |y|) / 6) ** alpha

At every step, each of ``width`` sequences is continued by every token, and the
``width`` continuations of highest rank are kept. A sequence that has reached ``end``
stays as it is and competes with the others. Lowerre, "The Harpy Speech Recognition
System", 1976; Sutskever, Vinyals & Le, "Sequence to Sequence Learning with Neural
Networks", NeurIPS 2014; the rank: Wu et al., "Google's Neural Machine Translation
System", 2016, eq. 14.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Bool, Float, Int, PyTree
from lstm_jax.core.arguments import check_size
from lstm_jax.inference.stepwise import Step, check_batch, check_step, spread


class Beams(NamedTuple):
    """Sequences, best first."""

    tokens: Int[Array, "width length"]
    """int32; after ``end`` all tokens are ``end``."""
    scores: Float[Array, "width"]
    """The ranks. With ``alpha=0`` they are log-probabilities in nats."""


def beam_search(
    step: Step,
    carry: PyTree,
    logits: Float[Array, "1 V"],
    width: int,
    length: int,
    *,
    end: int | None = None,
    alpha: float = 0.0,
) -> Beams:
    """The best sequences after a prompt, in one jitted loop.

    Args:
        step: the model, as in `generate`.
        carry: the state after the prompt, ``[1, ...]`` in every array.
        logits: the logits of the first token, ``[1, V]``.
        width: number of sequences kept. 1 takes the most likely token at every step;
            ``V ** (length - 1)`` is exact.
        length: tokens of a sequence; fewer if it reaches ``end`` earlier.
        end: the token that ends a sequence. ``None``: all sequences have ``length``
            tokens.
        alpha: strength of the length normalisation. 0 is none, which favours short
            sequences. ``|y|`` counts ``end``.

    Returns:
        `Beams`. If there are fewer than ``width`` sequences, the rest have the score
        ``-inf`` and no meaning. NaN in the logits gives NaN in the scores.

    Raises:
        TypeError, ValueError: an argument is not as described, or ``alpha`` is given
            without ``end``, where it has no effect on the order.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.inference import beam_search
    >>> table = jnp.log(jnp.array([[0.6, 0.4], [0.5, 0.5], [0.1, 0.9]]))
    >>> step = lambda carry, tokens: (carry, table[1 + tokens])
    >>> beams = beam_search(step, (), table[:1], width=2, length=2)
    >>> for tokens, score in zip(beams.tokens.tolist(), beams.scores):
    ...     print(tokens, f"{jnp.exp(score):.2f}")
    [1, 1] 0.36
    [0, 0] 0.30
    """
    check_size("width", width)
    check_size("length", length)
    step, carry, logits = check_step(step, carry, logits)
    check_batch("logits", logits, 1)
    _check_end(end, alpha, logits.shape[1])
    end = -1 if end is None else end
    ranked = np.int32(end), float(alpha)
    return _search(step, carry, logits, *ranked, width=width, length=length)


def _check_end(end, alpha, vocabulary):
    if end is not None and (
        isinstance(end, bool)
        or not isinstance(end, int | np.integer)
        or not 0 <= end < vocabulary
    ):
        raise ValueError(
            f"end is {end!r}, expected a token in [0, {vocabulary}), or None."
        )
    number = isinstance(alpha, int | float | np.number) and not isinstance(alpha, bool)
    if not number or not 0 <= alpha < math.inf:
        raise ValueError(f"alpha is {alpha!r}, expected a number, 0 or more.")
    if alpha and end is None:
        raise ValueError(
            f"alpha is {alpha!r} without end: all sequences are of the same length, "
            f"and it would change nothing; give end, or leave alpha out."
        )


class _Beam(NamedTuple):
    """The sequences so far, and the model's logits after each."""

    tokens: Int[Array, "width length"]
    nats: Float[Array, "width"]
    lengths: Int[Array, "width"]
    ended: Bool[Array, "width"]
    carry: PyTree
    logits: Float[Array, "width V"]


@functools.partial(jax.jit, static_argnames=("width", "length"))
def _search(step, carry, logits, end, alpha, *, width, length):
    carry, logits = spread((carry, logits), width)
    # At the start all beams are equal, so only the first one counts.
    alone = jnp.where(jnp.arange(width) == 0, 0.0, -jnp.inf).astype(logits.dtype)
    beam = _Beam(
        jnp.full((width, length), end, jnp.int32),
        alone,
        jnp.zeros(width, jnp.int32),
        jnp.zeros(width, bool),
        carry,
        logits,
    )
    advance = lambda beam, t: (_advance(step, beam, t, end, alpha), None)
    beam, _ = jax.lax.scan(advance, beam, jnp.arange(length, dtype=jnp.int32))
    return Beams(beam.tokens, beam.nats / _penalty(beam, alpha))


def _advance(step, beam, t, end, alpha):
    width, vocabulary = beam.logits.shape
    said = jax.nn.log_softmax(beam.logits)
    last = jnp.arange(vocabulary, dtype=jnp.int32) == end
    stay = jnp.where(last, 0.0, -jnp.inf).astype(said.dtype)
    nats = beam.nats[:, None] + jnp.where(beam.ended[:, None], stay[None], said)
    longer = beam._replace(lengths=beam.lengths + (~beam.ended).astype(jnp.int32))
    ranks = nats / _penalty(longer, alpha)[:, None]
    _, best = jax.lax.top_k(ranks.reshape(-1), width)
    parents, tokens = jnp.divmod(best, vocabulary)
    kept = jax.tree.map(lambda a: a[parents], longer)
    carry, logits = step(kept.carry, tokens)
    return _Beam(
        kept.tokens.at[:, t].set(tokens),
        nats.reshape(-1)[best],
        kept.lengths,
        kept.ended | (tokens == end),
        carry,
        logits.astype(beam.logits.dtype),
    )


def _penalty(beam, alpha):
    return ((5 + beam.lengths.astype(beam.nats.dtype)) / 6) ** alpha
