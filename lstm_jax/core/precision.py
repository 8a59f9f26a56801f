"""The one place that decides which value has which dtype.

The caller chooses the compute dtype. ``x``, ``h`` and the operands of every product
have the compute dtype. Sums, gate pre-activations and the cell state have the
accumulation dtype. Parameters keep their own dtype and are cast when used.
"""

import jax.numpy as jnp


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
