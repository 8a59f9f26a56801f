"""Initialisers act on each gate by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from lstm_jax import init

D, H = 40, 30
KEY = jax.random.key(3)
DTYPES = [jnp.float32, jnp.bfloat16]


def check_forget_bias(**options):
    params = lstm_jax.init_lstm(KEY, D, H, **options)
    i, f, g, o = np.split(np.asarray(params.b, np.float32), 4)
    assert np.all(f == options.get("forget_bias", 1.0))
    assert not np.any([i, g, o])


@pytest.mark.parametrize("options", [{}, {"forget_bias": 2.5}, {"forget_bias": 0.0}])
def test_forget_bias(options):
    check_forget_bias(**options)


@pytest.mark.parametrize("dtype", DTYPES)
def test_recurrent_weights_are_orthogonal_gate_by_gate(dtype):
    params = lstm_jax.init_lstm(KEY, D, H, dtype=dtype)
    gates = np.split(np.asarray(params.w_h, np.float32), 4, axis=-1)
    for gate in gates:
        np.testing.assert_allclose(gate.T @ gate, np.eye(H), atol=3e-2)
    assert not np.allclose(gates[0], gates[1])


def test_input_weights_fill_the_glorot_bounds_gate_by_gate():
    params = lstm_jax.init_lstm(KEY, D, H)
    bound = (6 / (D + H)) ** 0.5
    for gate in np.split(np.asarray(params.w_x), 4, axis=-1):
        assert np.abs(gate).max() <= bound
        assert np.abs(gate).max() > 0.98 * bound
        assert abs(gate.std() - bound / 3**0.5) < 0.05 * bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype(dtype):
    """bf16 parameters are float32 draws, rounded."""
    params = lstm_jax.init_lstm(KEY, D, H, dtype=dtype)
    assert all(leaf.dtype == dtype for leaf in params)
    exact = lstm_jax.init_lstm(KEY, D, H)
    assert all(map(np.array_equal, params, (leaf.astype(dtype) for leaf in exact)))


def test_float64(x64):
    params = lstm_jax.init_lstm(KEY, D, H, dtype=jnp.float64)
    assert params.w_h.dtype == jnp.float64
    for gate in np.split(params.w_h, 4, axis=-1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(H), atol=1e-13)


def test_other_initialisers():
    """Torch's U(-1/sqrt(H), 1/sqrt(H)), zeros, and anybody's own."""
    scale = H**-0.5
    params = lstm_jax.init_lstm(KEY, D, H, w_x=init.zeros, w_h=init.uniform(scale))
    assert not np.any(params.w_x)
    assert 0.98 * scale < np.abs(params.w_h).max() <= scale
    own = lambda key, shape, dtype: jnp.full(shape, 0.5, dtype)
    assert np.all(lstm_jax.init_lstm(KEY, D, H, w_x=own).w_x == 0.5)


def test_keys_matter_and_repeat():
    same, other = (
        lstm_jax.init_lstm(KEY, D, H),
        lstm_jax.init_lstm(jax.random.key(4), D, H),
    )
    params = lstm_jax.init_lstm(KEY, D, H)
    assert all(map(np.array_equal, params, same))
    assert not np.array_equal(params.w_x, other.w_x)
    assert not np.array_equal(params.w_h, other.w_h)


def test_rnn_and_stack():
    params = lstm_jax.RNNCell(H).init(KEY, D)
    np.testing.assert_allclose(params.w_h.T @ params.w_h, np.eye(H), atol=1e-5)
    assert not np.any(params.b)
    layers = lstm_jax.init_lstm_stack(
        KEY, D, H, num_layers=2, bidirectional=True, forget_bias=3.0, dtype=jnp.bfloat16
    )
    assert layers[0].backward.w_x.shape == (D, 4 * H)
    assert layers[1].forward.w_x.shape == (2 * H, 4 * H)
    ways = [way for layer in layers for way in layer]
    assert len({np.asarray(way.w_h, np.float32).tobytes() for way in ways}) == 4
    assert all(np.all(way.b[H : 2 * H] == 3.0) for way in ways)
    assert all(leaf.dtype == jnp.bfloat16 for way in ways for leaf in way)
