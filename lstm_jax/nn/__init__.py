"""Flax NNX modules.

recurrent.py     any `lstm_jax.Stack` with its parameters
lstm.py          the LSTM: one step, and a stack of layers
weights.py       parameters of the core as NNX variables
"""

from lstm_jax.nn.lstm import LSTM, LSTMCell
from lstm_jax.nn.recurrent import Recurrent

__all__ = ["LSTM", "LSTMCell", "Recurrent"]
