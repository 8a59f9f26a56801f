"""The mathematics: cells, their unrolling over time, stacks. Needs jax alone."""
