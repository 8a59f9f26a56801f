"""Initialisers of gate weights.

A fused ``[n, 4H]`` matrix is four matrices side by side. Each is drawn on its own:
one draw for all four would make Glorot's fan wrong and would not be orthogonal for any
gate. Draws are float32 and cast afterwards, since QR has no 16-bit form.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float, Key
from lstm_jax.core.precision import accumulation_dtype

Initializer = Callable[..., Array]
"""``(key, shape, dtype) -> array``, as in ``jax.nn.initializers``."""

glorot = jax.nn.initializers.glorot_uniform()
"""Glorot & Bengio 2010: the default of input weights."""

orthogonal = jax.nn.initializers.orthogonal()
"""Saxe, McClelland & Ganguli 2014: the default of recurrent weights."""

zeros = jax.nn.initializers.zeros


def uniform(scale: float) -> Initializer:
    """U(-scale, scale); torch uses ``scale = 1/sqrt(H)`` for every tensor."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -scale, scale)

    return init


def per_gate(
    initializer: Initializer,
    key: Key[Array, ""],
    shape: tuple[int, ...],
    gates: int,
    dtype=jnp.float32,
) -> Float[Array, "*N gH"]:
    """``gates`` independent draws of ``[..., n, H]``, side by side."""
    keys = jax.random.split(key, gates)
    draws = [initializer(k, shape, accumulation_dtype(dtype)) for k in keys]
    return jnp.concatenate(draws, axis=-1).astype(dtype)
