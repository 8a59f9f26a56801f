"""A linear recurrence without a loop is the recurrence, step by step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import MinLSTMCarry, MinLSTMCell, MinLSTMParams, unroll
from tests import cells
from tests.core.test_cell_oracles import min_lstm_step
from tests.core.test_derivatives import FIGURES, check_both
from tests.reference import forward, sigmoid
from tests.shapes import B, H, T

CELL = cells.CELLS["min lstm"]


@pytest.mark.parametrize("plain", [False, True], ids=["associative", "plain"])
def test_there_is_no_loop(plain):
    at = cells.make_case(CELL, "float32")
    grad = jax.grad(lambda at: cells.loss(CELL, at, cells.make_flags(), plain=plain))
    assert ("scan[" in str(jax.make_jaxpr(grad)(at))) is plain


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8])
def test_any_length(steps, reverse, x64):
    """With holes, resets on masked steps, and rows of length 0 and 1."""
    flags = cells.make_flags(T)
    flags = jax.tree.map(lambda f: np.concatenate([f, f])[:steps], flags)
    loss = functools.partial(cells.loss, CELL, reverse=reverse)
    check_both(loss, cells.make_case(CELL, steps=steps), flags, mode=FIGURES["grad"])


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)], ids=str)
def test_any_number_of_batch_axes(batch, x64):
    rows = int(np.prod(batch))
    flags = cells.make_flags(rows=6)
    flags = cells.Flags(*(f[:, -rows:].reshape(T, *batch) for f in flags))
    loss = functools.partial(cells.loss, CELL)
    check_both(loss, cells.make_case(CELL, batch=batch), flags)


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"lengths": [0] * B}])
def test_no_steps(options, x64):
    at = cells.make_case(CELL, steps=0)
    carry, hs = cells.run(CELL, at, **options)
    assert hs.shape == (0, B, H)
    np.testing.assert_array_equal(carry.h, at.carry.h)
    d = jax.grad(lambda at: cells.run(CELL, at, **options)[0].h.sum())(at)
    assert not any(np.any(x) for x in d.params)
    np.testing.assert_array_equal(d.carry.h, 1)


def test_a_masked_row_keeps_its_carry_bit_for_bit():
    at = cells.make_case(CELL, "float32")
    resets = np.zeros((T, B), bool)
    resets[2, 1] = True
    carry, _ = cells.run(CELL, at, cells.Flags(np.zeros((T, B), bool), resets))
    np.testing.assert_array_equal(carry.h[0], at.carry.h[0])
    np.testing.assert_array_equal(carry.h[1], at.reset_carry.h[1])


@pytest.mark.parametrize("h", [0.0, -3.0, 1e-30])
def test_derivative_by_the_carry(h, x64):
    """``dh_T / dh_0`` is the product of the forget gates, whatever ``h_0``."""
    at = cells.make_case(CELL, batch=())
    run = lambda h: unroll(CELL, at.params, MinLSTMCarry(h), at.xs)[1]
    jacobian = jax.jit(jax.jacrev(run))(jnp.full(H, h))
    z_i, z_f, _ = np.split(at.xs @ at.params.w_x + at.params.b[None], 3, axis=-1)
    i, f = sigmoid(z_i), sigmoid(z_f)
    decay = np.cumprod(f / (f + i), axis=0)
    cells.assert_close(jacobian, decay[:, :, None] * np.eye(H), 1e-14)


@pytest.mark.parametrize("forget_bias", [0.0, 4.0, 9.0])
def test_long_sequences_stay_accurate(forget_bias, x64):
    """Float32 over 4096 steps, of which up to thousands are remembered."""
    steps = 4096
    at = cells.make_case(CELL, jnp.float32, steps=steps, batch=(2,))
    b = at.params.b.at[H : 2 * H].add(forget_bias)
    at = at._replace(params=at.params._replace(b=b))
    flags = cells.Flags(resets=jnp.zeros((steps, 2), bool).at[2500, 1].set(True))
    got = jax.jit(lambda at: cells.run(CELL, at, flags))(at)
    want = forward(
        min_lstm_step,
        at.params,
        at.carry,
        at.xs,
        resets=flags.resets,
        reset_carry=at.reset_carry,
    )
    cells.assert_close(got, (type(at.carry)(*want[0]), want[1]), 4e-6)


@pytest.mark.parametrize("name", ["scan", "plain"])
def test_huge_pre_activations(name):
    """Finite in float32 with holes and a carry of zeros, and right where ``f + i`` is
    0 in floating point."""
    at = cells.make_case(CELL, "float32", steps=8)
    signs = np.random.default_rng(0).choice([200.0, -200.0], at.xs.shape)
    w_x = np.tile(np.eye(at.xs.shape[-1], dtype=np.float32), 4)[:, : 3 * H]
    xs = jnp.asarray(signs, jnp.float32)
    mask = jnp.asarray(np.arange(8)[:, None] >= [0, 4, 8])
    params = MinLSTMParams(jnp.asarray(w_x), jnp.zeros(3 * H))

    def run(params, carry, xs):
        return unroll(CELL, params, carry, xs, mask=mask, implementation=name)

    args = params, MinLSTMCarry(jnp.zeros((B, H))), xs
    out, pullback = jax.vjp(run, *args)
    figures = out, jax.jvp(run, args, args), pullback(out)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(figures))
    low = MinLSTMParams(jnp.zeros((1, 3)), jnp.array([-200.0, -200.0, 1.0]))
    options = dict(dtype=jnp.float32, implementation=name)
    carry, _ = unroll(MinLSTMCell(1), low, None, jnp.ones((2, 1)), **options)
    np.testing.assert_allclose(carry.h, [0.5 * 1.5 + 0.25 * 1.5], rtol=1e-6)


@pytest.mark.parametrize("name", ["scan", "plain"])
def test_the_corner_of_the_candidate_has_a_slope(name, x64):
    """At 0, where zero inputs and biases are, that of the side it belongs to."""
    params = MinLSTMParams(jnp.zeros((1, 3)), jnp.zeros(3))
    run = functools.partial(unroll, MinLSTMCell(1), implementation=name)
    last = lambda p: run(p, None, jnp.ones((1, 1)))[1]
    d = jax.grad(lambda p: last(p).sum())(params)
    np.testing.assert_allclose(d.b, [1 / 16, -1 / 16, 1 / 2], rtol=1e-12)


def test_sixteen_bits_are_summed_in_thirty_two():
    """A slow average moves by less than a bfloat16 can tell."""
    steps = 2048
    params = MinLSTMParams(jnp.ones((1, 3)), jnp.array([0.0, 7.0, 0.5]))
    xs = jax.random.normal(jax.random.key(0), (steps, 2, 1), jnp.bfloat16)
    carry, hs = unroll(MinLSTMCell(1), params, None, xs)
    assert hs.dtype == carry.h.dtype == jnp.bfloat16
    _, want = forward(min_lstm_step, params, [np.zeros((2, 1))], xs)
    cells.assert_close(hs, want, 2**-8)
