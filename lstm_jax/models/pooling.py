"""Pools a sequence of hidden states into one vector. Padding does not count.

    last        h_n                           n is the length of the row
    mean        sum_t h_t / n
    max         max_t h_t                     unit by unit
    attention   sum_t a_t h_t                 a = softmax over t of v . tanh(h_t W + b)

Attention: Yang et al., "Hierarchical Attention Networks for Document Classification",
NAACL 2016.

All functions take hidden states ``[T, ..., H]`` with any number of batch axes, and
``lengths``, the real steps of every row (``None`` means all steps). Padding, even NaN,
changes neither values nor gradients. A row of length 0 becomes zeros. Sums are in
float32 or wider, and so is the result.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Bool, Float, Key, Lengths
from lstm_jax.core.arguments import check_bool, check_floating, check_size
from lstm_jax.core.cells.checks import check_lengths
from lstm_jax.core.init import glorot
from lstm_jax.core.precision import accumulation_dtype, product_precision
from lstm_jax.core.recurrence.sequence import length_mask


def pool_last(
    hs: Float[Array, "T *B H"],
    lengths: Lengths | None = None,
    *,
    bidirectional: bool = False,
) -> Float[Array, "*B H"]:
    """The hidden state at the last real step.

    Args:
        hs: hidden states.
        lengths: real steps of every row, in ``[0, T]``; ``None`` means all steps.
        bidirectional: whether the second half of ``H`` ran backwards. Its last state is
            at the first step and is read there.

    Raises:
        TypeError: ``hs`` is not floating point.
        ValueError: ``hs`` has no time axis, ``lengths`` are outside ``[0, T]`` or not
            one per row, or ``H`` is odd with two directions.

    >>> import jax.numpy as jnp
    >>> hs = jnp.array([[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]]])
    >>> pool_last(hs, [2]).tolist(), pool_last(hs, [2], bidirectional=True).tolist()
    ([[3.0, 4.0]], [[3.0, 2.0]])
    """
    hs, mask = _checked(hs, lengths)
    if check_bool("bidirectional", bidirectional):
        if hs.shape[-1] % 2:
            raise ValueError(
                f"hs has {hs.shape[-1]} units, expected an even number with "
                f"bidirectional=True: the same number for each direction."
            )
        forward, backward = jnp.split(hs, 2, axis=-1)
        return jnp.concatenate([_last(forward, mask), _first(backward)], axis=-1)
    return _last(hs, mask)


def pool_mean(
    hs: Float[Array, "T *B H"], lengths: Lengths | None = None
) -> Float[Array, "*B H"]:
    """The mean of the hidden states; arguments and errors as in `pool_last`.

    >>> import jax.numpy as jnp
    >>> pool_mean(jnp.array([[[1.0]], [[3.0]], [[jnp.nan]]]), [2]).tolist()
    [[2.0]]
    """
    hs, mask = _checked(hs, lengths)
    count = jnp.maximum(mask.sum(axis=0), 1).astype(hs.dtype)
    return hs.sum(axis=0) / count


def pool_max(
    hs: Float[Array, "T *B H"], lengths: Lengths | None = None
) -> Float[Array, "*B H"]:
    """The largest value of every unit; arguments and errors as in `pool_last`.

    >>> import jax.numpy as jnp
    >>> pool_max(jnp.array([[[-1.0]], [[-3.0]], [[0.0]]]), [2]).tolist()
    [[-1.0]]
    """
    hs, mask = _checked(hs, lengths)
    least = jnp.full_like(hs, -jnp.inf)
    most = jnp.where(mask, hs, least).max(axis=0, initial=-jnp.inf)
    return jnp.where(mask.any(axis=0), most, jnp.zeros_like(most))


class AttentionParams(NamedTuple):
    """The parameters of `pool_attention`."""

    w: Float[Array, "H A"]
    b: Float[Array, "A"]
    v: Float[Array, "A"]


def init_attention(
    key: Key[Array, ""], in_size: int, size: int, dtype: Any = jnp.float32
) -> AttentionParams:
    """Random weights of `pool_attention` (Glorot & Bengio 2010), and a bias of 0.

    Args:
        key: key of the random numbers.
        in_size: ``H``, units of a hidden state.
        size: ``A``, units of the attention layer.

    Raises:
        ValueError: a size is not 1 or more.

    >>> import jax
    >>> init_attention(jax.random.key(0), 8, 5).w.shape
    (8, 5)
    """
    check_size("in_size", in_size)
    check_size("size", size)
    of_w, of_v = jax.random.split(key)
    w, v = glorot(of_w, (in_size, size), dtype), glorot(of_v, (size, 1), dtype)[:, 0]
    return AttentionParams(w, jnp.zeros(size, dtype), v)


def pool_attention(
    params: AttentionParams,
    hs: Float[Array, "T *B H"],
    lengths: Lengths | None = None,
) -> Float[Array, "*B H"]:
    """A mean of the hidden states with learned weights.

    Arguments and errors as in `pool_last`. Weights of other sizes raise ValueError.

    >>> import jax, jax.numpy as jnp
    >>> params = init_attention(jax.random.key(0), 3, 4)
    >>> pool_attention(params, jnp.ones((5, 2, 3)), [5, 0]).round(4).tolist()
    [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    hs, mask = _checked(hs, lengths)
    if jnp.shape(params.w)[:1] != hs.shape[-1:]:
        raise ValueError(
            f"params.w has shape {jnp.shape(params.w)}, but hs has {hs.shape[-1]} "
            f"units; make params with init_attention(key, {hs.shape[-1]}, size)."
        )
    w, b, v = (jnp.asarray(p).astype(hs.dtype) for p in params)
    times = functools.partial(jnp.matmul, precision=product_precision(hs.dtype))
    u = times(hs, w)
    scores = times(jnp.tanh(u + jnp.broadcast_to(b, u.shape)), v)
    weights = _softmax(scores[..., None], mask)
    return (weights * hs).sum(axis=0)


def _softmax(scores, mask):
    """The softmax over time. Padding has weight 0, and so has an empty row."""
    least = jnp.full_like(scores, -jnp.inf)
    top = jnp.where(mask, scores, least).max(axis=0, initial=-jnp.inf)
    top = jnp.where(jnp.isfinite(top), top, jnp.zeros_like(top))
    below = scores - jax.lax.stop_gradient(top)[None]
    # Padding may be large: then exp is infinite and its derivative is NaN.
    below = jnp.where(mask, below, jnp.zeros_like(below))
    e = jnp.where(mask, jnp.exp(below), jnp.zeros_like(below))
    total = e.sum(axis=0)
    return e / jnp.where(total > 0, total, jnp.ones_like(total))[None]


def _last(hs, mask):
    if not len(hs):
        return jnp.zeros(hs.shape[1:], hs.dtype)
    # Padding is already 0, so an empty row may use its first step.
    at = jnp.maximum(mask.sum(axis=0, dtype=jnp.int32) - 1, 0)
    return jnp.take_along_axis(hs, at[None], axis=0)[0]


def _first(hs):
    return hs[0] if len(hs) else jnp.zeros(hs.shape[1:], hs.dtype)


def _checked(
    hs: Any, lengths: Any
) -> tuple[Float[Array, "T *B H"], Bool[Array, "T *B 1"]]:
    """The hidden states with 0 in the padding, and the mask."""
    hs = check_floating("hs", hs)
    if hs.ndim < 2:
        raise ValueError(f"hs has shape {hs.shape}, expected time-major [T, ..., H].")
    steps, *batch, _ = hs.shape
    lengths = np.full(batch, steps, np.int32) if lengths is None else lengths
    mask = length_mask(check_lengths(lengths, steps, tuple(batch)), steps)[..., None]
    hs = hs.astype(accumulation_dtype(hs.dtype))
    return jnp.where(mask, hs, jnp.zeros_like(hs)), mask
