"""Looks inside networks and cells.

trace.py                gates and states of every step, of a cell or a stack
reading.py              what the layers of a Flax model read, to trace them
statistics.py           saturation, time constants, drift
state_gradients.py      gradients of a loss by the states of earlier steps
jacobians.py            |dh_T/dh_t| and Lyapunov exponents
units.py                units that follow quotes, columns, indentation
worked_step.py          one step of an LSTM, equation by equation
vanishing.py            how gradients vanish in several cells at initialisation
check_cell.py           tests the derivative rule for a cell of your own
"""

from lstm_jax.diagnostics.check_cell import check_cell
from lstm_jax.diagnostics.jacobians import jacobian_norms, lyapunov_exponents
from lstm_jax.diagnostics.reading import Reading, readings
from lstm_jax.diagnostics.state_gradients import state_gradients
from lstm_jax.diagnostics.statistics import (
    Drift,
    Saturation,
    carry_drift,
    saturation,
    time_constant,
)
from lstm_jax.diagnostics.trace import Trace, trace, trace_stack
from lstm_jax.diagnostics.units import Found, find_units, text_signals
from lstm_jax.diagnostics.vanishing import Vanishing, vanishing_gradients
from lstm_jax.diagnostics.worked_step import Line, worked_step

__all__ = [
    "Drift",
    "Found",
    "Line",
    "Reading",
    "Saturation",
    "Trace",
    "Vanishing",
    "carry_drift",
    "check_cell",
    "find_units",
    "jacobian_norms",
    "lyapunov_exponents",
    "readings",
    "saturation",
    "state_gradients",
    "text_signals",
    "time_constant",
    "trace",
    "trace_stack",
    "vanishing_gradients",
    "worked_step",
]
