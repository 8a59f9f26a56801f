"""One table of shapes, for the tests and the benchmarks."""

T, B, D, H = 6, 3, 4, 5
"""Nearly every test runs at these: all different, so that no axis passes for another,
and shared, so that compilation does not eat the time."""

SPACE = (2, 7)
"""Places along the axes of space of a convolutional cell."""

LENGTHS = (0, 1, T)
"""One row each: nothing, a single step, everything."""

PEER_SHAPES = [
    (1, 128, 64, 64),
    (32, 128, 128, 128),
    (20, 35, 200, 200),
    (64, 100, 256, 512),
    (16, 1024, 256, 256),
    (1, 500, 512, 512),
    (1, 1, 64, 64),
    (1, 1, 512, 512),
    (8, 16, 128, 128),
    (128, 50, 512, 1024),
    (256, 20, 64, 32),
    (4, 4096, 64, 128),
]
"""``(B, T, D, H)`` at which the library is measured against others."""
