"""How much of a loss reaches the states of earlier steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float
from lstm_jax.core.cell import Cell, check_cell
from lstm_jax.core.matmul import matmul


def state_gradients(
    cell: Cell,
    params: Any,
    xs: Float[Array, "T *B D"],
    loss: Callable[[Float[Array, "T *B H"]], Array],
) -> Any:
    """``|dL/dh_t|`` of every step, and that of any other state of the cell.

    The derivative of the whole loss with respect to a state as it leaves step ``t``,
    the other states of that step being held: what backpropagation through time brings
    there (Hochreiter & Schmidhuber 1997, section 3.1; Pascanu, Mikolov & Bengio 2013).
    For an LSTM look at ``c`` as well, along which it remembers.

    Args:
        cell: a cell whose output is the ``h`` of its carry.
        params: its parameters.
        xs: inputs ``[T, ..., D]``.
        loss: of the outputs ``hs``, ``[T, ..., H]``, to a number.

    Returns:
        A carry of arrays ``[T, ...]``: Euclidean norms over the units.

    Raises:
        TypeError: ``cell`` is no cell.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import RNNCell
    >>> from lstm_jax.diagnostics import state_gradients
    >>> cell = RNNCell(5)
    >>> params = cell.init(jax.random.key(0), 3)
    >>> xs = jnp.ones((7, 2, 3))
    >>> state_gradients(cell, params, xs, lambda hs: hs[-1].sum()).h.shape
    (7, 2)
    """
    check_cell("cell", cell)
    gx = cell.project(params, xs)
    start = cell.zero_carry(xs.shape[1:-1], xs.dtype)
    spread = lambda c: jnp.zeros((xs.shape[0], *c.shape), c.dtype)

    def run(nudges):
        def step(carry, now):
            gx, nudge = now
            dot = lambda name, a: matmul(a, getattr(params, name))
            carry, _ = cell.step(params, carry, gx, dot)
            carry = jax.tree.map(jnp.add, carry, nudge)
            return carry, carry.h

        return loss(jax.lax.scan(step, start, (gx, nudges))[1])

    gradients = jax.grad(run)(jax.tree.map(spread, start))
    return jax.tree.map(lambda g: jnp.linalg.norm(g, axis=-1), gradients)
