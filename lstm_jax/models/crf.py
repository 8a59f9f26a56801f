"""A linear-chain conditional random field: scores of whole sequences of tags.

    score(z, y) = start[y_1] + sum_t z_t[y_t] + sum_t transitions[y_t, y_{t+1}]
                  + end[y_T]
    log Z(z)    = log(sum over all y of exp(score(z, y)))
    log p(y|z)  = score(z, y) - log Z(z)

    alpha_1[j]     = start[j] + z_1[j]
    alpha_{t+1}[j] = log(sum_i exp(alpha_t[i] + transitions[i, j])) + z_{t+1}[j]
    log Z          = log(sum_j exp(alpha_T[j] + end[j]))

``z`` are the logits ``[T, ..., C]`` of a network, and ``y`` the tags. The best tags
come from the same recursion with a maximum instead of the log-sum (Viterbi). Lafferty,
McCallum & Pereira, "Conditional Random Fields", ICML 2001. With a bidirectional LSTM:
Huang, Xu & Yu, "Bidirectional LSTM-CRF Models for Sequence Tagging", 2015.

All functions take any number of batch axes and ``lengths``. Padding, even NaN, changes
neither values nor gradients. A row of length 0 has only the empty sequence of tags: its
score, log Z and nats are 0.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Float, Int, Lengths
from lstm_jax.core.arguments import check_floating, check_size
from lstm_jax.core.cells.checks import check_lengths
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.recurrence.sequence import length_mask
from lstm_jax.models.classes import check_classes, classes_that_count

PADDING = -1
"""The tag that `crf_decode` returns for padding."""


class CRFParams(NamedTuple):
    """Scores of a linear-chain CRF with ``C`` tags.

    To forbid a transition, give it a large negative score, such as -1e4. Infinite
    scores have no useful derivatives.
    """

    transitions: Float[Array, "C C"]
    """``transitions[i, j]``: score of tag ``j`` after tag ``i``."""
    start: Float[Array, "C"]
    """Score of the first tag."""
    end: Float[Array, "C"]
    """Score of the last tag."""


def init_crf(classes: int, dtype: Any = jnp.float32) -> CRFParams:
    """Scores of 0: every step is classified independently.

    Raises:
        ValueError: ``classes`` is not 1 or more.

    >>> init_crf(3).transitions.shape
    (3, 3)
    """
    check_size("classes", classes)
    return CRFParams(
        jnp.zeros((classes, classes), dtype),
        jnp.zeros(classes, dtype),
        jnp.zeros(classes, dtype),
    )


def crf_score(
    params: CRFParams,
    logits: Float[Array, "T *B C"],
    tags: Int[Array, "T *B"],
    lengths: Lengths | None = None,
) -> Float[Array, "*B"]:
    """The score of given tags, ``score(z, y)``.

    Args:
        params: scores of the CRF.
        logits: ``z``.
        tags: ``y``, in ``[0, C)`` at real steps. A traced tag outside this range gives
            NaN.
        lengths: real steps of every row; ``None`` means all steps.

    Raises:
        TypeError: ``logits`` are not floating point or ``tags`` are not integers.
        ValueError: shapes do not match, ``lengths`` are outside ``[0, T]``, or a tag at
            a real step is outside ``[0, C)``.

    >>> import jax.numpy as jnp
    >>> moves = jnp.array([[0.0, 5.0], [7.0, 0.0]])
    >>> params = init_crf(2)._replace(transitions=moves)
    >>> logits = jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> float(crf_score(params, logits, jnp.array([0, 1, 0])))
    18.0
    """
    params, logits, mask = _checked(params, logits, lengths)
    tags = _check_tags(tags, logits, mask)
    return _score(params, logits, tags, mask)


def crf_log_partition(
    params: CRFParams,
    logits: Float[Array, "T *B C"],
    lengths: Lengths | None = None,
) -> Float[Array, "*B"]:
    """``log Z``; arguments and errors as in `crf_score`.

    >>> import jax.numpy as jnp
    >>> nats = crf_log_partition(init_crf(3), jnp.zeros((4, 3)))
    >>> float(jnp.exp(nats).round())  # 3 ** 4 sequences of tags
    81.0
    """
    return _log_partition(*_checked(params, logits, lengths))


def crf_nats(
    params: CRFParams,
    logits: Float[Array, "T *B C"],
    tags: Int[Array, "T *B"],
    lengths: Lengths | None = None,
) -> Float[Array, "*B"]:
    """The negative log-likelihood of the tags of a whole sequence, ``-log p(y|z)``.

    Arguments and errors are those of `crf_score`.

    >>> import jax.numpy as jnp
    >>> tags = jnp.zeros((4, 2), jnp.int32)
    >>> nats = crf_nats(init_crf(3), jnp.zeros((4, 2, 3)), tags, lengths=[4, 0])
    >>> nats.round(3).tolist()  # 4 log(3), and no step
    [4.394000053405762, 0.0]
    """
    params, logits, mask = _checked(params, logits, lengths)
    tags = _check_tags(tags, logits, mask)
    return _log_partition(params, logits, mask) - _score(params, logits, tags, mask)


def crf_decode(
    params: CRFParams,
    logits: Float[Array, "T *B C"],
    lengths: Lengths | None = None,
) -> tuple[Int[Array, "T *B"], Float[Array, "*B"]]:
    """The tags with the highest score, and the score (Viterbi).

    Arguments and errors as in `crf_score`. Padding gets the tag -1. Among equal scores
    the lower tag wins, decided from the last step backwards.

    >>> import jax.numpy as jnp
    >>> moves = jnp.array([[0.0, 5.0], [7.0, 0.0]])
    >>> params = init_crf(2)._replace(transitions=moves)
    >>> logits = jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [9.0, 9.0]])
    >>> tags, score = crf_decode(params, logits, lengths=3)
    >>> tags.tolist(), float(score)
    ([0, 1, 0, -1], 18.0)
    """
    params, logits, mask = _checked(params, logits, lengths)
    if not len(logits):
        shape = logits.shape[:-1]
        return jnp.zeros(shape, jnp.int32), jnp.zeros(shape[1:], logits.dtype)

    def forward(best, at):
        z, real = at
        ways = _ways(best, params.transitions)
        came_from = ways.argmax(axis=-2).astype(jnp.int32)
        stays = jnp.arange(z.shape[-1], dtype=jnp.int32)
        came_from = jnp.where(real, came_from, jnp.broadcast_to(stays, z.shape))
        return jnp.where(real, ways.max(axis=-2) + z, best), came_from

    def backward(tag, came_from):
        before = jnp.take_along_axis(came_from, tag[..., None], axis=-1)[..., 0]
        return before, tag

    best = _begin(params, logits)
    best, came_from = jax.lax.scan(forward, best, (logits[1:], mask[1:]))
    best = best + _wide(params.end, best)
    last = best.argmax(axis=-1).astype(jnp.int32)
    first, tags = jax.lax.scan(backward, last, came_from, reverse=True)
    tags = jnp.concatenate([first[None], tags])
    real = mask[..., 0]
    tags = jnp.where(real, tags, jnp.full_like(tags, PADDING))
    return tags, _unless_empty(best.max(axis=-1), mask)


def crf_marginals(
    params: CRFParams,
    logits: Float[Array, "T *B C"],
    lengths: Lengths | None = None,
) -> Float[Array, "T *B C"]:
    """The probability of every tag at every step, ``p(y_t = j | z)``; 0 in the padding.

        p(y_t = j | z) = d log Z / d z_t[j]

    Arguments and errors are those of `crf_score`.

    >>> import jax.numpy as jnp
    >>> crf_marginals(init_crf(2), jnp.zeros((3, 2)), lengths=1).tolist()
    [[0.5, 0.5], [0.0, 0.0], [0.0, 0.0]]
    """
    params, logits, mask = _checked(params, logits, lengths)
    return jax.grad(lambda z: _log_partition(params, z, mask).sum())(logits)


def _score(params, logits, tags, mask):
    """The score of tags. Tags in the padding do not count. Invalid tags at real steps
    give NaN.
    """
    if not len(logits):
        return jnp.zeros(logits.shape[1:-1], logits.dtype)
    real = mask[..., 0]
    last = jnp.maximum(real.sum(axis=0) - 1, 0)
    end = jnp.take_along_axis(tags, last[None], axis=0)[0]
    pick = lambda table, *at: table.at[at].get(mode="fill", fill_value=jnp.nan)
    z = jnp.take_along_axis(logits, tags[..., None], axis=-1, mode="fill")[..., 0]
    z = jnp.where(real, z, jnp.zeros_like(z))
    moves = pick(params.transitions, tags[:-1], tags[1:])
    moves = jnp.where(real[1:], moves, jnp.zeros_like(moves))
    ends = pick(params.start, tags[0]) + pick(params.end, end)
    return z.sum(axis=0) + moves.sum(axis=0) + _unless_empty(ends, mask)


def _log_partition(params, logits, mask):
    if not len(logits):
        return jnp.zeros(logits.shape[1:-1], logits.dtype)

    def step(alpha, at):
        z, real = at
        ways = _ways(alpha, params.transitions)
        return jnp.where(real, jax.nn.logsumexp(ways, axis=-2) + z, alpha), None

    # Recomputing stores [T, ..., C] for the backward pass instead of [T, ..., C, C].
    step = jax.checkpoint(step, prevent_cse=False)
    alpha = _begin(params, logits)
    alpha, _ = jax.lax.scan(step, alpha, (logits[1:], mask[1:]))
    ends = jax.nn.logsumexp(alpha + _wide(params.end, alpha), axis=-1)
    return _unless_empty(ends, mask)


def _begin(params, logits):
    return logits[0] + _wide(params.start, logits[0])


def _ways(scores, transitions):
    """Scores from every tag (the axis before the last) to every tag (the last axis)."""
    scores = scores[..., None]
    return scores + transitions.reshape((1,) * (scores.ndim - 2) + transitions.shape)


def _wide(scores, like):
    return jnp.broadcast_to(scores, like.shape)


def _unless_empty(scores, mask):
    some = mask[..., 0].any(axis=0)
    return jnp.where(some, scores, jnp.zeros_like(scores))


def _checked(params, logits, lengths):
    """Checks arguments: all in one dtype, logits 0 in the padding, the mask
    ``[T, ..., 1]``.
    """
    logits = check_floating("logits", logits)
    if logits.ndim < 2:
        raise ValueError(
            f"logits has shape {logits.shape}, expected time-major [T, ..., C]."
        )
    steps, *batch, classes = logits.shape
    for name, score in params._asdict().items():
        shape = (classes,) * (2 if name == "transitions" else 1)
        if jnp.shape(score) != shape:
            raise ValueError(
                f"params.{name} has shape {jnp.shape(score)}, expected {shape} for "
                f"logits {logits.shape}; make params with init_crf({classes})."
            )
    dtype = jnp.promote_types(
        accumulation_dtype(logits.dtype), jnp.result_type(params.transitions)
    )
    params = CRFParams(*(jnp.asarray(score).astype(dtype) for score in params))
    lengths = np.full(batch, steps, np.int32) if lengths is None else lengths
    mask = length_mask(check_lengths(lengths, steps, tuple(batch)), steps)[..., None]
    logits = logits.astype(dtype)
    return params, jnp.where(mask, logits, jnp.zeros_like(logits)), mask


def _check_tags(tags, logits, mask):
    """Tags with 0 in the padding. Traced tags out of range become ``C``."""
    tags = check_classes("tags", tags, logits.shape)
    advice = "pass lengths if this step is padding"
    return classes_that_count("tags", tags, mask[..., 0], logits.shape[-1], advice)
