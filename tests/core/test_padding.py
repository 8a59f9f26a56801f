"""What lies in the padding does not matter, NaN included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from tests import cells
from tests.shapes import LENGTHS, B, D, T

LENGTH_MASK, MASK = cells.length_mask(), cells.make_flags().mask
PADDINGS = {
    "lengths": (dict(lengths=LENGTHS), LENGTH_MASK),
    "mask": (dict(flags=cells.Flags(MASK)), MASK),
}


def check_padding(name="lstm", padding="lengths", bad=np.nan, **options):
    cell = cells.CELLS[name]
    given, mask = PADDINGS[padding]
    at = cells.make_case(cell, "float32")

    def gradients(at):
        run = lambda at: cells.run(cell, at, **given, **options)
        outputs, pullback = jax.vjp(run, at)
        _, pushed = jax.jvp(run, (at,), (cells.draw(at, seed=5),))
        return outputs, pushed, pullback(jax.tree.map(jnp.cos, outputs))

    gradients = jax.jit(gradients)
    real = mask.reshape(mask.shape + (1,) * cell.feature_axes)
    fill = lambda value: at._replace(xs=jnp.where(real, at.xs, value))
    clean, dirty = gradients(fill(0.0)), gradients(fill(bad))
    for c, d in zip(jax.tree.leaves(clean), jax.tree.leaves(dirty), strict=True):
        assert np.isfinite(d).all()
        np.testing.assert_array_equal(d, c)
    assert not np.any(dirty[0][1][~mask])
    assert not np.any(dirty[2][0].xs[~mask])


@pytest.mark.parametrize(
    ("name", "padding", "reverse"),
    [
        (name, padding, reverse)
        for name in cells.CELLS
        for padding, reverse in [("lengths", False), ("mask", True)]
        + [("lengths", True), ("mask", False)] * (name == "lstm")
    ],
)
def test_nan_in_the_padding(name, padding, reverse):
    """Outputs, tangents and gradients are finite, and those of clean padding."""
    check_padding(name, padding, reverse=reverse)


@pytest.mark.parametrize("options", [{"bad": np.inf}, {"bad": 1e38}, {"plain": True}])
def test_other_rubbish(options):
    check_padding(**options)


def test_more_padding_changes_nothing():
    cell = cells.CELLS["lstm"]
    at = cells.make_case(cell, "float32")
    longer = at._replace(xs=jnp.concatenate([at.xs, jnp.full_like(at.xs, jnp.nan)]))
    for reverse in (False, True):
        run = lambda at, r=reverse: cells.run(cell, at, lengths=LENGTHS, reverse=r)
        (carry, hs), (longer_carry, longer_hs) = run(at), run(longer)
        cells.assert_close((longer_carry, longer_hs[:T]), (carry, hs), 1e-6)
        assert not np.any(longer_hs[T:])


@pytest.mark.parametrize("name", cells.CELLS)
@pytest.mark.parametrize("lengths", [LENGTHS, (2, 5, 3)], ids=str)
def test_every_row_equals_itself_unpadded(name, lengths):
    cell = cells.CELLS[name]
    at = cells.make_case(cell, "float32")
    assert len(lengths) == B
    carry, hs = cells.run(cell, at, lengths=lengths)
    for row, length in enumerate(lengths):
        one = lambda tree, row=row: jax.tree.map(lambda x: x[row], tree)
        alone = at._replace(carry=one(at.carry), xs=at.xs[:length, row])
        want = cells.run(cell, alone)
        cells.assert_close((one(carry), hs[:length, row]), want, 1e-6)


def test_a_row_of_length_zero_keeps_its_carry():
    """Bit for bit, in both directions; its gradient goes to the carry alone."""
    cell = cells.CELLS["lstm"]
    at = cells.make_case(cell, "float32")
    for reverse in (False, True):
        run = lambda at, r=reverse: cells.run(cell, at, lengths=LENGTHS, reverse=r)[0]
        carry, pullback = jax.vjp(run, at)
        assert np.array_equal(carry.h[0], at.carry.h[0])
        assert np.array_equal(carry.c[0], at.carry.c[0])
        (d,) = pullback(jax.tree.map(jnp.ones_like, carry))
        assert all(np.all(part[0] == 1) for part in d.carry)
        assert not np.any(d.xs[:, 0])


SKIPS = {
    "residual": lstm_jax.Stack([lstm_jax.LSTMCell(D)] * 2, skip="residual"),
    "residual, one layer": lstm_jax.Stack([lstm_jax.GRUCell(D)], skip="residual"),
    "dense": lstm_jax.Stack([lstm_jax.LSTMCell(D)] * 2, skip="dense"),
    "both ways": lstm_jax.Stack(
        [lstm_jax.LSTMCell(D)] * 2, bidirectional=True, merge="sum", skip="residual"
    ),
}


@pytest.mark.parametrize("name", SKIPS)
def test_no_skip_connection_carries_the_padding(name):
    stack, xs = SKIPS[name], np.ones((T, B, D), np.float32)
    xs[~LENGTH_MASK] = np.nan
    params = stack.init(jax.random.key(0), D)

    def loss(params, xs):
        hs = stack(params, None, xs, lengths=LENGTHS)[1]
        return jnp.sum(hs**2), hs

    gradients, hs = jax.grad(loss, (0, 1), has_aux=True)(params, jnp.asarray(xs))
    assert np.all(np.asarray(hs)[~LENGTH_MASK] == 0)
    assert np.any(np.asarray(hs)[LENGTH_MASK] != 0)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
