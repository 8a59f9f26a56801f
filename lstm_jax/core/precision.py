"""Which dtype holds what: the one place where precision is decided.

The caller chooses the compute dtype. ``x``, ``h`` and the operands of every product
have it; sums, gate pre-activations and the cell state have its accumulation dtype.
Parameters keep their own dtype and are cast where they are used.
"""

import jax.numpy as jnp


def accumulation_dtype(dtype):
    """float32 for the 16-bit floats, ``dtype`` itself for the wider ones."""
    return jnp.dtype(jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype)
