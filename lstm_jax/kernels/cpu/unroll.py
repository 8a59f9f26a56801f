"""`lstm_jax.unroll` for the plain LSTM in float32 and bfloat16, by the kernel."""

from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float
from lstm_jax.core.activations import TEXTBOOK
from lstm_jax.core.arguments import check_dtype, check_floating
from lstm_jax.core.cell import Cell
from lstm_jax.core.lstm import LSTMCarry, LSTMCell, LSTMParams
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.sequence import Sequence
from lstm_jax.core.unroll import unroll as unroll_by_definition
from lstm_jax.kernels.cpu import library, primitives
from lstm_jax.kernels.cpu.kernel import Operands


def unroll(
    cell: Cell,
    params: Any,
    carry: Any,
    xs: Float[Array, "T ... D"],
    *,
    dtype: Any = None,
    **options: Any,
) -> tuple[Any, Float[Array, "T ... H"]]:
    """See `lstm_jax.unroll`.

    Raises:
        NotImplementedError: the kernel does not know this cell or dtype, or there is
            none on this machine; the message says which and what to use.
    """
    if reason := unsupported(cell, xs, dtype):
        raise NotImplementedError(
            f'implementation="native" does not support this call: {reason} '
            f'Use implementation="scan", or None to choose.'
        )
    options |= {"kernel": run_by_kernel}
    return unroll_by_definition(cell, params, carry, xs, dtype=dtype, **options)


def unsupported(cell: Cell, xs: Any, dtype: Any = None) -> str | None:
    """Why the kernel cannot take this call, as a sentence; ``None`` if it can."""
    if type(cell) is not LSTMCell or cell.activations != TEXTBOOK:
        return f"the kernel knows the plain LSTMCell, not {cell!r}."
    dtype = check_floating("xs", xs).dtype if dtype is None else check_dtype(dtype)
    if (name := jnp.dtype(dtype).name) not in ("float32", "bfloat16"):
        return f"the kernel computes in float32 and bfloat16, not in {name}."
    return unavailable()


def unavailable() -> str | None:
    """Why there is no kernel on this machine; ``None`` if there is one."""
    if (backend := jax.default_backend()) != "cpu":
        return f"the kernel runs on CPUs, and JAX computes on {backend} here."
    loaded = library.load()
    return loaded if isinstance(loaded, str) else None


def run_by_kernel(
    params: LSTMParams, seq: Sequence, reverse: bool
) -> tuple[LSTMCarry, Array]:
    """The steps of a checked sequence, as `lstm_jax.unroll` asks for them."""
    reset_h, reset_c = seq.reset_carry or (None, None)
    narrow, wide = seq.xs.dtype, accumulation_dtype(seq.xs.dtype)
    at = Operands(
        xs=seq.xs,
        w_x=params.w_x.astype(narrow),
        w_h=params.w_h.astype(narrow),
        b=params.b.astype(wide),
        h0=seq.carry.h.astype(narrow),
        c0=seq.carry.c.astype(wide),
        mask=seq.mask,
        resets=seq.resets,
        reset_h=None if reset_h is None else reset_h.astype(narrow),
        reset_c=None if reset_c is None else reset_c.astype(wide),
    )
    hs, h, c = primitives.forward(at, reverse=reverse)
    return LSTMCarry(h, c), hs


# Now, so that an exported program finds the kernel in a process that only imports it.
library.load()
