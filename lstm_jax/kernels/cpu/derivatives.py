"""The recurrence and its derivatives, by the reference equations and by the kernel.

`lstm_jax.kernels.cpu.primitives` registers three functions with JAX:

* ``forward(at)`` returns the outputs, and residuals for the other two functions.
* ``tangent(at, residuals, d)`` is the derivative in the directions ``d``, linear in
  ``d``.
* ``backward(at, residuals, d_out)`` is the transpose of ``tangent``: gradients by the
  operands, from gradients by the outputs.

The reference versions of ``tangent`` and ``backward`` need no residuals and can be
differentiated by ``at``. The first ``groups`` batch axes have their own weights. So
directions and gradients by weights start with these ``groups`` axes.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from lstm_jax._types import Array
from lstm_jax.core.cells.lstm import LSTMCarry, LSTMCell, LSTMParams
from lstm_jax.core.recurrence.loop import Inputs, run_with_rule
from lstm_jax.core.sharding import leave_to_compiler, spec_of, vary_alike
from lstm_jax.kernels.cpu import calls
from lstm_jax.kernels.cpu.calls import Operands, Outputs, Residuals
from lstm_jax.kernels.cpu.shards import Place, rows_of, zeros

# The index at which the batch axes of each array start.
OPERAND_AXES = Operands._make([1, None, None, None, 0, 0, 1, 1, 0, 0])
RESIDUAL_AXES = Residuals._make([1, 1, 1])
OUTPUT_AXES = Outputs._make([1, 0, 0])


def gradient_axes(names) -> dict[str, int]:
    """The same for gradients. Gradients by weights start with the groups."""
    axes = OPERAND_AXES._asdict()
    return {name: axes[name] or 0 for name in names}


def places(at, residuals=None, linear=None, *, groups=0) -> list[Place]:
    """The place of the batch axes in every array of a call, in the
    order of the leaves.
    """
    axes = {Operands: OPERAND_AXES, Residuals: RESIDUAL_AXES, Outputs: OUTPUT_AXES}
    n, found = at.h0.ndim - 1, []
    for arrays in (at, residuals, linear):
        if isinstance(arrays, dict):
            found += gradient_places(arrays, n, groups)
        elif arrays is not None:
            pairs = zip(axes[type(arrays)], arrays, strict=True)
            found += [_place(axis, n) for axis, a in pairs if a is not None]
    return found


def gradient_places(names, n: int, groups: int) -> list[Place]:
    """The same for gradients by these operands, with ``n`` batch axes."""
    axes = OPERAND_AXES._asdict()
    of = lambda axis: Place(0, groups) if axis is None else Place(axis, n)
    return [of(axes[name]) for name in sorted(names)]


def output_places(n: int) -> list[Place]:
    """The same for outputs, and for the residuals that may follow them."""
    return [_place(axis, n) for axis in (*OUTPUT_AXES, *RESIDUAL_AXES)]


def _place(axis, n):
    return Place(None, 0) if axis is None else Place(axis, n)


def definition(at: Operands, reverse: bool) -> Outputs:
    """The reference: the computation of `lstm_jax.unroll`."""
    steps = PartitionSpec(*spec_of(at.xs)[:-1], None)
    specs: Any = Outputs._make((steps, spec_of(at.h0), spec_of(at.c0)))
    return leave_to_compiler(functools.partial(_definition, reverse), (at,), specs)


def _definition(reverse, at):
    cell = LSTMCell(at.w_h.shape[0])
    reset_carry = LSTMCarry._make((at.reset_h, at.reset_c))
    params = LSTMParams(at.w_x, at.w_h, at.b)
    gx = cell.project(params, at.xs)
    inputs = Inputs.of(cell, params, LSTMCarry(at.h0, at.c0), gx)._replace(
        reset_carry=None if at.resets is None else reset_carry,
        mask=at.mask,
        resets=at.resets,
    )
    carry, hs = run_with_rule(cell, LSTMParams, reverse, inputs)
    return Outputs(hs, *carry)


def tangent(at, d, *, reverse, groups):
    """The derivative of the outputs in the directions ``d``, by the reference
    equations.
    """

    def derivative(at, d):
        f, by = _function_of(d, at, reverse)
        return jax.jvp(f, (by,), (d,))[1]

    for _ in range(groups):
        axes = (_present(at), gradient_axes(d))
        derivative = jax.vmap(derivative, axes, OUTPUT_AXES)
    return derivative(at, d)


def backward(at, d_out, *, wrt, reverse, groups):
    """The gradients by the operands ``wrt``, by the reference equations."""
    # `jax.shard_map` would sum the gradients of replicated weights over the mesh. Here
    # the caller does the sum.
    at = vary_alike(at, (at, d_out))

    def gradient(at, d_out):
        f, by = _function_of(wrt, at, reverse)
        return jax.vjp(f, by)[1](d_out)[0]

    for _ in range(groups):
        axes = (_present(at), OUTPUT_AXES)
        gradient = jax.vmap(gradient, axes, gradient_axes(wrt))
    return gradient(at, d_out)


def _function_of(names, at, reverse):
    """The reference as a function of these operands only, and their values."""
    by = {name: getattr(at, name) for name in names}
    return lambda by: definition(at._replace(**by), reverse), by


def _present(at):
    pairs = zip(at, OPERAND_AXES, strict=True)
    return Operands._make(None if a is None else axis for a, axis in pairs)


def forward_by_kernel(at, *, reverse, residuals):
    if at.h0.size == 0:  # an empty axis under vmap
        return forward_shapes(at, reverse=reverse, residuals=residuals)
    return calls.forward(at, reverse=reverse, residuals=residuals)


def backward_by_kernel(at, residuals, d_out, *, wrt, reverse, groups):
    if at.h0.size == 0:
        static = dict(wrt=wrt, reverse=reverse, groups=groups)
        return backward_shapes(at, residuals, d_out, **static)
    call = functools.partial(calls.backward, at, residuals, d_out, reverse=reverse)
    if not groups:
        gradients = call(wrt=wrt)
        return {name: gradients[name] for name in wrt}
    apart = {"w_x", "w_h", "b"}
    gradients = call(wrt=tuple(name for name in wrt if name not in apart))
    dz = gradients["z"]
    if "w_x" in wrt:
        gradients["w_x"] = _outer_products(at.xs, dz, groups)
    if "w_h" in wrt:
        before = state_before(at, residuals.hs, reverse)
        gradients["w_h"] = _outer_products(before, dz, groups)
    if "b" in wrt:
        gradients["b"] = dz.sum(axis=(0, *range(1 + groups, dz.ndim - 1)))
    return {name: gradients[name].astype(getattr(at, name).dtype) for name in wrt}


def state_before(at: Operands, hs: Array, reverse: bool) -> Array:
    """The operand of ``w_h``, from the residual ``hs``."""
    if calls.flagged(at):
        return hs
    pieces = (hs[1:], at.h0[None]) if reverse else (at.h0[None], hs[:-1])
    return jnp.concatenate(pieces)


def _outer_products(a, g, groups):
    """``a.T @ g`` over time and over all batch axes but the first ``groups``."""
    T, *batch = a.shape[:-1]
    apart, rows = batch[:groups], T * math.prod(batch[groups:])

    def flat(x):
        x = x.reshape(T, *apart, rows // T, x.shape[-1])
        return jnp.moveaxis(x, 0, groups).reshape(*apart, rows, x.shape[-1])

    leading = tuple(range(groups))
    axes = (((groups,), (groups,)), (leading, leading))
    a, g = flat(a).astype(g.dtype), flat(g)
    return lax.dot_general(a, g, axes, preferred_element_type=g.dtype)


# ------------------------------------------------ shapes: zeros that vary likewise


def forward_shapes(at, *, reverse, residuals):
    del reverse
    out, kept = _zeros(at, rows_of(_arrays(at), places(at)))
    return vary_alike((out, kept if residuals else None), at)


def tangent_shapes(at, residuals, d, *, reverse, groups):
    del reverse
    rows = rows_of(_arrays(at, residuals, d), places(at, residuals, d, groups=groups))
    return vary_alike(_zeros(at, rows)[0], (at, d))


def backward_shapes(at, residuals, d_out, *, wrt, reverse, groups):
    del reverse
    arrays = {name: getattr(at, name) for name in wrt}
    rows = rows_of(_arrays(at, residuals, d_out), places(at, residuals, d_out))
    if groups:
        for name in {"w_x", "w_h", "b"} & arrays.keys():
            shape = (*at.h0.shape[:groups], *arrays[name].shape)
            arrays[name] = zeros(shape, arrays[name].dtype, rows, Place(0, groups))
    return vary_alike(jax.tree.map(jnp.zeros_like, arrays), (at, d_out))


def _zeros(at, rows):
    (T, *batch, _), H = at.xs.shape, at.h0.shape[-1]
    row, step = (Place(axis, len(batch)) for axis in (0, 1))
    steps = lambda n, like: zeros((T, *batch, n), like.dtype, rows, step)
    state = lambda like: zeros((*batch, H), like.dtype, rows, row)
    hs, gates, cs = steps(H, at.h0), steps(4 * H, at.c0), steps(H, at.c0)
    return Outputs(hs, state(at.h0), state(at.c0)), Residuals(gates, cs, hs)


def _arrays(*args):
    return jax.tree.leaves(args)
