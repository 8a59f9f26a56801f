"""Random sequences of different lengths, for the tests of this room."""

import numpy as np
import pytest

SEEDS = pytest.mark.parametrize("seed", range(5))


def draw_lengths(seed, count=40, longest=12):
    """Lengths of 0, 1 and ``longest`` among random ones."""
    rng = np.random.default_rng(seed)
    return rng.permutation([0, 0, 1, longest, *rng.integers(0, longest, count - 4)])


def draw_sequences(seed, features=(3,), dtype=np.float32, **options):
    """Every number in them is different, none is 0."""
    lengths = draw_lengths(seed, **options)
    sizes = lengths * int(np.prod(features))
    numbers = np.split(np.arange(1, sizes.sum() + 1, dtype=dtype), np.cumsum(sizes))
    pairs = zip(numbers, lengths, strict=False)
    return [part.reshape(n, *features) for part, n in pairs]


def assert_same(got, want):
    """Equal lists of arrays, dtypes included."""
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == w.dtype
        np.testing.assert_array_equal(g, w, strict=True)
