"""Projecting a long sequence piece by piece changes nothing but memory."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import LSTMCarry, init_lstm, lstm

T, B, D, H = 12, 2, 3, 4
unroll_module = importlib.import_module("lstm_jax.core.unroll")


def run(params, xs, options, dtype=None):
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


@pytest.mark.parametrize("options", CALLS.values(), ids=CALLS)
def test_same_values_and_gradients(monkeypatch, options):
    params = init_lstm(jax.random.key(0), D, H)
    xs = jax.random.normal(jax.random.key(3), (T, B, D))
    both = jax.value_and_grad(run, argnums=(0, 1), has_aux=True)
    whole = both(params, xs, options)
    monkeypatch.setattr(unroll_module, "piece_length", lambda *_: 3)
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
    monkeypatch.setattr(unroll_module, "piece_length", lambda *_: 1)
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
        ((4099, 8, 256, 4), None),  # a prime: no divisor
        ((500, 1, 512, 4), None),  # a single row: never enough rows in a piece
    ],
)
def test_length_of_a_piece(sizes, steps):
    assert unroll_module.piece_length(*sizes) == steps
