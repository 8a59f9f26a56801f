"""Dropout whose mask is a function of (key, absolute step), and of nothing else.

However a sequence is cut (streamed, resumed, recomputed in chunks), each step sees the
mask it would see in one call.
"""

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Bool, Float, Int, Key
from lstm_jax.core.checks import check_rate


def dropout(
    key: Key[Array, ""],
    xs: Float[Array, "T *B D"],
    rate: float,
    start: int | Array = 0,
    *,
    locked: bool = False,
) -> Float[Array, "T *B D"]:
    """Zeroes a share ``rate`` of ``xs`` and scales the rest by ``1 / (1 - rate)``.

    Srivastava et al., "Dropout", JMLR 15, 2014. ``start`` is the absolute step of
    ``xs[0]``; ``rate`` lies in ``[0, 1)``. ``locked`` takes one mask for all steps, a
    function of the key alone: the variational dropout of Gal & Ghahramani, "A
    Theoretically Grounded Application of Dropout in Recurrent Neural Networks", 2016.
    """
    check_rate("dropout rate", rate)
    if rate == 0.0:
        return xs
    if locked:
        keep = jnp.broadcast_to(keep_mask(key, rate, xs.shape[1:]), xs.shape)
    else:
        keep = keep_masks(key, steps_from(start, xs.shape[0]), rate, xs.shape[1:])
    return scaled(keep, xs, rate)


def steps_from(start: int | Array, count: int) -> Int[Array, "T"]:
    """``count`` absolute steps from ``start`` on."""
    return jnp.asarray(start, jnp.int32) + jnp.arange(count, dtype=jnp.int32)


def keep_mask(key: Key[Array, ""], rate: float, shape: tuple) -> Bool[Array, "..."]:
    """True with probability ``1 - rate``."""
    return jax.random.bernoulli(key, 1.0 - rate, shape)


def keep_masks(
    key: Key[Array, ""], steps: Int[Array, "T"], rate: float, shape: tuple
) -> Bool[Array, "T ..."]:
    """A mask of ``shape`` for each of the absolute ``steps``."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, steps)
    return jax.vmap(lambda key: keep_mask(key, rate, shape))(keys)


def scaled(keep: Bool[Array, "*B"], xs: Float[Array, "*B"], rate: float):
    """``xs`` where kept, scaled so that the expectation stays, and 0 elsewhere."""
    scale = jnp.asarray(1.0 / (1.0 - rate), xs.dtype)
    return jnp.where(keep, xs * scale, jnp.zeros_like(xs))
