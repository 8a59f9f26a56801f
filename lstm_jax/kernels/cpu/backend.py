"""The kernel as a backend of `lstm_jax.unroll`: what it supports, and where it pays.

At the edges of float32 the kernel and the scan differ. The scan computes ``sigmoid(z)``
as ``(1 + tanh(z / 2)) / 2``, which is 0 from about ``z = -16`` down. The kernel
computes ``1 / (1 + exp(-z))``, right to 4 units in the last place down to ``z = -88``,
and 0 below. So an infinite state or gradient times a gate between the two is NaN by the
scan, and may be infinite or finite by the kernel. Factors come in another order, so a
product near the largest float32 may overflow by one of them alone. Otherwise infinities
and NaN in the arguments give NaN at the same places, in values and gradients.

Where memory for the kernel's own order of weights or inputs is missing, a call raises
``jax.errors.JaxRuntimeError``, RESOURCE_EXHAUSTED.
"""

import functools

import jax

from lstm_jax._types import Array, Float
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.lstm import LSTMCell
from lstm_jax.core.primitives.activations import TEXTBOOK
from lstm_jax.core.recurrence.backends import Backend
from lstm_jax.kernels.cpu import library
from lstm_jax.kernels.cpu.primitives import PRIMITIVES
from lstm_jax.kernels.lstm.run import run


def unsupported(cell: Cell, xs: Float[Array, "T ... D"]) -> str | None:
    """Says why the kernel does not support this call; ``None`` if it does."""
    if type(cell) is not LSTMCell or cell.activations != TEXTBOOK:
        return f"the kernel knows the plain LSTMCell, not {cell!r}."
    if (name := xs.dtype.name) not in ("float32", "bfloat16"):
        return f"the kernel computes in float32 and bfloat16, not in {name}."
    return unavailable()


def unavailable() -> str | None:
    """Says why this machine has no kernel; ``None`` if it has one."""
    if (backend := jax.default_backend()) != "cpu":
        return f"the kernel runs on CPUs, and JAX computes on {backend} here."
    loaded = library.load()
    return loaded if isinstance(loaded, str) else None


def slower(cell: Cell, xs: Float[Array, "T ... D"]) -> str | None:
    """Says why the kernel does not support this call, or is slower for
    any batch size.
    """
    if reason := unsupported(cell, xs):
        return reason
    if not all(isinstance(n, int) for n in xs.shape):
        return "the kernel takes known sizes, not symbols of jax.export."
    # The kernel first packs the weights. A few steps do not make up for that. For large
    # bfloat16 products, XLA uses special instructions of the CPU. The limits were
    # measured on two cores.
    if len(xs) < 4:
        return "the scan is faster for fewer than 4 steps."
    if _small(cell, xs) or _narrow_products(xs):
        return None
    if len(xs) < 16:
        return "the scan is faster for large weights and fewer than 16 steps."
    if xs.dtype.itemsize < 4:
        used = library.instruction_set()
        return f"the scan is faster for large weights in 16 bits than {used}."
    return None


def _narrow_products(xs):
    return xs.dtype.itemsize < 4 and library.multiplies_bfloat16()


def _small(cell, xs):
    D = xs.shape[-1]
    return 4 * cell.hidden_size * (D + cell.hidden_size) <= 2**18


def _run(least_rows, cell, params, seq, reverse):
    """Runs all steps, with the kernel if there are ``least_rows`` rows or more."""
    least = least_rows(cell, seq.xs)
    return run(PRIMITIVES, cell, params, seq, reverse, least_rows=least)


def _any_number(cell, xs):
    """A call that names the kernel always gets it."""
    del cell, xs
    return 0


def _enough_to_pay(cell, xs):
    """The number of rows, over all steps, from which the kernel is faster than the
    scan.
    """
    return 1 if _small(cell, xs) or _narrow_products(xs) else 100


NATIVE = Backend(unsupported, functools.partial(_run, _any_number), explicit=True)
FASTEST = Backend(slower, functools.partial(_run, _enough_to_pay), explicit=True)
"""The kernel, or the scan if the lowered program has few rows."""

# Load now, so that a process that only imports the package can run exported programs.
library.load()
