"""Gradients of a loss by the states of earlier steps."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from lstm_jax._types import Array, Float
from lstm_jax.core.cells.cell import Cell, Noise, require_cell
from lstm_jax.core.cells.checks import check_sequence
from lstm_jax.core.cells.wrapper import Wrapper, state_fields
from lstm_jax.core.primitives.elementwise import gates
from lstm_jax.core.recurrence.loop import Inputs, run_plain
from lstm_jax.core.sharding import leave_to_compiler, spec_of


def state_gradients(
    cell: Cell,
    params: Any,
    xs: Float[Array, "T *B D"],
    loss: Callable[[Float[Array, "T *B H"]], Array],
    *,
    carry: Any = None,
) -> Any:
    """``|dL/dh_t|`` of every step, and the same for any other state of the cell.

    It is the derivative of the whole loss by a state after step ``t``, with the other
    states of that step held constant. Backpropagation through time computes the same
    (Hochreiter & Schmidhuber 1997, section 3.1; Pascanu, Mikolov & Bengio 2013). For an
    LSTM, look at ``c`` as well, which holds its memory.

    Args:
        cell: a cell whose output is the ``h`` of its carry.
        params: its parameters.
        xs: inputs ``[T, ..., D]``.
        loss: a function from the outputs ``hs``, ``[T, ..., H]``, to a number.
        carry: the state before the first step; ``None`` is zeros.

    Returns:
        A carry of arrays ``[T, ...]``: Euclidean norms over the units.

    Raises:
        TypeError: ``cell`` is not a cell, or its carry has no ``h``; or as in
            `lstm_jax.unroll`.
        ValueError: as in `lstm_jax.unroll`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import RNNCell
    >>> from lstm_jax.diagnostics import state_gradients
    >>> cell = RNNCell(5)
    >>> params = cell.init(jax.random.key(0), 3)
    >>> xs = jnp.ones((7, 2, 3))
    >>> state_gradients(cell, params, xs, lambda hs: hs[-1].sum()).h.shape
    (7, 2)
    """
    require_cell("cell", cell)
    start, xs = check_sequence(cell, params, carry, xs, None)
    carry = jax.eval_shape(lambda: cell.zero_carry(xs.shape[1:-1], xs.dtype))
    floating = [jnp.issubdtype(a.dtype, jnp.floating) for a in jax.tree.leaves(carry)]
    if "h" not in state_fields(cell) or not all(floating):
        raise TypeError(
            f"the carry of {type(cell).__name__} is {carry}, expected a NamedTuple of "
            f"floating-point arrays, one of them h."
        )
    rows = PartitionSpec(*spec_of(xs)[:-1])
    specs = jax.tree.map(lambda _: rows, carry)
    run = functools.partial(_norms, cell, loss)
    return leave_to_compiler(run, (params, start, xs), specs)


def _norms(cell, loss, params, carry, xs):
    if carry is None:
        carry = cell.zero_carry(xs.shape[1:-1], xs.dtype)
    inputs = Inputs.of(cell, params, carry, cell.project(params, xs))

    def run(nudges):
        nudged = inputs._replace(noise=Noise(None, nudges))
        return loss(run_plain(_Nudged(cell), type(params), False, nudged)[1])

    spread = lambda c: jnp.zeros((xs.shape[0], *c.shape), c.dtype)
    gradients = jax.grad(run)(jax.tree.map(spread, carry))
    return jax.tree.map(lambda g: jnp.linalg.norm(g, axis=-1), gradients)


@dataclasses.dataclass(frozen=True)
class _Nudged(Wrapper):
    """The inner cell in evaluation mode, with a number added to its state at every
    step.

    The loop passes stepwise noise to a cell; this class uses the noise as the addend.
    """

    def noisy_step(self, noise, params, carry, gx, dot, gates=gates):
        assert noise is not None
        stepped, _ = self.cell.step(params, carry, gx, dot, gates)
        stepped = jax.tree.map(jnp.add, stepped, noise[1])
        return stepped, stepped.h

    def masks(self, key, steps, batch_shape, dtype):
        raise NotImplementedError

    def wrapped_step(self, masks, step, params, carry, gx, dot, gates):
        raise NotImplementedError
