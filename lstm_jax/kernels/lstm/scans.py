"""The computations of a kernel, with `jax.lax.scan`.

The three functions use the `Residuals` of gates and states, as kernels that we wrote
do. So each of them may run here
or in the kernel, independent of the others: ``vmap`` can give `backward` more rows than
`forward`.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.core.cells.lstm import LSTMCarry, LSTMCell, LSTMParams
from lstm_jax.core.precision import product_precision
from lstm_jax.core.primitives.elementwise import gates
from lstm_jax.core.primitives.matmul import matmul
from lstm_jax.core.recurrence.loop import select
from lstm_jax.core.sharding import vary_alike
from lstm_jax.kernels.lstm import types
from lstm_jax.kernels.lstm.derivatives import definition
from lstm_jax.kernels.lstm.kernel import Loops
from lstm_jax.kernels.lstm.operands import Operands, Outputs
from lstm_jax.kernels.lstm.residuals import Residuals, state_before


def forward(at: Operands, *, reverse: bool, residuals: bool):
    """``Outputs``, and the ``Residuals`` or ``None``."""
    if not residuals:
        return definition(at, reverse), None
    cell, params = LSTMCell(at.h0.shape[-1]), LSTMParams(at.w_x, at.w_h, at.b)
    dot = lambda name, a: matmul(a, getattr(params, name))
    start = LSTMCarry._make((at.reset_h, at.reset_c))

    def step(carry, xs):
        gx, real, reset = xs
        if reset is not None:
            carry = select(reset, start, carry)
        seen = []

        def watched(z, **activations):
            seen.extend(gates(z, **activations))
            return seen

        stepped, h = cell.step(params, carry, gx, dot, watched)
        values = jnp.concatenate([gate.value for gate in seen], axis=-1)
        if real is not None:
            stepped = select(real, stepped, carry)
            h, values = select(real, (h, values), _zeros((h, values)))
        before = carry.h if at.flagged else None
        return stepped, (h, values, stepped.c, before)

    steps = (cell.project(params, at.xs), at.mask, at.resets)
    carry = LSTMCarry(at.h0, at.c0)
    carry, (hs, values, cs, before) = lax.scan(step, carry, steps, reverse=reverse)
    kept = Residuals(values, cs, hs if before is None else before)
    return Outputs(hs, *carry), kept


def tangent(at: Operands, residuals: Residuals, d, *, reverse: bool, groups: int):
    """The derivative of the outputs in the directions ``d``: a linear recurrence.

        dz_t = dx_t w_x + x_t dw_x + h_{t-1} dw_h + db + dh_{t-1} w_h
        dc_t = f dc_{t-1} + c_{t-1} f' dz_f + g i' dz_i + i g' dz_g
        dh_t = o (1 - tanh(c_t)^2) dc_t + tanh(c_t) o' dz_o

    In the first line, all terms but the last are known before the loop.
    """
    return _linear(vary_alike(at, (at, d)), residuals, d, reverse, groups)


def _linear(at, residuals, d, reverse, groups):
    w_t, wide = at.w_h.T, at.c0.dtype
    zeros = _zeros(LSTMCarry(at.h0, at.c0))
    d_carry, d_reset = (
        LSTMCarry(d.get(h, zeros.h), d.get(c, zeros.c))
        for h, c in (("h0", "c0"), ("reset_h", "reset_c"))
    )

    def step(d_carry, xs):
        d_gx, values, c_before, c, real, reset = xs
        if reset is not None:
            d_carry = select(reset, d_reset, d_carry)
        d_z = d_gx.astype(wide) + matmul(d_carry.h, w_t, transpose_w=True)
        (i, f, g, o), y = jnp.split(values, 4, axis=-1), jnp.tanh(c)
        d_i, d_f, d_g, d_o = jnp.split(d_z, 4, axis=-1)
        d_c = f * d_carry.c + c_before * f * (1 - f) * d_f
        d_c += g * i * (1 - i) * d_i + i * (1 - g * g) * d_g
        d_h = o * (1 - y * y) * d_c + y * o * (1 - o) * d_o
        d_h = d_h.astype(at.h0.dtype)
        stepped = LSTMCarry(d_h, d_c)
        if real is not None:
            stepped = select(real, stepped, d_carry)
            d_h = select(real, d_h, jnp.zeros_like(d_h))
        return stepped, d_h

    d_gx = _known_before(at, residuals, d, reverse, groups)
    cs = cells_before(at, residuals.cs, reverse)
    steps = (d_gx, residuals.gates, cs, residuals.cs, at.mask, at.resets)
    d_carry = vary_alike(d_carry, at)
    d_carry, d_hs = lax.scan(step, d_carry, steps, reverse=reverse)
    return Outputs(d_hs, *d_carry)


def backward(
    at: Operands,
    residuals: Residuals,
    d_out: Outputs,
    *,
    wrt: tuple[str, ...],
    reverse: bool,
    groups: int,
):
    """The transpose of `tangent`: gradients by the operands ``wrt``, by name."""
    # Make `at` vary like the outputs, so that no gradient is summed over a mesh here.
    at = vary_alike(at, (at, d_out))
    linear = lambda d: _linear(at, residuals, d, reverse, groups)
    like = types.gradients(at, d_out, None, wrt=wrt, groups=groups)
    return jax.linear_transpose(linear, like)(d_out)[0]


def _known_before(at, residuals, d, reverse, groups):
    """The derivative of the pre-activations by all operands but the state."""
    terms = []
    if "xs" in d:
        terms.append(matmul(d["xs"], at.w_x))
    if "w_x" in d:
        terms.append(_product(at.xs, d["w_x"], groups))
    if "w_h" in d:
        before = state_before(at, residuals.hs, reverse)
        terms.append(_product(before, d["w_h"], groups))
    if "b" in d:
        shape = residuals.gates.shape
        rank = len(shape) - 2 - groups
        b = d["b"].reshape(*d["b"].shape[:-1], *(1,) * rank, shape[-1])
        terms.append(jnp.broadcast_to(b, shape))
    if not terms:
        return vary_alike(jnp.zeros_like(residuals.gates), at)
    return sum(terms[1:], terms[0])


def _product(a, w, groups):
    """``a @ w``, where the first ``groups`` batch axes have their own weights."""
    if not groups:
        return matmul(a, w)
    T, *batch, K = a.shape
    leading, rows = batch[:groups], T * math.prod(batch[groups:])
    by_group = jnp.moveaxis(a, 0, groups).reshape(*leading, rows, K)
    precision = product_precision(a.dtype)
    out = jnp.matmul(by_group, w.astype(a.dtype), precision=precision)
    out = out.reshape(*leading, T, *batch[groups:], w.shape[-1])
    return jnp.moveaxis(out, groups, 0)


def cells_before(at, cs, reverse):
    """``c`` before each step: from the step before, or the reset state."""
    pieces = (cs[1:], at.c0[None]) if reverse else (at.c0[None], cs[:-1])
    before = jnp.concatenate(pieces)
    if at.resets is None:
        return before
    start = jnp.broadcast_to(at.reset_c, before.shape)
    return select(at.resets, start, before)


def _zeros(tree):
    return jax.tree.map(jnp.zeros_like, tree)


SCANS = Loops(forward, tangent, backward)
