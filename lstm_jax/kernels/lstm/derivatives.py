"""The recurrence and its derivatives, by the reference equations.

`lstm_jax.kernels.lstm.primitives` registers three functions with JAX for a kernel:

* ``forward(at)`` returns the outputs, and residuals for the other two functions.
* ``tangent(at, residuals, d)`` is the derivative in the directions ``d``, linear in
  ``d``.
* ``backward(at, residuals, d_out)`` is the transpose of ``tangent``: gradients by the
  operands, from gradients by the outputs.

The versions of ``tangent`` and ``backward`` in this file need no residuals and can be
differentiated by ``at``. The first ``groups`` batch axes have their own weights. So
directions and gradients by weights start with these ``groups`` axes.
"""

import functools
from typing import Any

import jax
from jax.sharding import PartitionSpec

from lstm_jax.core.cells.lstm import LSTMCarry, LSTMCell, LSTMParams
from lstm_jax.core.recurrence.loop import Inputs, run_with_rule
from lstm_jax.core.sharding import leave_to_compiler, spec_of, vary_alike
from lstm_jax.kernels.lstm.operands import (
    OPERAND_AXES,
    OUTPUT_AXES,
    Operands,
    Outputs,
    gradient_axes,
)


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
