"""The one place that decides which value has which dtype.

The caller chooses the compute dtype. ``x``, ``h`` and the operands of every product
have the compute dtype. Sums, gate pre-activations and the cell state have the
accumulation dtype. Parameters keep their own dtype and are cast when used.
"""

import jax.numpy as jnp


def accumulation_dtype(dtype):
    """float32 for 16-bit floats; wider dtypes stay as they are."""
    return jnp.dtype(jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype)
