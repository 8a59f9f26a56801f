"""Flax's linear layer, with products that keep all bits of float32."""

import functools

from flax import nnx
from jax import lax

from lstm_jax._types import Array
from lstm_jax.core.precision import product_precision


def dot_general(a: Array, b: Array, dimensions, precision=None, **options) -> Array:
    """`jax.lax.dot_general`, in the precision of the products of this package; see
    `lstm_jax.core.precision.product_precision`.
    """
    precision = precision or product_precision(a.dtype)
    return lax.dot_general(a, b, dimensions, precision, **options)


Linear = functools.partial(nnx.Linear, dot_general=dot_general)
"""`flax.nnx.Linear`, from ``[..., in]`` to ``[..., out]``, in this precision."""
