"""Edits against the recursion that defines them."""

import functools

import numpy as np
import pytest

from lstm_jax.scores.edits import NONE, Edits, aligned, count_edits, word_confusion


def distance(a, b):
    """Levenshtein's recursion."""

    @functools.cache
    def d(i, j):
        if not i or not j:
            return i + j
        same = d(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(same, d(i - 1, j) + 1, d(i, j - 1) + 1)

    return d(len(a), len(b))


@pytest.mark.parametrize("seed", range(40))
def test_edits_and_alignment(seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.choice([*"xyz"], rng.integers(0, 7)).tolist() for _ in range(2))
    found = count_edits(a, b)
    assert found == Edits(distance(a, b), len(a))
    pairs = [*aligned(a, b)]
    assert [left for left, _ in pairs if left != NONE] == a
    assert [right for _, right in pairs if right != NONE] == b
    assert sum(left != right for left, right in pairs) == found.edits
    classes = [*"xyz", NONE]
    counts = word_confusion(pairs, classes)
    assert counts.sum() == len(pairs)
    assert counts[0, 1] == pairs.count(("x", "y"))
    assert counts[3, 0] == pairs.count((NONE, "x"))


def test_rates_of_a_split():
    total = sum([Edits(1, 4), Edits(0, 6), Edits(3, 0)], Edits(0, 0))
    assert total.rate == 4 / 10
    assert Edits(0, 0).rate == 0
    assert Edits(2, 0).rate == 1
