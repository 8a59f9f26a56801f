"""What goes on inside a network: gradients of its states."""

from lstm_jax.diagnostics.state_gradients import state_gradients

__all__ = ["state_gradients"]
