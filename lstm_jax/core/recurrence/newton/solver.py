"""Solves any recurrence in parallel over time, by Newton's method.

The unknown is the whole sequence of states ``x_1 .. x_T`` with ``x_t = f_t(x_{t-1})``.
One iteration evaluates all steps at once and solves a linear recurrence:

    g_t = f_t(x_{t-1}) - x_t                                the residual
    d_t = (1 - damping) J_t d_{t-1} + g_t     d_0 = 0       J_t = df_t / dx at x_{t-1}
    x_t <- x_t + d_t

This is DEER (Lim et al., "Parallelizing non-linear sequential models over the sequence
length", ICLR 2024); with only the diagonal of ``J_t`` it is quasi-DEER (Gonzalez et
al., "Towards scalable and stable parallelization of nonlinear RNNs", NeurIPS 2024).
Every iteration makes at least one more step exact, whatever ``J_t`` is, because the
first wrong step reads a right one. A correction that is not finite is left out, which
is a step of the plain fixed-point iteration. So ``T`` iterations always suffice.

Nothing relies on that: the steps that are still wrong after the allowed iterations run
one by one. So the result is always right, and only the time depends on convergence.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from lstm_jax._types import Array, Bool, Float, Int
from lstm_jax.core.primitives.linear_recurrence import linear_recurrence
from lstm_jax.core.sharding import vary_alike


class Recurrence(NamedTuple):
    """The recurrence ``x_t = f_t(x_{t-1})``, from a known ``x_0``."""

    start: Float[Array, "*B n"]
    """``x_0``."""

    steps: Callable[[Float[Array, "T *B n"]], Float[Array, "T *B n"]]
    """All steps at once, from the states before them."""

    jacobian: Callable[[Float[Array, "T *B n"]], Array]
    """Their Jacobians by the state, ``[T, *B, n, n]``, or the diagonals of these."""

    step: Callable[[Int[Array, ""], Float[Array, "*B n"]], Float[Array, "*B n"]]
    """``f_t`` alone, from ``t`` and the state before it."""

    size: Callable[[Float[Array, "T *B n"]], Array]
    """The size of every number of ``x``, relative to which errors count."""


class Outcome(NamedTuple):
    """How the iteration ended, for every row."""

    converged: Bool[Array, "*B"]
    iterations: Int[Array, "*B"]
    difference: Float[Array, "*B"]


def before(start: Array, x: Array) -> Array:
    """The states before the steps that lead to ``x``."""
    return jnp.concatenate([start[None], x[:-1]])


def solve(
    f: Recurrence, guess: Float[Array, "T *B n"], *, tolerance, iterations, damping
) -> tuple[Float[Array, "T *B n"], Outcome]:
    """The states ``x``, and how they were found."""

    def measure(x):
        after = f.steps(before(f.start, x))
        # The difference of equal infinities is 0 here, not NaN.
        same = after == x
        gap = jnp.where(same, jnp.zeros_like(x), after - x)
        # A size may be 0, where all numbers of a row are.
        wrong = jnp.where(same, jnp.zeros_like(x), jnp.abs(gap) / f.size(x))
        return after, gap, wrong.max(axis=-1)  # NaN stays NaN

    def is_wrong(wrong):
        return ~(wrong <= tolerance)

    def go_on(state):
        _, _, _, wrong, count = state
        return (count.max(initial=0) < limit) & is_wrong(wrong).any()

    def iterate(state):
        x, after, gap, wrong, count = state
        count = count + is_wrong(wrong).any(axis=0).astype(count.dtype)
        a = f.jacobian(before(f.start, x))
        d = linear_recurrence(a * jnp.asarray(1 - damping, a.dtype), gap)
        # The step itself plus a correction: where the state before does not move, the
        # correction is exactly 0 and the new state is exactly the step.
        correction = d - gap
        finite = jnp.isfinite(correction)
        x = after + jnp.where(finite, correction, jnp.zeros_like(d))
        return x, *measure(x), count

    limit = min(iterations, len(guess))
    after, gap, wrong = measure(guess)
    count = vary_alike(jnp.zeros(wrong.shape[1:], jnp.int32), wrong)
    state = guess, after, gap, wrong, count
    x, _, _, wrong, count = lax.while_loop(go_on, iterate, state)
    outcome = Outcome(~is_wrong(wrong).any(axis=0), count, wrong.max(axis=0))
    return _one_by_one(f, x, is_wrong(wrong)), outcome


def _one_by_one(f, x, wrong):
    """Runs the steps from the first wrong one of any row; none if all are right."""
    wrong = wrong.reshape(len(x), -1).any(axis=1)
    first = jnp.where(wrong.any(), wrong.argmax(), len(x)).astype(jnp.int32)

    def go_on(state):
        return state[0] < len(x)

    def run(state):
        t, last, x = state
        last = f.step(t, last)
        return t + 1, last, lax.dynamic_update_index_in_dim(x, last, t, 0)

    last = lax.dynamic_index_in_dim(before(f.start, x), first, 0, keepdims=False)
    return lax.while_loop(go_on, run, (first, last, x))[2]
