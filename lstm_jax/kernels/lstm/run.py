"""Runs a checked sequence by the primitives of a kernel."""

from lstm_jax.core.cells.lstm import LSTMCarry, LSTMCell, LSTMParams
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.recurrence.scan import scan
from lstm_jax.core.recurrence.sequence import Sequence
from lstm_jax.kernels.lstm.binding import Primitives
from lstm_jax.kernels.lstm.operands import Operands


def run(
    primitives: Primitives,
    cell: LSTMCell,
    params: LSTMParams,
    seq: Sequence,
    reverse: bool,
    *,
    least_rows: int = 0,
):
    """The carry after the last step, and the outputs.

    The kernel runs if all steps together have ``least_rows`` rows or more.
    """
    if seq.xs.size == 0:
        return scan(cell, params, seq, reverse)
    reset_h, reset_c = seq.reset_carry or (None, None)
    narrow, wide = seq.xs.dtype, accumulation_dtype(seq.xs.dtype)
    at = Operands(
        xs=seq.xs,
        # The weights keep their own dtype, which their gradients have as well. The
        # kernel and the scan round them to that of the inputs.
        w_x=params.w_x,
        w_h=params.w_h,
        b=params.b.astype(wide),
        h0=seq.carry.h.astype(narrow),
        c0=seq.carry.c.astype(wide),
        mask=seq.mask,
        resets=seq.resets,
        reset_h=None if reset_h is None else reset_h.astype(narrow),
        reset_c=None if reset_c is None else reset_c.astype(wide),
    )
    hs, h, c = primitives.forward(at, reverse=reverse, least_rows=least_rows)
    return LSTMCarry(h, c), hs
