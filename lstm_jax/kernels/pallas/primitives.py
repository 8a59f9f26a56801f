"""The kernel as primitives of JAX."""

import functools
from typing import Any

import jax.numpy as jnp

from lstm_jax._types import Array
from lstm_jax.core.cells.lstm import LSTMCell, LSTMParams
from lstm_jax.core.precision import cotangent_dtype
from lstm_jax.core.primitives.elementwise import add_bias
from lstm_jax.core.primitives.matmul import matmul
from lstm_jax.core.recurrence.loop import select
from lstm_jax.kernels.lstm import residuals, scans
from lstm_jax.kernels.lstm.binding import Primitives
from lstm_jax.kernels.lstm.kernel import Kernel
from lstm_jax.kernels.lstm.operands import Operands, Outputs
from lstm_jax.kernels.lstm.primitives import primitives_of
from lstm_jax.kernels.lstm.residuals import Residuals
from lstm_jax.kernels.pallas import backward, forward


def make(name: str, platforms: tuple[str, ...], *, interpret: bool) -> Primitives:
    """The kernel for these platforms, or in the interpreter of Pallas."""
    return primitives_of(
        Kernel(
            name=name,
            platforms=platforms,
            forward=functools.partial(_forward, interpret),
            backward=functools.partial(_backward, interpret),
            scans=scans.SCANS,
            residuals=residuals.zero_residuals,
            residual_axes=residuals.RESIDUAL_AXES,
        )
    )


def _forward(interpret, at: Operands, *, reverse: bool, residuals: bool):
    shape, narrow = _Shape(at), at.h0.dtype
    gx = LSTMCell(shape.H).project(LSTMParams(at.w_x, at.w_h, at.b), at.xs)
    gx = add_bias(gx.astype(at.c0.dtype), at.b)
    steps = forward.Steps(shape.steps(gx), *shape.flags(at, reverse))
    start, reset = (
        forward.State(shape.rows(h), shape.rows(c))
        for h, c in ((at.h0, at.c0), (at.reset_h, at.reset_c))
    )
    if at.resets is not None:
        start = select(shape.first_resets(at, reverse), reset, start)
    state, out = forward.run(
        at.w_h,
        steps,
        start,
        reset,
        reverse=reverse,
        residuals=residuals,
        interpret=interpret,
    )
    by_step = {name: shape.unflatten(a, 1) for name, a in out.items()}
    h, c = (shape.unflatten(a, 0) for a in state)
    outputs = Outputs(by_step["hs"], h, c)
    if not residuals:
        return outputs, None
    hs = by_step["before"] if at.flagged else outputs.hs
    return outputs, Residuals(by_step["gates"], by_step["cs"], hs.astype(narrow))


def _backward(
    interpret,
    at: Operands,
    kept: Residuals,
    d_out: Outputs,
    *,
    wrt: tuple[str, ...],
    reverse: bool,
    groups: int,
) -> dict[str, Any]:
    shape, narrow = _Shape(at), at.h0.dtype
    steps = backward.Steps(
        shape.steps(d_out.hs),
        shape.steps(kept.gates),
        shape.steps(kept.cs),
        shape.steps(scans.cells_before(at, kept.cs, reverse)),
        *shape.flags(at, reverse),
    )
    d_h, d_c = (shape.rows(d).astype(jnp.float32) for d in (d_out.h, d_out.c))
    w_h = at.w_h.astype(narrow)
    found = backward.run(w_h, steps, d_h, d_c, reverse=reverse, interpret=interpret)
    dz = shape.unflatten(found.z, 1)
    states = _by_states(shape, at, found, reverse)
    gradients = {name: shape.unflatten(a, 0) for name, a in states.items()}
    gradients |= residuals.weight_gradients(
        at,
        kept.hs,
        dz,
        wrt,
        reverse=reverse,
        groups=groups,
        factors=cotangent_dtype(narrow),
    )
    if "xs" in wrt:
        gradients["xs"] = matmul(dz.astype(narrow), at.w_x, transpose_w=True)
    return {name: gradients[name].astype(getattr(at, name).dtype) for name in wrt}


def _by_states(shape, at, found, reverse):
    """The gradients by states: those by the state before the first step go to the reset
    state in rows that the first step resets.
    """
    if at.resets is None:
        return {"h0": found.h, "c0": found.c}
    first = shape.first_resets(at, reverse)
    by = {}
    for name in ("h", "c"):
        d = getattr(found, name)
        zero = jnp.zeros_like(d)
        by[name + "0"] = select(first, zero, d)
        by["reset_" + name] = getattr(found, "reset_" + name) + select(first, d, zero)
    return by


class _Shape:
    """Merges all batch axes, and separates them again."""

    def __init__(self, at: Operands):
        self.T, *self.batch, _ = at.xs.shape
        self.H = at.w_h.shape[0]
        self.B = at.h0.size // self.H

    def steps(self, a: Array) -> Array:
        return a.reshape(self.T, self.B, a.shape[-1])

    def rows(self, a: Array | None) -> Any:
        return None if a is None else a.reshape(self.B, self.H)

    def flags(self, at: Operands, reverse: bool) -> tuple[Array | None, Array | None]:
        """The mask, and the resets after each step instead of before it."""
        mask, resets = (
            None if a is None else a.reshape(self.T, self.B)
            for a in (at.mask, at.resets)
        )
        if resets is not None:
            none = jnp.zeros_like(resets[:1])
            pieces = (none, resets[:-1]) if reverse else (resets[1:], none)
            resets = jnp.concatenate(pieces)
        return mask, resets

    def first_resets(self, at: Operands, reverse: bool) -> Array:
        assert at.resets is not None
        return at.resets[-1 if reverse else 0].reshape(self.B)

    def unflatten(self, a: Array, axis: int) -> Array:
        return a.reshape(*a.shape[:axis], *self.batch, a.shape[-1])


PRIMITIVES = make("lstm_jax_pallas", ("cuda",), interpret=False)
