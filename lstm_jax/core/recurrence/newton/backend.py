"""The backend ``"newton"``: the steps of a cell in parallel over time, with derivative.

Nothing is differentiated through the iterations. The rule takes the tangents of all
steps with the states before them fixed, in one evaluation, so the gradient of a weight
is one product over all steps. `lstm_jax.core.recurrence.newton.tangents` does the rest.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from lstm_jax._types import Array, Float
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.precision import as_asked, asked_precision
from lstm_jax.core.recurrence.newton.packed import (
    Facts,
    at_step,
    backwards,
    jacobian,
    pack,
    steps,
    unpack,
)
from lstm_jax.core.recurrence.newton.settings import Newton
from lstm_jax.core.recurrence.newton.solver import Outcome, Recurrence, before, solve
from lstm_jax.core.recurrence.newton.tangents import tangents
from lstm_jax.core.recurrence.scan import inputs_of, scan
from lstm_jax.core.recurrence.sequence import Sequence


def unsupported(cell: Cell, xs: Float[Array, "T ... D"]) -> str | None:
    """Says why the steps cannot run in parallel; ``None`` if they can."""
    if xs.dtype.itemsize < 4:
        return (
            f"Newton's method computes in float32 and float64, not in {xs.dtype.name}."
        )
    if not all(isinstance(n, int) for n in xs.shape):
        return f"Newton's method needs known sizes, and xs has the shape {xs.shape}."
    carry = jax.eval_shape(lambda: cell.zero_carry(xs.shape[1:-1], xs.dtype))
    if strange := {a.dtype.name for a in jax.tree.leaves(carry)} - {xs.dtype.name}:
        return (
            f"Newton's method needs a carry of {xs.dtype.name} alone, and the carry of "
            f"{type(cell).__name__} has {' and '.join(sorted(strange))}."
        )
    return None


def newton(cell: Cell, params: Any, seq: Sequence, reverse: bool) -> tuple[Any, Array]:
    """Runs all steps in parallel, with the settings of ``Newton()``."""
    carry, hs, _ = run(Newton(), cell, params, seq, reverse)
    return carry, hs


def run(
    settings: Newton, cell: Cell, params: Any, seq: Sequence, reverse: bool
) -> tuple[Any, Array, Outcome]:
    """The carry after the last step, the outputs, and how the states were found."""
    rows = seq.xs.shape[1 : seq.xs.ndim - cell.feature_axes]
    if seq.xs.size == 0:
        none = jnp.zeros(rows, jnp.int32), jnp.zeros(rows, seq.xs.dtype)
        outcome = Outcome(jnp.ones(rows, bool), *none)
        return *scan(cell, params, seq, reverse), outcome
    inputs = inputs_of(cell, params, seq, cell.project(params, seq.xs))
    if reverse:
        inputs = backwards(inputs)
    facts = Facts(settings, cell, type(params), len(rows))
    states, hs, outcome = _solved(facts, asked_precision(), inputs)
    carry = unpack(facts, inputs, states[-1])
    return carry, jnp.flip(hs, 0) if reverse else hs, outcome


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _solved(facts, asked, inputs):
    return as_asked(_states_and_outputs)(facts, inputs, asked=asked)


def _states_and_outputs(facts, inputs):
    """The states ``[T, *B, n]``, the outputs, and how the states were found."""
    start = pack(facts, inputs.carry)
    f = Recurrence(
        start=start,
        steps=lambda x: steps(facts, inputs, x)[0],
        jacobian=lambda x: jacobian(facts, inputs, x),
        step=lambda t, x: steps(facts, at_step(inputs, t), x[None])[0][0],
        size=_size,
    )
    guess = jnp.broadcast_to(start, (len(inputs.gx), *start.shape))
    states, outcome = solve(f, guess, **facts.settings.options(start.dtype))
    return *steps(facts, inputs, before(start, states)), outcome


def _size(x):
    """The magnitude of every number, but at least ``min(1, largest of the row)``.

    The numbers of one state are not compared with each other: a stabiliser of -1e30
    says nothing about the others.
    """
    magnitude = jnp.abs(x)
    largest = magnitude.max(axis=(0, -1), keepdims=True)
    return jnp.maximum(magnitude, jnp.minimum(jnp.ones_like(largest), largest))


@functools.partial(_solved.defjvp, symbolic_zeros=True)
def _rule(facts, asked, primals, dots):
    return as_asked(_derivative)(facts, *primals, *dots, asked=asked)


def _derivative(facts, inputs, d_inputs):
    states, hs, outcome = _solved(facts, asked_precision(), inputs)
    merge, moving, d_moving = _moving(inputs, d_inputs)

    def with_fixed_states(moving):
        inputs = merge(moving)
        return steps(facts, inputs, before(pack(facts, inputs.carry), states))

    _, (b, d_hs) = jax.jvp(with_fixed_states, (moving,), (d_moving,))
    at = before(pack(facts, inputs.carry), states)
    d_states = tangents(facts, inputs, at, b)
    d_before = before(jnp.zeros_like(d_states[0]), d_states)
    by_state = lambda x: steps(facts, inputs, x)[1]
    d_hs = d_hs + jax.jvp(by_state, (at,), (d_before,))[1]
    none = jax.tree.map(_no_tangent, outcome)
    return (states, hs, outcome), (d_states, d_hs, none)


def _no_tangent(a):
    if jnp.issubdtype(a.dtype, jnp.inexact):
        return jnp.zeros_like(a)
    return np.zeros(a.shape, jax.dtypes.float0)


def _moving(inputs, dots):
    """The arrays that have a tangent, and how to put others in their place."""
    leaves, tree = jax.tree.flatten(inputs)
    dots = tree.flatten_up_to(dots)
    places = [
        n
        for n, (a, d) in enumerate(zip(leaves, dots, strict=True))
        if not isinstance(d, SymbolicZero) and jnp.issubdtype(a.dtype, jnp.inexact)
    ]

    def merge(moving):
        whole = list(leaves)
        for n, a in zip(places, moving, strict=True):
            whole[n] = a
        return tree.unflatten(whole)

    return merge, [leaves[n] for n in places], [dots[n] for n in places]
