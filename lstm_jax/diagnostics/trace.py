"""Gates and states of every step, for a cell or a stack of layers."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from lstm_jax._types import Array, Bool, Float, Lengths
from lstm_jax.core.arguments import check_bool
from lstm_jax.core.cells.cell import Cell, Noise, require_cell
from lstm_jax.core.cells.checks import check_time_major
from lstm_jax.core.cells.wrapper import Wrapper
from lstm_jax.core.layers.bidirectional import (
    Bidirectional,
    bidirectional,
    map_ways,
    merged,
)
from lstm_jax.core.layers.stack import Stack, spread_carry
from lstm_jax.core.recurrence.loop import run_plain
from lstm_jax.core.recurrence.scan import inputs_of
from lstm_jax.core.recurrence.sequence import (
    prepare,
    without_padding,
    zero_padding,
)


class Trace(NamedTuple):
    """Gates and states of one layer at every step; all are 0 in the padding."""

    gates: dict[str, Float[Array, "T *B H"]]
    """The gates by their names in the equations, such as ``i f g o``."""
    z: dict[str, Float[Array, "T *B H"]]
    """The pre-activations of the gates."""
    before: Any
    """The state that every step reads, after resets: a carry ``[T, ..., H]``."""
    carry: Any
    """The state after every step: a carry ``[T, ..., H]``."""
    hs: Float[Array, "T *B H"]
    """The outputs."""
    xs: Float[Array, "T *B D"] | None
    """What the layer reads."""


def trace(
    cell: Cell,
    params: Any,
    carry: Any,
    xs: Float[Array, "T *B D"],
    *,
    lengths: Lengths | None = None,
    mask: Bool[Array, "T *B"] | None = None,
    resets: Bool[Array, "T *B"] | None = None,
    reset_carry: Any = None,
    reverse: bool = False,
    dtype: Any = None,
) -> Trace:
    """Runs a cell like `lstm_jax.unroll`, and keeps the gates and states of all steps.

    The numbers are those of the cell's own ``step``, which hands over its gates. So
    this works for every cell, also for one of your own that activates its gates with
    ``gates``, and inside ``jit``, ``grad`` and ``vmap``. A random cell is traced in
    evaluation.

    Args:
        cell: the cell, or a wrapper around one.
        params: its parameters.
        carry: the state before the first step; ``None`` is zeros.
        xs: inputs ``[T, ..., D]``.
        lengths, mask, resets, reset_carry, reverse, dtype: as in `lstm_jax.unroll`.

    Returns:
        A `Trace`. With ``reverse`` it is aligned with the inputs: the state at ``t`` is
        the state after the step that reads ``xs[t]``.

    Raises:
        TypeError, ValueError: as in `lstm_jax.unroll`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMCell
    >>> from lstm_jax.diagnostics import trace
    >>> cell = LSTMCell(5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> found = trace(cell, params, None, jnp.ones((7, 2, 3)))
    >>> sorted(found.gates), found.gates["f"].shape, found.carry.c.shape
    (['f', 'g', 'i', 'o'], (7, 2, 5), (7, 2, 5))
    """
    require_cell("cell", cell)
    reverse = check_bool("reverse", reverse)
    seq = prepare(
        cell, params, carry, xs, lengths, mask, resets, reset_carry, reverse, dtype
    )
    return _trace(cell, reverse, params, seq)


@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _trace(cell, reverse, params, seq):
    if seq.carry is None:
        seq = seq._replace(carry=cell.zero_carry(seq.xs.shape[1:-1], seq.xs.dtype))
    seq = without_padding(cell, seq)
    inputs = inputs_of(cell, params, seq, cell.project(params, seq.xs))
    _, found = run_plain(_Traced(cell), type(params), reverse, inputs)
    return found._replace(xs=seq.xs)


@dataclasses.dataclass(frozen=True)
class _Traced(Wrapper):
    """The inner cell, whose output is a `Trace` of the step."""

    def wrapped_step(self, masks, step, params, carry, gx, dot, gates) -> Any:
        values, z = {}, {}

        def watched(pre, /, **activations):
            found = gates(pre, **activations)
            for name, gate in zip(activations, found, strict=True):
                values[name], z[name] = gate.value, gate.z
            return found

        after, h = step(params, carry, gx, dot, watched)
        return after, Trace(values, z, carry, after, h, None)

    def masks(self, key, steps, batch_shape, dtype):
        return Noise(None, None)


def trace_stack(
    stack: Stack,
    params: Sequence[Any],
    carries: Sequence[Any] | None,
    xs: Float[Array, "T *B D"],
    *,
    lengths: Lengths | None = None,
    mask: Bool[Array, "T *B"] | None = None,
    resets: Bool[Array, "T *B"] | None = None,
    reset_carry: Sequence[Any] | None = None,
    reverse: bool = False,
    dtype: Any = None,
) -> tuple[Any, ...]:
    """Runs a stack in evaluation and keeps the gates and states of every layer.

    Args:
        stack: the layers.
        params: one entry per layer, as a call of the stack takes them.
        carries: one entry per layer; ``None`` is zeros everywhere.
        xs: inputs ``[T, ..., D]``.
        lengths, mask, resets, reset_carry, reverse, dtype: as in a call of the stack.

    Returns:
        A `Trace` for every layer, from the bottom up; in a bidirectional stack a
        `lstm_jax.Bidirectional` of two.

    Raises:
        TypeError, ValueError: as in a call of the stack.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMCell, Stack
    >>> from lstm_jax.diagnostics import trace_stack
    >>> stack = Stack([LSTMCell(5), LSTMCell(4)])
    >>> params = stack.init(jax.random.key(0), in_size=3)
    >>> bottom, top = trace_stack(stack, params, None, jnp.ones((7, 2, 3)))
    >>> bottom.gates["f"].shape, top.gates["f"].shape
    ((7, 2, 5), (7, 2, 4))
    """
    # A call of the stack checks the arguments, and costs far less than what follows.
    xs = check_time_major(stack.cells[0], xs)
    sequence: dict[str, Any] = dict(lengths=lengths, mask=mask, resets=resets)
    options: dict[str, Any] = dict(
        reset_carry=reset_carry, reverse=reverse, dtype=dtype
    )
    jax.eval_shape(lambda: stack(params, carries, xs, **sequence, **options))
    below = xs if dtype is None else xs.astype(dtype)
    below = zero_padding(stack.cells[0], below, lengths, mask)
    by_layer = functools.partial(stack.by_layer, xs.shape[-1])
    each = [
        (None,) * len(stack.cells) if entries is None else by_layer(entries)
        for entries in (params, carries, reset_carry)
    ]
    found = []
    for n, entry in enumerate(zip(stack.cells, *each, strict=True)):
        one, out = _layer(stack, entry, below, reverse, sequence)
        found.append(one)
        below = stack.with_skip(n, below, out)
    return tuple(found)


def _layer(stack, entry, xs, reverse, sequence):
    """The trace of a layer, and its outputs."""
    cell, params, carry, reset_carry = entry
    of_rows = xs.forward if isinstance(xs, Bidirectional) else xs
    spread = functools.partial(spread_carry, cell, xs=of_rows)
    carry, reset_carry = map_ways(spread, carry), map_ways(spread, reset_carry)

    def run(params, carry, xs, **options) -> tuple[Any, Any]:
        return None, trace(cell, params, carry, xs, **options)

    if not stack.bidirectional:
        options = dict(reset_carry=reset_carry, reverse=reverse)
        _, found = run(params, carry, xs, **options, **sequence)
        return found, found.hs
    options = dict(reset_carry=reset_carry, merge="none")
    _, found = bidirectional(run, params, carry, xs, **options, **sequence)
    return Bidirectional(*found), merged(stack.merge, *(one.hs for one in found))
