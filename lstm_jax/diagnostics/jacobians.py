"""How a small change of the state grows or shrinks over time.

    J_t = ds_t / ds_{t-1}                    s is the whole state: h, and c of an LSTM
    dh_T / ds_t = [dh_T / ds_T] J_T ... J_{t+1}
    exponents   = lim 1/T ln of the growth along each direction

Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks",
2013; Engelken, Wolf & Abbott, "Lyapunov spectra of chaotic recurrent neural networks",
2023. The exponents are computed by repeated QR decompositions (Benettin et al. 1980).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from lstm_jax._types import Array, Float
from lstm_jax.core.arguments import check_size
from lstm_jax.core.cells.cell import Cell, require_cell
from lstm_jax.core.cells.checks import check_sequence
from lstm_jax.core.cells.wrapper import state_fields
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.primitives.matmul import matmul


def jacobian_norms(
    cell: Cell, params: Any, xs: Float[Array, "T D"], carry: Any = None
) -> Any:
    """``|dh_T/dh_t|`` of every step, and the same for any other state of the cell.

    The norm is the largest singular value: the most that a small change of the state
    after step ``t`` can change the last ``h``. The other states of that step are held
    constant. A product of ``T`` factors below 1 vanishes; of factors above 1, it
    explodes.

    Args:
        cell: a cell whose carry has an ``h``.
        params: its parameters.
        xs: one sequence ``[T, D]``. Use ``jax.vmap`` for more. Numbers of 16 bits are
            computed in float32.
        carry: the state before the first step; ``None`` is zeros.

    Returns:
        A carry of arrays ``[T]``.

    Raises:
        TypeError: ``cell`` is not a cell, its states are not vectors, or its carry is
            not a NamedTuple of floating-point arrays with a field ``h``.
        ValueError: ``xs`` is not ``[T, D]`` with at least one step.

    >>> import jax
    >>> from lstm_jax import LSTMCell
    >>> from lstm_jax.diagnostics import jacobian_norms
    >>> cell = LSTMCell(5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> xs = jax.random.normal(jax.random.key(1), (7, 3))
    >>> norms = jacobian_norms(cell, params, xs)
    >>> norms.h.shape, float(norms.h[-1]), float(norms.c[-1])
    ((7,), 1.0, 0.0)
    """
    carry, step, gxs, unflatten = _loop(cell, params, xs, carry)

    def keep(state, gx):
        after = step(state, gx)
        return after, after

    _, states = lax.scan(keep, carry, gxs)
    of_h = jax.vmap(lambda s: unflatten(s).h)(jnp.eye(carry.size, dtype=carry.dtype)).T

    def back(product, at):
        before, gx = at
        _, pull = jax.vjp(lambda s: step(s, gx), before)
        (earlier,) = jax.vmap(pull)(product)
        return earlier, product

    # The product for the state after step t applies the Jacobians of steps T ... t+1.
    before = jnp.concatenate([carry[None], states[:-1]])
    _, products = lax.scan(back, of_h, (before, gxs), reverse=True)
    rows = jax.vmap(jax.vmap(unflatten))(products)
    return jax.tree.map(lambda a: jnp.linalg.norm(a, ord=2, axis=(1, 2)), rows)


def lyapunov_exponents(
    cell: Cell,
    params: Any,
    xs: Float[Array, "T D"],
    carry: Any = None,
    *,
    count: int | None = None,
) -> Float[Array, "K"]:
    """The Lyapunov exponents of a cell that reads ``xs``, the largest first.

    ``exp(exponent)`` is the factor per step by which a small change of the state grows
    along one direction. All below 0: the state forgets where it started. The largest
    near 0: memory is kept for long. Above 0: the dynamics are chaotic, and gradients
    explode.

    Args:
        cell: a cell with a floating-point carry.
        params: its parameters.
        xs: one sequence ``[T, D]``; the longer, the more exact.
        carry: the state before the first step; ``None`` is zeros.
        count: how many exponents, the largest ones; ``None`` is all of them, one per
            number in the carry. The cost grows with ``count``.

    Returns:
        Exponents in nats per step, ``[count]``.

    Raises:
        TypeError: ``cell`` is not a cell, its states are not vectors, or its carry is
            not floating point.
        ValueError: ``xs`` is not ``[T, D]`` with at least one step, or ``count`` is
            less than 1 or more than the carry has numbers.

    >>> import jax
    >>> from lstm_jax import LSTMCell
    >>> from lstm_jax.diagnostics import lyapunov_exponents
    >>> cell = LSTMCell(5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> xs = jax.random.normal(jax.random.key(1), (100, 3))
    >>> exponents = lyapunov_exponents(cell, params, xs, count=2)
    >>> bool(exponents[1] < exponents[0] < 0)
    True
    """
    carry, step, gxs, _ = _loop(cell, params, xs, carry, needs_h=False)
    size: int = carry.size if count is None else count
    check_size("count", size)
    if size > carry.size:
        raise ValueError(
            f"count is {size}, but the carry has {carry.size} numbers; pass "
            f"{carry.size} or less, or None."
        )

    def forward(at, gx):
        state, directions = at
        stepped, push = jax.linearize(lambda s: step(s, gx), state)
        moved = jax.vmap(push, 1, 1)(directions)
        directions, triangle = jnp.linalg.qr(moved)
        return (stepped, directions), jnp.log(jnp.abs(jnp.diagonal(triangle)))

    # Any start but the axes themselves, which the gates of a cell may keep apart.
    key = jax.random.key(0)
    start = jax.random.normal(key, (carry.size, size), carry.dtype)
    start, _ = jnp.linalg.qr(start)
    _, growth = lax.scan(forward, (carry, start), gxs)
    return jnp.sort(growth.mean(axis=0))[::-1]


def _loop(cell, params, xs, carry, needs_h=True):
    """The flat first state, a step of flat states, what it reads, and the way back."""
    require_cell("cell", cell)
    if cell.feature_axes != 1:
        raise TypeError(
            f"{type(cell).__name__} has {cell.feature_axes} feature axes, expected a "
            f"cell whose states are vectors; flatten its states in a cell of your own."
        )
    carry, xs = check_sequence(cell, params, carry, xs, None)
    if xs.ndim != 2 or not len(xs):
        raise ValueError(
            f"xs has shape {xs.shape}, expected one sequence [T, D] of at least one "
            f"step; use jax.vmap for several."
        )
    # No decomposition of 16-bit matrices exists, and products of Jacobians need range.
    dtype = accumulation_dtype(xs.dtype)
    params, xs = jax.tree.map(lambda a: a.astype(dtype), (params, xs))
    if carry is None:
        carry = cell.zero_carry((), dtype)
    floating = [jnp.issubdtype(a.dtype, jnp.floating) for a in jax.tree.leaves(carry)]
    if not all(floating) or (needs_h and "h" not in state_fields(cell)):
        raise TypeError(
            f"the carry of {type(cell).__name__} is {jax.eval_shape(lambda: carry)}, "
            f"expected floating-point arrays{', one of them h' if needs_h else ''}."
        )
    flat, unflatten = ravel_pytree(jax.tree.map(lambda a: a.astype(dtype), carry))
    weights = cell.weights(params)

    def dot(name, a):
        return (cell.product(name) or matmul)(a, weights[name])

    def step(state, gx):
        stepped, _ = cell.step(params, unflatten(state), gx, dot)
        return ravel_pytree(stepped)[0]

    return flat, step, cell.project(params, xs), unflatten
