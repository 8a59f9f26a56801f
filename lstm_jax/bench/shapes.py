"""``(B, T, D, H)`` at which the library is measured against others."""

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

SHORT = [(1, 128, 64, 64), (32, 128, 128, 128)]
"""What ``lstm-jax bench`` takes by default: one sequence, and a batch of them."""
