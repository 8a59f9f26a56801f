"""The loop over the steps of a cell, and the derivative rule of every such loop.

JAX's derivative of the textbook scan reads and writes the gradient of every recurrent
weight at every backward step. The rule here moves those products out of the loop:

1. The cell multiplies through ``dot(name, a)``, and the rule stores the operand ``a``
of every step.
2. The rule linearises the scan with constant weights.
3. It computes the perturbation ``a @ dw`` as one product over all steps, and adds it
where the step uses its product.

The transpose of step 3 is one product after the backward loop. The rule is a
``custom_jvp`` around a linear map that JAX transposes itself. So forward mode, reverse
mode, Hessians and their compositions all work.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from lstm_jax._types import Array
from lstm_jax.core.cells.cell import Cell, Noise
from lstm_jax.core.precision import as_asked, asked_precision
from lstm_jax.core.primitives.matmul import matmul
from lstm_jax.core.sharding import vary_alike


class Inputs(NamedTuple):
    """All traced values that the loop reads.

    They are all arguments of the rule, because a ``custom_jvp`` that closes over a
    tracer fails under ``jax.checkpoint``.
    """

    products: dict[str, Array]
    elementwise: dict[str, Array]
    carry: Any
    gx: Array
    reset_carry: Any = None
    mask: Array | None = None
    resets: Array | None = None
    noise: Noise | None = None

    @classmethod
    def of(cls, cell: Cell, params: Any, carry: Any, gx: Array) -> "Inputs":
        """The inputs of a sequence without padding, resets or random masks."""
        elementwise = {name: getattr(params, name) for name in cell.elementwise}
        return cls(cell.weights(params), elementwise, carry, gx)


def run_plain(cell, params_type, reverse, inputs):
    """The reference: a scan of the cell's step."""
    carry, hs, _ = _scan(cell, params_type, reverse, inputs)
    return carry, hs


def _scan(cell, params_type, reverse, inputs, perturb=None):
    """The scan. With ``perturb`` it also returns the operands of the products."""
    multiply = _products(cell, inputs, in_loop=perturb is not None)

    def step(carry, xs):
        at, perturbation = xs
        operands = {}

        def dot(name, a):
            y = multiply[name](a)
            if perturb is None:
                return y
            if name in operands:
                raise ValueError(f"dot({name!r}) is called twice in one step.")
            operands[name] = a
            return _perturb(y, perturbation[name]) if name in perturbation else y

        stepped, h = _step(cell, params_type, inputs, dot, carry, at)
        return stepped, (h, operands)

    xs = (_by_step(inputs), perturb)
    carry, (hs, operands) = lax.scan(step, inputs.carry, xs, reverse=reverse)
    return carry, hs, operands


def all_steps(cell: Cell, params_type: type, inputs: Inputs, before: Any) -> Any:
    """All steps at once, from the states before them: the states after, and outputs.

    ``inputs.carry`` is not read.
    """
    multiply = _products(cell, inputs, in_loop=False)
    dot = lambda name, a: multiply[name](a)
    step = functools.partial(_step, cell, params_type, inputs, dot)
    return jax.vmap(step)(before, _by_step(inputs))


def _by_step(inputs):
    """What every step has of its own."""
    _, stepwise = inputs.noise or (None, None)
    return inputs.gx, inputs.mask, inputs.resets, stepwise


def _step(cell, params_type, inputs, dot, carry, at):
    """One step of the cell under its flags."""
    gx, real, reset, random = at
    params = params_type(**dict.fromkeys(params_type._fields) | inputs.elementwise)
    if reset is not None:
        carry = select(reset, inputs.reset_carry, carry)
    noise = None if inputs.noise is None else (inputs.noise.locked, random)
    stepped, h = cell.noisy_step(noise, params, carry, gx, dot)
    if real is not None:
        stepped = select(real, stepped, carry)
        h = select(real, h, jax.tree.map(jnp.zeros_like, h))
    return stepped, h


def _products(cell, inputs, in_loop):
    """Maps each name to ``a -> a @ w``, or to the product that the cell defines
    instead.
    """
    weights = {name: w.astype(inputs.gx.dtype) for name, w in inputs.products.items()}

    def by(name, w):
        if product := cell.product(name):
            return lambda a: product(a, w)
        if in_loop:
            return functools.partial(_matmul_in_loop, w=w, w_t=w.T)
        return functools.partial(matmul, w=w)

    return {name: by(name, w) for name, w in weights.items()}


def run_with_rule(
    cell: Cell, params_type: type, reverse: bool, inputs: Inputs
) -> tuple[Any, Array]:
    """The scan of the cell's step, with the derivative rule: the last carry, and the
    outputs.
    """
    return _with_rule(cell, params_type, reverse, asked_precision(), inputs)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 3))
