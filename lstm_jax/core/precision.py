"""The one place that decides which value has which dtype, and how products are rounded.

The caller chooses the compute dtype. ``x``, ``h`` and the operands of every product
have the compute dtype. Sums, gate pre-activations and the cell state have the
accumulation dtype. Parameters keep their own dtype and are cast when used.
"""

import jax
import jax.numpy as jnp
from jax import lax


def accumulation_dtype(dtype):
    """float32 for 16-bit floats; wider dtypes stay as they are."""
    return jnp.dtype(jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype)


def cotangent_dtype(dtype):
    """The dtype to which a product with operands of ``dtype`` casts the gradient that
    comes in.

    bfloat16 has the range of float32, so its gradients are products of 16 bits, too.
    Gradients in float16 would often be 0, so they stay in float32.
    """
    dtype = jnp.dtype(dtype)
    return dtype if dtype == jnp.bfloat16 else accumulation_dtype(dtype)


def product_precision(dtype) -> lax.Precision | None:
    """The precision of products whose factors have this dtype: all of its bits.

    By default, JAX rounds the factors of float32 products to 10 bits on many GPUs, and
    to 7 bits on a TPU. A recurrence passes such errors on from step to step. If the
    user has set ``jax_default_matmul_precision``, that setting decides.
    """
    asked = getattr(jax.config, "jax_default_matmul_precision")  # noqa: B009
    wide = jnp.dtype(dtype) == accumulation_dtype(dtype)
    return lax.Precision.HIGHEST if wide and asked is None else None
