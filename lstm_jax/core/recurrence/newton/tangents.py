"""The tangents of the states, in parallel over time.

Where ``s_t = f_t(s_{t-1})``, with the Jacobians ``J_t`` at the solution,

    ds_t = J_t ds_{t-1} + b_t        b_t: the tangent of step t, with s_{t-1} fixed

So a tangent is one linear recurrence, and its transpose is one in the other direction:

    l_t = J_{t+1}^T l_{t+1} + u_t        u_t: the cotangent of s_t

``lax.custom_linear_solve`` holds the two, so JAX derives all higher derivatives. Both
are solved and checked like the states themselves. With full Jacobians the first
iteration gives the solution, except for rounding and for products of Jacobians that
overflow.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax._types import Array, Float
from lstm_jax.core.primitives.linear_recurrence import apply
from lstm_jax.core.recurrence.loop import Inputs
from lstm_jax.core.recurrence.newton.packed import Facts, at_step, jacobian, steps
from lstm_jax.core.recurrence.newton.solver import Recurrence, before, solve


class Linear(NamedTuple):
    """The products of a linear recurrence with the vectors before the steps."""

    coefficients: Array
    """Matrices, or the diagonals of the matrices."""

    all: Callable[[Array], Array]
    """The products of all steps at once."""

    one: Callable[[Array, Array], Array]
    """The product of step ``t`` alone, from ``t`` and the vector."""


def tangents(
    facts: Facts,
    inputs: Inputs,
    at: Float[Array, "T *B n"],
    b: Float[Array, "T *B n"],
) -> Float[Array, "T *B n"]:
    """``ds`` of the recurrence above; ``at`` holds the states before the steps."""
    make = _with_matrices if facts.settings.full else _with_diagonals
    forward, backward = make(facts, inputs, at)
    zero = jnp.zeros_like(b[0])
    flip = lambda x: jnp.flip(x, 0)
    return lax.custom_linear_solve(
        lambda d: d - forward.all(before(zero, d)),
        b,
        solve=lambda _, b: _solution(facts, forward, b),
        transpose_solve=lambda _, b: flip(_solution(facts, backward, flip(b))),
    )


def _solution(facts, linear, b):
    f = Recurrence(
        start=jnp.zeros_like(b[0]),
        steps=lambda x: linear.all(x) + b,
        jacobian=lambda _: linear.coefficients,
        step=lambda t, x: linear.one(t, x) + b[t],
        size=_size,
    )
    return solve(f, b, **facts.settings.options(b.dtype))[0]


def _size(x):
    """A number counts as the largest of its step, because steps mix their numbers."""
    largest = jnp.abs(x).max(axis=-1, keepdims=True)
    least = jnp.finfo(x.dtype).eps * largest.max(axis=0, keepdims=True)
    return jnp.maximum(largest, least)


def _turned(x):
    """From the order of the steps to that of the transpose, and back.

    Row ``k`` of the transpose finds ``l_{T-k-1}``, counted from 0, with the Jacobian of
    step ``T - k``. Row 0 multiplies a vector of zeros, so it may have any Jacobian.
    """
    return jnp.roll(jnp.flip(x, 0), 1, 0)


def _with_matrices(facts, inputs, at):
    a = jacobian(facts, inputs, at)
    a_t = jnp.swapaxes(_turned(a), -1, -2)
    make = lambda a: Linear(a, lambda x: apply(a, x), lambda t, x: apply(a[t], x))
    return make(a), make(a_t)


def _with_diagonals(facts, inputs, at):
    """The products are derivatives of the steps; diagonals only steer the iteration."""
    diagonal = jacobian(facts, inputs, at)

    def push(inputs, at, x):
        return jax.jvp(lambda at: steps(facts, inputs, at)[0], (at,), (x,))[1]

    def pull(inputs, at, x):
        return jax.vjp(lambda at: steps(facts, inputs, at)[0], at)[1](x)[0]

    def alone(product, t, x):
        return product(at_step(inputs, t), lax.dynamic_slice_in_dim(at, t, 1), x[None])[
            0
        ]

    return (
        Linear(
            diagonal,
            lambda x: push(inputs, at, x),
            lambda t, x: alone(push, t, x),
        ),
        Linear(
            _turned(diagonal),
            lambda x: _turned(pull(inputs, at, _turned(x))),
            lambda k, x: alone(pull, len(at) - k, x),
        ),
    )
