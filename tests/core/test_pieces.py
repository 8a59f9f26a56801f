"""A sequence may be cut, packed and reversed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from tests import cells
from tests.core.test_derivatives import evaluate, grad_and_hvp, plain_figures
from tests.shapes import B, D, T

pytestmark = pytest.mark.usefixtures("x64")

FLAGS = cells.make_flags()
part = lambda tree, *at: jax.tree.map(lambda x: x[slice(*at)], tree)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", cells.CELLS)
def test_two_halves_are_the_whole(name, reverse):
    """With the state carried over a cut, outputs and final state are the same.

    Backwards the boundary at the cut belongs to the first half's last step, so the cut
    is made where no episode begins.
    """
    cell, cut = cells.CELLS[name], T // 2
    at = cells.make_case(cell)
    flags = FLAGS._replace(resets=FLAGS.resets & (np.arange(T) != cut)[:, None])
    run = jax.jit(lambda at, flags: cells.run(cell, at, flags, reverse=reverse))
    halves = [(part(at.xs, 0, cut), part(flags, 0, cut))]
    halves += [(part(at.xs, cut, T), part(flags, cut, T))]
    carry, outputs = at.carry, []
    for xs, half in halves[:: -1 if reverse else 1]:
        carry, hs = run(at._replace(carry=carry, xs=xs), half)
        outputs.append(hs)
    hs = jnp.concatenate(outputs[:: -1 if reverse else 1])
    cells.assert_close((carry, hs), run(at, flags), 1e-14)


def test_derivatives_through_two_halves():
    cell = cells.CELLS["lstm"]

    def loss(at, flags):
        outputs, carry = [], at.carry
        for cut in ((0, 2), (2, T)):
            here = at._replace(carry=carry, xs=part(at.xs, *cut))
            carry, hs = cells.run(cell, here, part(flags, *cut))
            outputs.append(hs)
        return cells.scalar((carry, jnp.concatenate(outputs)))

    got = evaluate(grad_and_hvp, loss, cells.make_case(cell), FLAGS)
    want = plain_figures("lstm")
    cells.assert_close(got, (want["grad"], want["hvp"]), cells.DERIVATIVES)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", cells.CELLS)
def test_a_packed_row_is_its_episodes(name, reverse):
    """Each from the reset carry; the first to run, from the carry."""
    cell, starts = cells.CELLS[name], (0, 2, 3)
    at = cells.make_case(cell, batch=())
    resets = np.isin(np.arange(T), starts[1:])
    carry, hs = cells.run(cell, at, cells.Flags(None, resets), reverse=reverse)
    episodes = [slice(a, b) for a, b in zip(starts, (*starts[1:], T), strict=True)]
    first, last = (-1, 0) if reverse else (0, -1)
    for episode in episodes:
        start = at.carry if episode == episodes[first] else at.reset_carry
        alone = at._replace(carry=start, xs=at.xs[episode])
        end, want = cells.run(cell, alone, reverse=reverse)
        cells.assert_close(hs[episode], want, 1e-14)
        if episode == episodes[last]:
            cells.assert_close(carry, end, 1e-14)


def test_a_reset_on_a_masked_step_applies():
    cell = cells.CELLS["lstm"]
    at = cells.make_case(cell, batch=(), steps=2)
    mask, resets = np.array([True, False]), np.array([False, True])
    carry, _ = cells.run(cell, at, cells.Flags(mask, resets))
    assert all(map(np.array_equal, carry, at.reset_carry))


def test_a_reset_without_reset_carry_goes_to_zeros():
    """Never to the carry argument, which may be in the middle of an episode."""
    cell = cells.CELLS["lstm"]
    at = cells.make_case(cell, batch=())
    resets = np.arange(T) == 0
    got = lstm_jax.lstm(at.params, at.carry, at.xs, resets=resets)
    cells.assert_close(got, lstm_jax.lstm(at.params, None, at.xs), 0)


@pytest.mark.parametrize("name", cells.CELLS)
def test_reverse_twice_is_the_identity(name):
    """Backwards over the flipped input is forwards, flipped; with a mask too."""
    cell = cells.CELLS[name]
    at = cells.make_case(cell)
    flags = cells.Flags(mask=FLAGS.mask)
    run = lambda at, flags, **options: cells.run(cell, at, flags, **options)
    want = jax.jit(run)(at, flags)
    carry, hs = jax.jit(lambda at, flags: run(at, flags, reverse=True))(
        at._replace(xs=at.xs[::-1]), cells.Flags(mask=flags.mask[::-1])
    )
    cells.assert_close((carry, hs[::-1]), want, 1e-14)


@pytest.mark.parametrize("name", cells.CELLS)
def test_rows_do_not_see_each_other(name):
    """Rubbish in one row leaves every bit of the others alone, gradients included."""
    cell = cells.CELLS[name]
    at = cells.make_case(cell)

    @jax.jit
    def outputs(at):
        out, pullback = jax.vjp(lambda at: cells.run(cell, at, FLAGS), at)
        (d,) = pullback(jax.tree.map(jnp.cos, out))
        return out, (d.carry, d.xs)

    row = jnp.arange(B).reshape(-1, *(1,) * cell.feature_axes)
    spoil = lambda x: jnp.where(row == 2, jnp.nan, x)
    spoilt = at._replace(carry=jax.tree.map(spoil, at.carry), xs=jax.vmap(spoil)(at.xs))
    (carry, hs), (d_carry, dxs) = outputs(at)
    (carry_2, hs_2), (d_carry_2, dxs_2) = outputs(spoilt)
    for a, b in zip((*carry, *d_carry), (*carry_2, *d_carry_2), strict=True):
        assert np.array_equal(a[:2], b[:2])
    assert np.array_equal(hs[:, :2], hs_2[:, :2])
    assert np.array_equal(dxs[:, :2], dxs_2[:, :2])
    assert not np.isfinite(hs_2[:, 2]).all()
    assert dxs.shape[-1] == D
