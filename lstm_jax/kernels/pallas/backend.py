"""The kernel as a backend of `lstm_jax.unroll`.

It was written and tested on a CPU, in the interpreter of Pallas, and is lowered for
CUDA by the tests. It has not run on a GPU yet, so no call uses it unless it is named.
"""

from typing import Any

import jax

from lstm_jax._types import Array, Float
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.lstm import LSTMCell
from lstm_jax.core.primitives.activations import TEXTBOOK
from lstm_jax.core.recurrence.backends import Backend
from lstm_jax.core.recurrence.sequence import Sequence
from lstm_jax.kernels.lstm.run import run
from lstm_jax.kernels.pallas.blocks import too_large


def unsupported(cell: Cell, xs: Float[Array, "T ... D"]) -> str | None:
    """Says why the kernel does not support this call; ``None`` if it does."""
    if type(cell) is not LSTMCell or cell.activations != TEXTBOOK:
        return f"the kernel knows the plain LSTMCell, not {cell!r}."
    if (name := xs.dtype.name) not in ("float32", "bfloat16"):
        return f"the kernel computes in float32 and bfloat16, not in {name}."
    if not all(isinstance(n, int) for n in xs.shape):
        return "the kernel takes known sizes, not symbols of jax.export."
    return unavailable() or too_large(cell.hidden_size, xs.dtype)


def unavailable() -> str | None:
    """Says why this machine has no such kernel; ``None`` if it has one."""
    device = jax.devices()[0]
    if device.platform != "gpu":
        return f"the kernel runs on NVIDIA GPUs, and JAX computes on {device.platform}."
    if "rocm" in device.client.platform_version.lower():
        return "the kernel runs on NVIDIA GPUs, and this one is by AMD."
    return None


def _run(cell: Any, params: Any, seq: Sequence, reverse: bool):
    # Pallas takes a while to import, and not every build of jaxlib has Triton.
    from lstm_jax.kernels.pallas.primitives import PRIMITIVES

    return run(PRIMITIVES, cell, params, seq, reverse)


PALLAS = Backend(unsupported, _run, explicit=True)
