"""What goes on inside a network.

state_gradients.py      how much of a loss reaches the states of earlier steps
check_cell.py           whether the derivative rule holds for a cell of your own
"""

from lstm_jax.diagnostics.check_cell import check_cell
from lstm_jax.diagnostics.state_gradients import state_gradients

__all__ = ["check_cell", "state_gradients"]
