"""The one place that decides which value has which dtype, and how products are rounded.

The caller chooses the compute dtype. ``x``, ``h`` and the operands of every product
have the compute dtype. Sums, gate pre-activations and the cell state have the
accumulation dtype. Parameters keep their own dtype and are cast when used.
"""

from collections.abc import Callable
from typing import Any

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


def asked_precision() -> str | None:
    """What the user has set ``jax_default_matmul_precision`` to."""
    return getattr(jax.config, "jax_default_matmul_precision")  # noqa: B009


def as_asked(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` with a further argument ``asked``: the `asked_precision` of its products.

    JAX calls the rules of a primitive when the setting that held at its call may have
    ended.
    """

    def under_the_setting(*args, asked, **static):
        with jax.default_matmul_precision(asked):
            return f(*args, **static)

    return under_the_setting


def keeps_all_bits() -> bool:
    """Whether products of float32 keep all bits: unless the user asks for less.

    Three products of TF32, and six of bfloat16, keep nearly all.
    """
    full = (None, "highest", "float32", "F32_F32_F32", "F64_F64_F64")
    nearly = ("TF32_TF32_F32_X3", "BF16_BF16_F32_X6", "BF16_BF16_F32_X9")
    return asked_precision() in (*full, *nearly)


def product_precision(dtype) -> lax.Precision | None:
    """The precision of products whose factors have this dtype: all of its bits.

    By default, JAX rounds the factors of float32 products to 10 bits on many GPUs, and
    to 7 bits on a TPU. A recurrence passes such errors on from step to step. If the
    user has set ``jax_default_matmul_precision``, that setting decides.
    """
    wide = jnp.dtype(dtype) == accumulation_dtype(dtype)
    return lax.Precision.HIGHEST if wide and asked_precision() is None else None
