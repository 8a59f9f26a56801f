"""The reference backend: `jax.lax.scan` over the steps of the cell.

``scan`` uses the derivative rule of `lstm_jax.core.recurrence.loop`. ``plain`` is the
same loop with JAX's own derivative.
"""

from typing import Any

from lstm_jax._types import Array
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.primitives.associative import associative
from lstm_jax.core.recurrence.loop import Inputs, run_plain, run_with_rule
from lstm_jax.core.recurrence.sequence import Sequence


def scan(cell: Cell, params: Any, seq: Sequence, reverse: bool) -> tuple[Any, Array]:
    """Runs all steps with the rule; without a loop if the cell needs none."""
    gx = cell.project(params, seq.xs)
    if linear := cell.log_coefficients(params, gx):
        return associative(
            linear, seq.carry, seq.reset_carry, seq.mask, seq.resets, reverse
        )
    return run_with_rule(cell, type(params), reverse, inputs_of(cell, params, seq, gx))


def plain(cell: Cell, params: Any, seq: Sequence, reverse: bool) -> tuple[Any, Array]:
    """Runs all steps one by one, without the rule."""
    gx = cell.project(params, seq.xs)
    return run_plain(cell, type(params), reverse, inputs_of(cell, params, seq, gx))


def inputs_of(cell: Cell, params: Any, seq: Sequence, gx: Array) -> Inputs:
    """What the loop reads, for a checked sequence."""
    return Inputs.of(cell, params, seq.carry, gx)._replace(
        reset_carry=seq.reset_carry,
        mask=seq.mask,
        resets=seq.resets,
        noise=seq.noise,
    )
