"""Sizes of any number are equal only where they are equal for all numbers."""

import random

import pytest

from lstm_jax.interop.onnx.sizes import Size, exact_quotient, same, symbol

NAMES = ("T", "B", "N")


def random_size(rng, depth=3):
    """An expression, and its value at some numbers."""
    values = {name: rng.randrange(0, 50) for name in NAMES}

    def draw(depth):
        if depth == 0 or rng.random() < 0.3:
            name = rng.choice([*NAMES, None])
            number = rng.randrange(-3, 4)
            return (symbol(name), values[name]) if name else (number, number)
        (a, x), (b, y) = draw(depth - 1), draw(depth - 1)
        return rng.choice([(a + b, x + y), (a - b, x - y), (a * b, x * y)])

    return draw(depth), values


def value_of(size, values):
    if not isinstance(size, Size):
        return size
    total = 0
    for names, number in size.terms.items():
        for name in names:
            number *= values[name]
        total += number
    return total


def test_arithmetic():
    rng = random.Random(0)
    for _ in range(500):
        (size, want), values = random_size(rng)
        assert value_of(size, values) == want


def test_what_is_the_same():
    """An answer holds at all numbers; where there is none, both happen."""
    rng = random.Random(1)
    answers = set()
    for _ in range(500):
        (one, _), _ = random_size(rng, 2)
        (other, _), _ = random_size(rng, 2)
        numbers = [{n: rng.randrange(0, 4) for n in NAMES} for _ in range(60)]
        equal = {value_of(one, v) == value_of(other, v) for v in numbers}
        try:
            answer = same(one, other)
        except ValueError:
            answers.add(None)
            continue
        answers.add(answer)
        assert equal == {answer}
    assert answers == {True, False, None}


def test_quotients_have_no_remainder():
    T, B = symbol("T"), symbol("B")
    assert exact_quotient(T * B * 12, B * 3) == T * 4
    assert exact_quotient(T + 1, T + 1) == 1
    for wrong in [(T, 2), (T, B), (T + 1, T), (T, 0), (5, T), (T * 3, T * 2)]:
        with pytest.raises(ValueError, match="/"):
            exact_quotient(*wrong)


def test_a_size_does_not_grow_without_end():
    size = symbol("T") + symbol("B") + symbol("N")
    size = size * size * size
    with pytest.raises(ValueError, match="too many terms"):
        size * size * size
    with pytest.raises(ValueError, match="out of range"):
        symbol("T") * 2**62
