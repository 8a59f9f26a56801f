"""Models: Flax NNX modules around the LSTM."""
