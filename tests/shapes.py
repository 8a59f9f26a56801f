"""One table of shapes for the tests; `lstm_jax.bench.shapes` has the large ones."""

T, B, D, H = 6, 3, 4, 5
"""Nearly every test runs at these: all different, so that no axis passes for another,
and shared, so that compilation does not eat the time."""

SPACE = (2, 7)
"""Places along the axes of space of a convolutional cell."""

LENGTHS = (0, 1, T)
"""One row each: nothing, a single step, everything."""
