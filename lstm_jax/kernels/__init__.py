"""Faster versions of `lstm_jax.unroll` for one cell and one kind of machine."""
