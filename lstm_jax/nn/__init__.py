"""Flax NNX modules."""

from lstm_jax.nn.lstm import LSTM, LSTMCell

__all__ = ["LSTM", "LSTMCell"]
