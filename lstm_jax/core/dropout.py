"""Dropout whose mask is a function of (key, absolute step), and of nothing else.

However a sequence is cut (streamed, resumed, recomputed in chunks), each step sees the
mask it would see in one call.
"""

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float, Key


def dropout(
    key: Key[Array, ""], xs: Float[Array, "T *B D"], rate: float, start: int | Array = 0
) -> Float[Array, "T *B D"]:
    """Zeroes a share ``rate`` of ``xs`` and scales the rest by ``1 / (1 - rate)``.

    Srivastava et al., "Dropout", JMLR 15, 2014. ``start`` is the absolute step of
    ``xs[0]``; ``rate`` lies in ``[0, 1)``.
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"dropout rate is {rate}, expected a number in [0, 1).")
    if rate == 0.0:
        return xs
    steps = start + jnp.arange(xs.shape[0])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, steps)
    draw = lambda key: jax.random.bernoulli(key, 1.0 - rate, xs.shape[1:])
    scale = jnp.asarray(1.0 / (1.0 - rate), xs.dtype)
    return jnp.where(jax.vmap(draw)(keys), xs * scale, jnp.zeros_like(xs))
