"""cuDNN as a backend of `lstm_jax.unroll`: what it supports, and in which precision.

By default, cuDNN multiplies in TensorFloat32, which has 10 bits. Here it is told to
multiply in float32, as all products of this package; see
`lstm_jax.core.precision.product_precision`. If the user sets
`jax.default_matmul_precision` to less than ``"float32"``, such as ``"tensorfloat32"``
or ``"default"``, cuDNN multiplies in TensorFloat32, which is faster. cuDNN has nothing
below, so ``"bfloat16"`` means TensorFloat32 as well.

``implementation=None`` never chooses cuDNN. The choice must come from measurements, and
there are none yet.
"""

from collections.abc import Collection

import jax
from jax import lax

from lstm_jax._types import Array, Float
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.lstm import LSTMCell
from lstm_jax.core.precision import keeps_all_bits
from lstm_jax.core.primitives.activations import TEXTBOOK
from lstm_jax.core.recurrence.backends import Backend
from lstm_jax.kernels.cudnn import primitives
from lstm_jax.kernels.lstm.run import run

PRIMITIVES = {
    precision: primitives.make(precision)
    for precision in (lax.Precision.HIGHEST, lax.Precision.HIGH)
}


def unsupported(cell: Cell, xs: Float[Array, "T ... D"]) -> str | None:
    """Says why cuDNN does not support this call; ``None`` if it does."""
    if type(cell) is not LSTMCell or cell.activations != TEXTBOOK:
        return f"cuDNN knows the plain LSTMCell, not {cell!r}."
    if (name := xs.dtype.name) != "float32":
        return f"cuDNN computes in float32 here, not in {name}; pass dtype=jnp.float32."
    if not all(isinstance(n, int) for n in xs.shape):
        return f"cuDNN needs known sizes, and xs has the symbolic shape {xs.shape}."
    return unavailable()


def unsupported_flags(given: Collection[str]) -> str | None:
    """Says which of these flags cuDNN does not know; ``None`` if it knows all."""
    if "mask" in given:
        return (
            "cuDNN knows no mask; pass lengths instead if the padding is at the end of "
            "every row."
        )
    if "resets" in given:
        return (
            "cuDNN cannot reset the state inside a sequence; make each episode a row "
            "of its own, with lengths."
        )
    return None


def unavailable() -> str | None:
    """Says why this machine has no cuDNN; ``None`` if it has."""
    if (backend := jax.default_backend()) != "gpu":
        return f"cuDNN runs on NVIDIA GPUs, and JAX computes on {backend} here."
    try:
        jax.devices("cuda")
    except RuntimeError:
        return "cuDNN runs on NVIDIA GPUs, and JAX computes on another GPU here."
    return None


def precision() -> lax.Precision:
    """float32 (``HIGHEST``), unless the user asks JAX for less: then TensorFloat32
    (``HIGH``).
    """
    return lax.Precision.HIGHEST if keeps_all_bits() else lax.Precision.HIGH


def _run(cell, params, seq, reverse):
    """Runs all steps. ``seq.mask`` comes from ``lengths``, also in a chunk of them."""
    return run(PRIMITIVES[precision()], cell, params, seq, reverse)


CUDNN = Backend(unsupported, _run, explicit=True, flags=unsupported_flags)
