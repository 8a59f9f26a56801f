"""Running a long sequence in chunks changes nothing but memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import LSTMCarry, init_lstm, lstm
from lstm_jax.core.recurrence import chunks
from tests import cells
from tests.core.test_derivatives import MODES, evaluate

T, B, D, H = 12, 2, 3, 4


def run(params, xs, options, dtype=None):
    options = dict(implementation="scan") | options
    carry, hs = lstm(params, None, xs, dtype=dtype, **options)
    weights = jnp.cos(jnp.arange(hs.size).reshape(hs.shape))
    return (hs.astype(jnp.float32) * weights).sum() + carry.c.sum(), (carry, hs)


def flags(seed, share):
    return jax.random.bernoulli(jax.random.key(seed), share, (T, B))


CALLS = {
    "plain": {},
    "lengths": {"lengths": np.array([12, 5])},
    "all": {
        "mask": flags(1, 0.7),
        "resets": flags(2, 0.3),
        "reset_carry": LSTMCarry(jnp.full((B, H), 0.2), jnp.full((B, H), -0.3)),
        "reverse": True,
    },
}


@pytest.mark.parametrize("length", [3, 5, T])
@pytest.mark.parametrize("options", CALLS.values(), ids=CALLS)
def test_same_values_and_gradients(monkeypatch, options, length):
    """Also with a rest that fills no chunk."""
    params = init_lstm(jax.random.key(0), D, H)
    xs = jax.random.normal(jax.random.key(3), (T, B, D))
    both = jax.value_and_grad(run, argnums=(0, 1), has_aux=True)
    whole = both(params, xs, options)
    monkeypatch.setattr(chunks, "piece_length", lambda *_: length)
    pieces = both(params, xs, options)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6),
        whole,
        pieces,
    )


def test_gradients_of_narrow_parameters_are_summed_in_float32(monkeypatch):
    """Summed in bfloat16, 256 pieces of one step would lose several per cent."""
    steps = 256
    wide = init_lstm(jax.random.key(0), D, H)
    narrow = jax.tree.map(lambda p: p.astype(jnp.bfloat16), wide)
    xs = jax.random.normal(jax.random.key(3), (steps, B, D)) + 1
    grad = jax.jit(jax.grad(lambda p: run(p, xs, {})[0]))
    exact = grad(jax.tree.map(lambda p: p.astype(jnp.float32), narrow))
    monkeypatch.setattr(chunks, "piece_length", lambda *_: 1)
    got = jax.grad(lambda p: run(p, xs, {})[0])(narrow)
    for a, b in zip(exact, got, strict=True):
        assert b.dtype == jnp.bfloat16
        error = jnp.abs(a - b.astype(jnp.float32)).max() / jnp.abs(a).max()
        assert error < 2**-8


@pytest.mark.parametrize(
    ("sizes", "steps"),
    [
        ((128, 32, 128, 4), None),  # gx fits a cache
        ((4096, 8, 256, 4), 128),
        ((1024, 16, 256, 4), 64),
        ((4099, 8, 256, 4), 128),  # a prime: the rest is a chunk of its own
        ((500, 1, 512, 4), None),  # a single row: never enough rows in a piece
    ],
)
def test_length_of_a_piece(sizes, steps):
    assert chunks.piece_length(*sizes) == steps


def check_remat(name, remat):
    cell, at = cells.CELLS[name], cells.make_case(cells.CELLS[name])
    flags = cells.make_flags()
    _, mode = MODES["forward over reverse"]
    both = lambda f, at, v: (jax.grad(f)(at), mode(f, at, v))
    loss = lambda at, flags, **kw: cells.loss(cell, at, flags, reverse=True, **kw)
    got = evaluate(both, lambda at, flags: loss(at, flags, remat=remat), at, flags)
    want = evaluate(both, loss, at, flags)
    cells.assert_close(got, want, cells.DERIVATIVES)


@pytest.mark.parametrize("remat", [True, 4])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_remat_changes_no_derivative(name, remat, x64):
    """Gradient and Hessian-vector product, with a mask, resets and a reset carry."""
    check_remat(name, remat)


@pytest.mark.parametrize("name", cells.CELLS)
def test_remat_changes_no_gradient_of_any_cell(name, x64):
    """Values too; in a loop of chunks and a rest."""
    cell = cells.CELLS[name]
    at, flags = cells.make_case(cell), cells.make_flags()
    loss = lambda at, **kw: cells.loss(cell, at, flags, **kw)
    both = lambda **kw: jax.jit(
        lambda at: jax.value_and_grad(lambda at: loss(at, **kw))(at),
        compiler_options=cells.QUICK,
    )(at)
    cells.assert_close(both(remat=4), both(), cells.DERIVATIVES)


@pytest.mark.parametrize("remat", [True, 2, T])
def test_remat_of_no_rows(remat):
    params = init_lstm(jax.random.key(0), D, H)
    assert lstm(params, None, jnp.ones((T, 0, D)), remat=remat)[1].shape == (T, 0, H)


def test_remat_keeps_carries_alone():
    """The gradient stores no residual as long as the sequence."""
    steps, rows, hidden = 256, 2, 32
    params = init_lstm(jax.random.key(0), hidden, hidden)
    xs = jnp.ones((steps, rows, hidden))
    loss = lambda params, remat: lstm(params, None, xs, remat=remat)[1].sum()

    def memory(remat):
        grad = jax.jit(jax.grad(lambda params: loss(params, remat)))
        return grad.lower(params).compile().memory_analysis().temp_size_in_bytes

    assert memory(True) < 0.3 * memory(None)


@pytest.mark.parametrize("remat", [0, -3, 2.5, "yes"])
def test_remat_that_is_no_length(remat):
    params = init_lstm(jax.random.key(0), D, H)
    with pytest.raises(ValueError, match=r"remat is .*, expected None, True or a num"):
        lstm(params, None, jnp.ones((T, B, D)), remat=remat)


@pytest.mark.parametrize(("steps", "length"), [(16384, 128), (100, 10), (97, 10)])
def test_chunks_of_about_the_square_root(steps, length):
    xs = jax.ShapeDtypeStruct((steps, B, D), jnp.float32)
    assert chunks.chunk_length(xs, cells.CELLS["lstm"], remat=True) == length
