"""The compute dtype is kept; sums and the cell state have at least 32 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from tests import cells
from tests.shapes import B, D, H, T

WIDE = {jnp.float16: jnp.float32, jnp.bfloat16: jnp.float32}
DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: jnp.dtype(d).name)
@pytest.mark.parametrize("params_dtype", [jnp.float32, None], ids=["f32", "same"])
def test_dtypes_are_kept(x64, dtype, params_dtype):
    """Outputs, carries, gradients and tangents, with parameters of either dtype."""
    cell = lstm_jax.LSTMCell(H)
    params = cell.init(jax.random.key(0), D, dtype=params_dtype or dtype)
    xs = jnp.ones((T, B, D), dtype)
    wide = WIDE.get(dtype, dtype)

    def check(carry, hs):
        assert hs.dtype == carry.h.dtype == dtype
        assert carry.c.dtype == wide

    run = lambda params, carry, xs: lstm_jax.lstm(params, carry, xs, lengths=[1, T, 0])
    out = run(params, None, xs)
    check(*out)
    check(*run(params, out[0], xs))
    check(*lstm_jax.lstm_step(params, out[0], xs[0]))
    check(
        *jax.eval_shape(lambda *args: jax.jvp(run, args, args)[1], params, out[0], xs)
    )
    grads = jax.eval_shape(
        lambda *args: jax.vjp(run, *args)[1](out), params, out[0], xs
    )
    dtypes = lambda tree: jax.tree.map(lambda x: x.dtype, tree)
    assert dtypes(grads) == dtypes((params, out[0], xs))


@pytest.mark.parametrize("name", cells.CELLS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: jnp.dtype(d).name)
def test_every_cell_keeps_dtypes(x64, name, dtype):
    """Outputs and h have the compute dtype, the rest of a carry is wide."""
    cell = cells.CELLS[name]
    at = cells.make_case(cell, dtype)
    run = lambda at, params: cells.run(cell, at._replace(params=params))
    out, d = jax.eval_shape(lambda *args: jax.jvp(run, args, args), at, at.params)
    for carry, hs in (out, d):
        h, *others = carry
        assert hs.dtype == h.dtype == dtype
        assert all(c.dtype == WIDE.get(dtype, dtype) for c in others)
    pull = lambda at, params: jax.vjp(run, at, params)[1](run(at, params))
    dtypes = lambda tree: jax.tree.map(lambda x: x.dtype, tree)
    wide = jax.tree.map(lambda p: p.astype(jnp.float64), at.params)
    assert dtypes(jax.eval_shape(pull, at, wide)) == dtypes((at, wide))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_compute_dtype_argument(dtype):
    """``dtype=`` computes float32 inputs and parameters in 16 bits."""
    at = cells.make_case(lstm_jax.LSTMCell(H), "float32")
    got = lstm_jax.lstm(at.params, None, at.xs, dtype=dtype)
    want = lstm_jax.lstm(at.params, None, at.xs.astype(dtype))
    assert got[1].dtype == dtype
    assert jax.tree.all(jax.tree.map(np.array_equal, got, want))
    d = jax.grad(lambda xs: lstm_jax.lstm(at.params, None, xs, dtype=dtype)[0].c.sum())
    assert d(at.xs).dtype == jnp.float32


def test_bfloat16_values_are_close():
    at = cells.make_case(lstm_jax.LSTMCell(H), "float32")
    got = lstm_jax.lstm(at.params, None, at.xs, dtype=jnp.bfloat16)
    want = lstm_jax.lstm(at.params, None, at.xs)
    cells.assert_close(got, want, cells.tolerance(jnp.bfloat16))


def test_bfloat16_weight_gradient_is_no_worse_than_the_plain_one():
    """One product with float32 sums beats a running bfloat16 sum over time."""
    at = cells.make_case(
        lstm_jax.LSTMCell(16), "float32", steps=64, batch=(8,), in_size=8
    )

    @jax.jit
    def gradients(params, xs):
        def loss(params, dtype, implementation):
            options = dict(dtype=dtype, implementation=implementation)
            hs = lstm_jax.lstm(params, None, xs, **options)[1]
            return jnp.sum(jnp.sin(hs.astype(jnp.float32)))

        grad = jax.grad(loss)
        return [
            grad(params, dtype, implementation)
            for dtype, implementation in [
                (jnp.float32, "plain"),
                (jnp.bfloat16, "scan"),
                (jnp.bfloat16, "plain"),
            ]
        ]

    exact, ours, plain = gradients(at.params, at.xs)
    error = lambda d, want: np.linalg.norm(d - want) / np.linalg.norm(want)
    for d, d_plain, want in zip(ours, plain, exact, strict=True):
        assert error(d, want) <= 1.02 * error(d_plain, want)
        assert error(d, want) < cells.tolerance(jnp.bfloat16)