def _with_rule(cell, params_type, reverse, asked, inputs):
    return as_asked(run_plain)(cell, params_type, reverse, inputs, asked=asked)


@functools.partial(_with_rule.defjvp, symbolic_zeros=True)
def _rule(cell, params_type, reverse, asked, primals, tangents):
    given = cell, params_type, reverse, *primals, *tangents
    return as_asked(_derivative)(*given, asked=asked)


def _derivative(cell, params_type, reverse, inputs, dots):
    run = functools.partial(_scan, cell, params_type, reverse)
    # The derivative of a product that is added to gx enters through gx. Every other
    # derivative enters through its own slot.
    own = [name for name in cell.elementwise if name not in cell.added]
    slots = _zero_slots(cell, run, inputs)

    def linearised(elementwise, carry, reset_carry, gx, slots):
        carry, hs, operands = run(
            inputs._replace(
                elementwise=inputs.elementwise | elementwise,
                carry=carry,
                reset_carry=reset_carry,
                gx=gx,
            ),
            slots,
        )
        return (carry, hs), operands

    at = (
        {name: inputs.elementwise[name] for name in own},
        inputs.carry,
        inputs.reset_carry,
        inputs.gx,
        slots,
    )
    out, linear, operands = jax.linearize(linearised, *at, has_aux=True)

    d_gx, d_slots = dots.gx, dict(slots)
    for name in cell.products:
        multiply = functools.partial(cell.product(name) or matmul, operands[name])
        d_product = _map_nonzero(multiply, dots.products[name])
        if name in cell.added:
            d_gx = _add(d_gx, d_product)
        elif not isinstance(d_product, SymbolicZero):
            d_slots[name] = d_product
    for name in cell.elementwise:
        if name in cell.added:
            spread = lambda d: jnp.broadcast_to(d, inputs.gx.shape)
            d_gx = _add(d_gx, _map_nonzero(spread, dots.elementwise[name]))
    d_elementwise = {name: dots.elementwise[name] for name in own}
    tangent = (d_elementwise, dots.carry, dots.reset_carry, d_gx, d_slots)
    return out, linear(*_instantiate(at, tangent))


def _zero_slots(cell, run, inputs):
    """A perturbation of value 0 for each product that is not simply added to gx."""
    names = [name for name in cell.products if name not in cell.added]
    if not names:
        return {}
    _, _, operands = jax.eval_shape(lambda i: run(i, {}), inputs)
    zeros = {}
    for name in names:
        multiply = cell.product(name) or matmul
        out = jax.eval_shape(multiply, operands[name], inputs.products[name])
        zeros[name] = jnp.zeros(out.shape, out.dtype)
    return vary_alike(zeros, inputs)


@jax.custom_jvp
def _perturb(y, slot):
    """``y + slot``. The slot is always 0, so its value is never read."""
    del slot
    return y


@_perturb.defjvp
def _(primals, tangents):
    return primals[0], tangents[0] + tangents[1]


@jax.custom_jvp
def _matmul_in_loop(a, w, w_t):
    """``a @ w``; the backward loop multiplies by ``w_t``, transposed once before it."""
    del w_t
    return matmul(a, w)


@functools.partial(_matmul_in_loop.defjvp, symbolic_zeros=True)
def _(primals, tangents):
    a, w, w_t = primals
    da, dw, _ = tangents
    by_a = _map_nonzero(lambda da: matmul(da, w_t, transpose_w=True), da)
    by_w = _map_nonzero(lambda dw: matmul(a, dw), dw)
    out = matmul(a, w)
    return out, _instantiate(out, _add(by_a, by_w))


def select(flags: Array, on_true: Any, on_false: Any) -> Any:
    """Selects row by row. ``flags`` has the leading axes of the leaves."""
    expand = lambda x: flags.reshape(flags.shape + (1,) * (x.ndim - flags.ndim))
    where = lambda t, f: jnp.where(expand(t), t, f)
    return jax.tree.map(where, on_true, on_false)


def _is_zero(tangent):
    return isinstance(tangent, SymbolicZero)


def _map_nonzero(f, tangent):
    return tangent if _is_zero(tangent) else f(tangent)


def _add(d, e):
    """The sum of two tangents, in the dtype of the first."""
    if _is_zero(e):
        return d
    return e if _is_zero(d) else d + e.astype(d.dtype)


def _instantiate(primals, tangents):
    """Tangents as arrays. Tangents of integers and booleans have the dtype float0."""

    def make(p, d):
        if not _is_zero(d):
            return d.astype(p.dtype)
        if not jnp.issubdtype(p.dtype, jnp.inexact):
            return np.zeros(p.shape, jax.dtypes.float0)
        return jnp.zeros_like(p)

    return jax.tree.map(make, primals, tangents)
