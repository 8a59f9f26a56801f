"""The problems of long memory, against their definitions, sequence by sequence."""

import math
import re

import jax
import numpy as np
import pytest

from lstm_jax.tasks import reber
from lstm_jax.tasks.memory_problems import PROBLEMS, Adding, Copy, Order, Reber

B = 200


def drawn(problem, batch=B, seed=3):
    xs, targets = problem.draw(jax.random.key(seed), batch)
    assert xs.shape == (problem.steps, batch, problem.in_size)
    return np.asarray(xs), np.asarray(targets)


def symbols(xs):
    assert ((xs == 0) | (xs == 1)).all()
    assert (xs.sum(-1) == 1).all()
    return xs.argmax(-1)


@pytest.mark.parametrize("length", [2, 3, 10, 31])
def test_adding(length):
    xs, sums = drawn(Adding(length))
    half = length // 2
    for x, total in zip(xs.swapaxes(0, 1), sums, strict=True):
        marked = np.flatnonzero(x[:, 1])
        assert len(marked) == 2
        assert marked[0] < half <= marked[1]
        assert total == pytest.approx(x[marked, 0].sum())
    assert 0 <= xs[..., 0].min() < 0.1 < 0.9 < xs[..., 0].max() < 1
    firsts, seconds = xs[:half, :, 1].argmax(0), xs[half:, :, 1].argmax(0)
    assert {*firsts} == {*range(half)}, "a place that is never marked"
    assert {*seconds} == {*range(length - half)}


def test_what_adding_without_a_memory_costs():
    _, sums = drawn(Adding(20), 20_000)
    problem = Adding(20)
    assert problem.losses(np.ones((20_000, 1)), sums).mean() == pytest.approx(
        problem.memoryless, rel=0.03
    )


@pytest.mark.parametrize("length", [1, 2, 9])
def test_copy(length):
    xs, targets = drawn(Copy(length))
    for x, target in zip(symbols(xs).T, targets.T, strict=True):
        assert x[:10].max() <= 7
        assert x[10:].tolist() == [8] * (length - 1) + [9] + [8] * 10
        assert target.tolist() == [8] * (length + 10) + x[:10].tolist()


def test_what_copying_without_a_memory_costs():
    """Blanks for certain, then one of eight at random."""
    problem = Copy(5)
    _, targets = drawn(problem)
    outputs = np.full((problem.steps, B, 9), -1e9)
    outputs[:-10, :, 8] = outputs[-10:, :, :8] = 0
    losses = problem.losses(outputs, targets)
    assert problem.memoryless == pytest.approx(10 * math.log(8) / 25)
    np.testing.assert_allclose(losses, problem.memoryless, rtol=1e-5)


@pytest.mark.parametrize("length", [10, 14, 105])
def test_order(length):
    xs, orders = drawn(Order(length))
    for x, order in zip(symbols(xs).T, orders, strict=True):
        assert (x[0], x[-1]) == (6, 7)
        at = np.flatnonzero((x == 4) | (x == 5))
        assert len(at) == 2
        assert length // 10 <= at[0] <= length / 5
        assert length / 2 - 1 < at[1] <= 0.6 * length
        assert order == 2 * (x[at[0]] == 5) + (x[at[1]] == 5)
        assert max(np.delete(x, [0, -1, *at])) <= 3
    assert {*orders.tolist()} == {0, 1, 2, 3}


# The grammar once more, as it is usually told.
AFTER_P = "(?:V|P(?:XT*VP)*(?:S|XT*VV))"
PLAIN = f"B(?:TS*X(?:XT*VP)*(?:S|XT*VV)|PT*V{AFTER_P})E"
EMBEDDED = re.compile(f"BT{PLAIN}TE|BP{PLAIN}PE")


def strings(length):
    """Every string of the grammar with so many symbols."""

    def four(n):
        yield from ["S"] if n == 1 else []
        for loops in range(max(n - 2, 0)):
            yield from ("X" + "T" * loops + "V" + s for s in five(n - 2 - loops))

    def five(n):
        yield from ["V"] if n == 1 else []
        yield from ("P" + s for s in four(n - 1)) if n > 1 else []

    n = length - 6
    for loops in range(max(n - 2, 0)):
        for s in four(n - 2 - loops):
            inner = "BT" + "S" * loops + "X" + s + "E"
            yield from ("B" + c + inner + c + "E" for c in "TP")
        for s in five(n - 2 - loops):
            inner = "BP" + "T" * loops + "V" + s + "E"
            yield from ("B" + c + inner + c + "E" for c in "TP")


@pytest.mark.parametrize("length", [9, 10, 13, 40])
def test_reber(length):
    xs, targets = drawn(Reber(length))
    inputs, seconds = symbols(xs), set()
    for x, target in zip(inputs.T, targets.T, strict=True):
        assert x[1:].tolist() == target[:-1].tolist()
        string = "".join(reber.SYMBOLS[n] for n in [*x, target[-1]])
        assert EMBEDDED.fullmatch(string), string
        assert reber.accepts(string)
        assert not reber.accepts(string[:-1] + "P")
        seconds.add(string[1])
    assert seconds == {"T", "P"}


@pytest.mark.parametrize("length", [9, 11, 14])
def test_every_string_of_a_length_can_be_drawn_and_its_entropy(length):
    possible = {*strings(length)}
    xs, targets = drawn(Reber(length), 4000)
    rows = np.concatenate([symbols(xs), targets[-1:]]).T
    assert {"".join(reber.SYMBOLS[n] for n in row) for row in rows} == possible

    def nats(prefix):
        following = {s[len(prefix)] for s in possible if s.startswith(prefix)}
        if len(prefix) == length - 1:
            return 0.0
        mean = np.mean([nats(prefix + c) for c in following])
        return math.log(len(following)) + mean

    assert reber.expected_entropy(length) == pytest.approx(nats("B"))
    memoryless = (nats("B") + math.log(2)) / (length - 1)
    assert Reber(length).memoryless == pytest.approx(memoryless)


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_is_right_and_what_is_not(name):
    """Answers that are the targets are right; answers without the memory are not."""
    problem = PROBLEMS[name](14)
    _, targets = drawn(problem)
    if name == "adding":
        right, wrong = targets[:, None], np.ones((B, 1), np.float32)
    else:
        right = np.asarray(jax.nn.one_hot(targets, problem.out_size))
        wrong = np.roll(right, 1, -1)
    assert problem.right(right, targets).mean() == 1
    assert problem.right(wrong, targets).mean() < 0.15


def test_what_counts_as_solved():
    assert Adding(9).is_solved(0.9e-3, 0.0)
    assert not Adding(9).is_solved(1.1e-3, 1.0)
    tenth = 0.1 * Copy(9).memoryless
    assert Copy(9).is_solved(0.99 * tenth, 0.0)
    assert not Copy(9).is_solved(1.01 * tenth, 1.0)
    assert Reber(9).is_solved(9.0, 0.99)
    assert not Order(10).is_solved(0.0, 0.98)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_seed_draws_the_same_and_another_does_not(name):
    problem = PROBLEMS[name](20)
    one, again, other = (drawn(problem, 8, seed)[0] for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()
