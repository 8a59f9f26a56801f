"""Dropout of single values, whole units or whole words.

A mask depends only on the key and the absolute step, or only on the key if it is the
same at every step. A sequence may be streamed, resumed, or recomputed in chunks: each
step sees the same mask as in one call.

Keys of every implementation work. Masks always use threefry, because other
implementations depend on the batch (see `check_key`).
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax._types import Array, Bool, Float, Int, Key
from lstm_jax.core.arguments import check_one_key, check_rate, check_start
from lstm_jax.core.sharding import leave_to_compiler, spec_of


def dropout(
    key: Key[Array, ""],
    xs: Float[Array, "T *B D"],
    rate: float,
    start: int | Array = 0,
) -> Float[Array, "T *B D"]:
    """Zeroes each value of ``xs`` with probability ``rate`` and scales the rest.

    The scale is ``1 / (1 - rate)``. ``start`` is the absolute step of ``xs[0]``.
    Srivastava et al., "Dropout", JMLR 15, 2014.

    Raises:
        ValueError: ``rate`` is not in ``[0, 1)``.

    >>> import jax, jax.numpy as jnp
    >>> xs = jnp.ones((6, 2, 3))
    >>> whole = dropout(jax.random.key(0), xs, 0.5)
    >>> bool((dropout(jax.random.key(0), xs[4:], 0.5, start=4) == whole[4:]).all())
    True
    """
    check_rate("dropout rate", rate)
    if rate == 0.0:
        return xs
    key, start = check_one_key(key), check_start(start)
    keep = keep_masks(key, steps_from(start, xs.shape[0]), rate, xs.shape[1:])
    return drop_and_scale(keep, xs, rate)


def steps_from(start: int | Array, count: int) -> Int[Array, "T"]:
    """``count`` absolute steps, starting at ``start``."""
    return jnp.asarray(start, jnp.int32) + jnp.arange(count, dtype=jnp.int32)


def keep_mask(key: Key[Array, ""], rate: float, shape: tuple) -> Bool[Array, "..."]:
    """True with probability ``1 - rate``, to the nearest 65536th.

    Random bits dominate the cost of a mask, so one 32-bit word serves two elements.
    """
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 2),), jnp.uint32)
    halves = lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[:size]
    kept = round((1.0 - rate) * 2**16)
    return (halves.astype(jnp.int32) < kept).reshape(shape)


def keep_masks(
    key: Key[Array, ""], steps: Int[Array, "T"], rate: float, shape: tuple
) -> Bool[Array, "T ..."]:
    """A mask of ``shape`` for each of the absolute ``steps``."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, steps)
    return jax.vmap(lambda key: keep_mask(key, rate, shape))(keys)


def variational_dropout(
    key: Key[Array, ""], xs: Float[Array, "T *B D"], rate: float
) -> Float[Array, "T *B D"]:
    """Zeroes each unit of a row with probability ``rate``, the same units at every
    step.

    Use it for the inputs or outputs of a layer. The mask ``[..., D]`` depends only on
    the key: pieces of a sequence share the mask if they share the key. The rest is
    scaled by ``1 / (1 - rate)``. Gal & Ghahramani, "A Theoretically Grounded
    Application of Dropout in Recurrent Neural Networks", NeurIPS 2016.

    Raises:
        ValueError: ``rate`` is not in ``[0, 1)``.

    >>> import jax, jax.numpy as jnp
    >>> ys = variational_dropout(jax.random.key(0), jnp.ones((6, 2, 3)), 0.5)
    >>> bool((ys[1:] == ys[:-1]).all())
    True
    """
    check_rate("variational_dropout rate", rate)
    if rate == 0.0:
        return xs
    keep = keep_mask(check_one_key(key), rate, xs.shape[1:])
    return drop_and_scale(jnp.broadcast_to(keep, xs.shape), xs, rate)


def embedding_dropout(
    key: Key[Array, ""], table: Float[Array, "V E"], rate: float
) -> Float[Array, "V E"]:
    """Zeroes each row of an embedding with probability ``rate`` and scales the rest.

    A dropped word is dropped everywhere in the batch. The other words are scaled by
    ``1 / (1 - rate)``. Apply it once per batch, before the lookup. Gal & Ghahramani
    2016; Merity, Keskar & Socher, "Regularizing and Optimizing LSTM Language Models",
    ICLR 2018.

    Raises:
        ValueError: ``rate`` is not in ``[0, 1)``.

    >>> import jax, jax.numpy as jnp
    >>> table = embedding_dropout(jax.random.key(0), jnp.ones((9, 4)), 0.5)
    >>> sorted({tuple(row) for row in table.tolist()})
    [(0.0, 0.0, 0.0, 0.0), (2.0, 2.0, 2.0, 2.0)]
    """
    check_rate("embedding_dropout rate", rate)
    keep = keep_mask(check_one_key(key), rate, (*table.shape[:1], 1))
    return drop_and_scale(jnp.broadcast_to(keep, table.shape), table, rate)


def drop_and_scale(
    keep: Bool[Array, "*S"], a: Float[Array, "*S"], rate: float
) -> Float[Array, "*S"]:
    """0 where ``keep`` is False; elsewhere ``a``, scaled to keep the expectation."""
    scale = jnp.asarray(1.0 / (1.0 - rate), a.dtype)
    drop = lambda keep, a: jnp.where(keep, a * scale, jnp.zeros_like(a))
    return leave_to_compiler(drop, (keep, a), spec_of(a))
