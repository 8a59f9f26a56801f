"""Faster backends of `lstm_jax.unroll`, each for one cell and one kind of machine."""
