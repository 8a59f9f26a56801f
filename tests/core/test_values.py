"""Every option, alone and together, gives the numbers of the oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from tests import cells, reference
from tests.shapes import LENGTHS, B, D, H, T

pytestmark = pytest.mark.usefixtures("x64")

STEPS = {"lstm": reference.lstm_step, "rnn": reference.rnn_step}
FLAGS = cells.make_flags()
OPTIONS = {
    "bare": {},
    "zero carry": dict(carry=None),
    "lengths": dict(lengths=LENGTHS),
    "mask": dict(mask=FLAGS.mask),
    "resets": dict(resets=FLAGS.resets),
    "reset to carry": dict(resets=FLAGS.resets, reset_carry=True),
    "all": dict(mask=FLAGS.mask, resets=FLAGS.resets, reset_carry=True),
    "lengths and resets": dict(lengths=LENGTHS, resets=FLAGS.resets, carry=None),
}


def arguments(at, options):
    """Keyword arguments for `lstm_jax.unroll`, and the same for the oracle."""
    ours = {"carry": at.carry} | options
    if ours.get("reset_carry"):
        ours["reset_carry"] = at.reset_carry
    theirs = dict(ours)
    if theirs["carry"] is None:
        theirs["carry"] = jax.tree.map(np.zeros_like, at.carry)
    if "lengths" in theirs:
        theirs["mask"] = cells.length_mask(theirs.pop("lengths"))
    return ours, theirs


def check_values(name="lstm", dtype=jnp.float64, **options):
    cell = cells.CELLS[name]
    at = cells.make_case(cell, dtype)
    ours, theirs = arguments(at, options)
    unroll = lambda at: lstm_jax.unroll(cell, at.params, xs=at.xs, **ours)
    want = reference.forward(STEPS[name], at.params, xs=at.xs, **theirs)
    cells.assert_close(jax.jit(unroll)(at), want, cells.tolerance(dtype))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", STEPS)
def test_matches_the_oracle(name, options, reverse):
    check_values(name, reverse=reverse, **options)


def test_matches_the_oracle_in_float32():
    check_values(dtype=jnp.float32, **OPTIONS["all"])


@pytest.mark.parametrize("implementation", ["scan", "plain"])
def test_every_implementation_matches(implementation):
    at = cells.make_case(cells.CELLS["lstm"])
    ours, theirs = arguments(at, OPTIONS["all"])
    got = lstm_jax.lstm(at.params, xs=at.xs, implementation=implementation, **ours)
    want = reference.forward(reference.lstm_step, at.params, xs=at.xs, **theirs)
    cells.assert_close(got, want, cells.tolerance(jnp.float64))


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)], ids=str)
def test_any_number_of_batch_axes(batch):
    cell, rows = cells.CELLS["lstm"], int(np.prod(batch))
    at = cells.make_case(cell, batch=batch)
    flags = cells.make_flags(rows=6)
    flags = cells.Flags(*(f[:, :rows].reshape(T, *batch) for f in flags))
    got = jax.jit(lambda at: cells.run(cell, at, flags))(at)
    flat = lambda x, lead: np.reshape(x, (*x.shape[:lead], rows, -1))
    want = reference.forward(
        reference.lstm_step,
        at.params,
        [flat(x, 0) for x in at.carry],
        flat(at.xs, 1),
        mask=flags.mask.reshape(T, rows),
        resets=flags.resets.reshape(T, rows),
        reset_carry=[flat(x, 0) for x in at.reset_carry],
    )
    want = jax.tree.map(
        lambda w, g: w.reshape(g.shape), jax.tree.leaves(want), jax.tree.leaves(got)
    )
    cells.assert_close(got, want, cells.tolerance(jnp.float64))


def test_lengths_without_batch_axes():
    cell = cells.CELLS["lstm"]
    at = cells.make_case(cell, batch=())
    for length in (0, 1, 4, np.int32(4), jnp.array(4)):
        carry, hs = cells.run(cell, at, lengths=length)
        want = cells.run(cell, at._replace(xs=at.xs[: int(length)]))
        cells.assert_close((carry, hs[: int(length)]), want, 1e-14)
        assert not hs[int(length) :].any()


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint64"])
def test_narrow_integer_lengths_of_long_sequences(kind):
    """Lengths may come in any integer dtype, and steps may not fit in it."""
    cell = cells.RNNCell(2)
    at = cells.make_case(cell, steps=300, batch=(2,), in_size=1)
    lengths = np.array([5, 120], kind)
    for given in (lengths, jnp.asarray(lengths)):
        _, hs = cells.run(cell, at, lengths=given)
        real = cells.length_mask(lengths, 300)
        assert np.array_equal(np.any(hs != 0, axis=-1), real)


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"lengths": [0] * B}])
def test_no_steps(options):
    """T = 0 returns the carry, bit for bit, and no outputs; gradients pass through."""
    cell = cells.CELLS["lstm"]
    at = cells.make_case(cell, steps=0)
    carry, hs = cells.run(cell, at, **options)
    assert hs.shape == (0, B, H)
    assert all(map(np.array_equal, carry, at.carry))
    d = jax.grad(lambda at: cells.run(cell, at, **options)[0].c.sum())(at)
    assert not any(np.any(x) for x in d.params)
    assert (np.all(d.carry.c == 1), np.any(d.carry.h)) == (True, False)


@pytest.mark.parametrize("name", cells.CELLS)
def test_no_steps_of_any_cell(name):
    """T = 0 returns the carry, bit for bit, and no outputs."""
    cell = cells.CELLS[name]
    at = cells.make_case(cell, steps=0)
    carry, hs = cells.run(cell, at, remat=True)
    assert hs.shape == (0, *at.carry.h.shape)
    assert all(map(np.array_equal, carry, at.carry))


@pytest.mark.parametrize("name", cells.CELLS)
@pytest.mark.parametrize("batch", [(0,), (2, 0)], ids=str)
def test_no_rows(name, batch):
    """An empty batch gives empty outputs and zero gradients."""
    cell = cells.CELLS[name]
    at = cells.make_case(cell, batch=batch)
    lengths = np.zeros(batch, np.int32)
    carry, hs = cells.run(cell, at, lengths=lengths)
    assert hs.shape == (T, *at.carry.h.shape)
    assert [c.shape for c in carry] == [c.shape for c in at.carry]
    d = jax.grad(lambda at: cells.run(cell, at, lengths=lengths)[1].sum())(at)
    assert not any(np.any(x) for x in jax.tree.leaves(d.params))


def test_step_by_step():
    """`lstm_step` in a Python loop is `lstm`."""
    at = cells.make_case(cells.CELLS["lstm"])
    carry, hs = at.carry, []
    step = jax.jit(lstm_jax.lstm_step)
    for x in at.xs:
        carry, h = step(at.params, carry, x)
        hs.append(h)
    want = lstm_jax.lstm(at.params, at.carry, at.xs)
    cells.assert_close((carry, jnp.stack(hs)), want, 1e-14)
    fresh, _ = lstm_jax.lstm_step(at.params, None, jnp.zeros((2, 7, D)))
    assert fresh.c.shape == (2, 7, H)


@pytest.mark.parametrize("name", cells.CELLS)
def test_rule_and_plain_have_the_same_values(name):
    cell, flags = cells.CELLS[name], FLAGS
    at = cells.make_case(cell)
    got, want = (
        jax.jit(lambda at, plain=plain: cells.run(cell, at, flags, plain=plain))(at)
        for plain in (False, True)
    )
    cells.assert_close(got, want, 1e-14)
