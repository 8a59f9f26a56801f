"""Diagnostics of networks and cells.

state_gradients.py      gradients of a loss by the states of earlier steps
check_cell.py           tests the derivative rule for a cell of your own
"""

from lstm_jax.diagnostics.check_cell import check_cell
from lstm_jax.diagnostics.state_gradients import state_gradients

__all__ = ["check_cell", "state_gradients"]
