"""Faster backends of `lstm_jax.unroll`, for one cell and one kind of machine."""
