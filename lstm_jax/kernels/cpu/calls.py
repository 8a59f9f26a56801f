"""The two calls into the library, forward and backward, on flat batches.

The library reads and writes float32. For bfloat16 it rounds the weights, and ``h`` at
every step, so a sequence in pieces gives the same numbers. All sums, gates and cell
states are float32. With AMX or AVX512-BF16, it multiplies 16-bit numbers. So it also
rounds the gradient by the pre-activations, for these products.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.kernels.cpu import library
from lstm_jax.kernels.lstm.operands import Operands, Outputs
from lstm_jax.kernels.lstm.residuals import Residuals


def forward(at: Operands, *, reverse: bool, residuals: bool):
    """``Outputs``, and the ``Residuals`` or ``None``.

    Raises:
        NotImplementedError: there is no library; the message says why.
    """
    flat, shape = _flatten(at)
    T, B, H = shape.T, shape.B, shape.H
    gates, cs = ((T, B, 4 * H), (T, B, H)) if residuals else ((0,), (0,))
    operands = (T, B, H) if residuals and at.flagged else (0,)
    call = jax.ffi.ffi_call(
        library.target("forward"),
        _floats((T, B, H), (B, H), (B, H), gates, cs, operands),
    )
    dtype = at.h0.dtype
    *out, gates, cs, operands = call(
        *flat, reverse=reverse, bfloat16=dtype == jnp.bfloat16
    )
    hs, h, c = map(shape.unflatten, out, (1, 0, 0))
    out = Outputs(hs.astype(dtype), h.astype(dtype), c)
    if not residuals:
        return out, None
    hs = shape.unflatten(operands, 1).astype(dtype) if at.flagged else out.hs
    return out, Residuals(shape.unflatten(gates, 1), shape.unflatten(cs, 1), hs)


def backward(
    at: Operands,
    residuals: Residuals,
    d_out: Outputs,
    *,
    wrt: tuple[str, ...],
    reverse: bool,
):
    """Gradients by the operands ``wrt``, in their shapes, and by the pre-activations
    ``z`` ``[T, ..., 4H]``; all by name.

    Raises:
        NotImplementedError: there is no library; the message says why.
    """
    flat, shape = _flatten(at)
    T, B, H = shape.T, shape.B, shape.H
    xs, w_x, w_h, _, h0, c0, *flags = flat
    d_hs, d_h, d_c = d_out
    d_hs = d_hs.reshape(T, B, H)
    arrays = _as_floats(
        residuals.gates.reshape(T, B, 4 * H),
        *(xs, w_x, w_h, h0, c0),
        residuals.cs.reshape(T, B, H),
        residuals.hs.reshape(T, B, H),
        d_hs,
        d_h.reshape(B, H),
        d_c.reshape(B, H),
    )
    products = {name: getattr(at, name) for name in ("xs", "w_x", "w_h", "b")}
    wanted = [
        a.shape if name in wrt else (0,)
        for name, a in zip(products, (xs, w_x, w_h, at.b), strict=True)
    ]
    reset = (B, H) if at.resets is not None else (0,)
    # dz reuses the memory of the gates. If the shapes agree, dx reuses the memory of
    # d_hs, whose rows have been read by then.
    aliases = {0: 0} | ({8: 1} if xs.shape == d_hs.shape and "xs" in wrt else {})
    call = jax.ffi.ffi_call(
        library.target("backward16" if at.h0.dtype == jnp.bfloat16 else "backward"),
        _floats((T, B, 4 * H), *wanted, (B, H), (B, H), reset, reset),
        input_output_aliases=aliases,
    )
    dz, *gradients = call(*arrays, *flags, reverse=reverse)
    names = (*products, "h0", "c0", "reset_h", "reset_c")
    named = dict(zip(names, gradients, strict=True))
    like = lambda d, a: d.reshape(a.shape).astype(a.dtype)
    by = {name: like(named[name], getattr(at, name)) for name in wrt}
    return {"z": shape.unflatten(dz, 1), **by}


class _Shape(NamedTuple):
    T: int
    batch: tuple[int, ...]
    B: int
    H: int

    def unflatten(self, a, time_axes):
        return a.reshape(*a.shape[:time_axes], *self.batch, a.shape[-1])


def _flatten(at):
    """Merges all batch axes. Absent operands become arrays without elements."""
    T, *batch, D = at.xs.shape
    H = at.w_h.shape[0]
    B = at.h0.size // H
    shape = _Shape(T, tuple(batch), B, H)
    no_flags, no_state = jnp.zeros(0, bool), jnp.zeros(0, jnp.float32)
    flags = lambda a: no_flags if a is None else a.reshape(T, B)
    state = lambda a: no_state if a is None else a.reshape(B, H)
    flat = _as_floats(
        at.xs.reshape(T, B, D),
        at.w_x,
        at.w_h,
        at.b,
        state(at.h0),
        state(at.c0),
        flags(at.mask),
        flags(at.resets),
        state(at.reset_h),
        state(at.reset_c),
    )
    return flat, shape


def _as_floats(*arrays):
    return [a if a.dtype == bool else a.astype(jnp.float32) for a in arrays]


def _floats(*shapes):
    return [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
