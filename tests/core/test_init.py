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


def test_uniform_takes_the_bound_of_torch():
    """1/sqrt(H), also where a gate's matrix is not square."""
    params = lstm_jax.init_lstm(KEY, D, H, w_x=init.uniform(), w_h=init.uniform())
    for weights in (params.w_x, params.w_h):
        for gate in np.split(np.asarray(weights), 4, axis=-1):
            assert 0.98 * H**-0.5 < np.abs(gate).max() <= H**-0.5
            assert abs(gate.std() * (3 * H) ** 0.5 - 1) < 0.1


@pytest.mark.parametrize("dtype", DTYPES)
def test_identity(dtype):
    cell = lstm_jax.RNNCell(H)
    params = cell.init(KEY, D, w_h=init.identity(), dtype=dtype)
    assert params.w_h.dtype == dtype
    assert np.array_equal(params.w_h.astype(jnp.float32), np.eye(H))
    scaled = cell.init(KEY, D, w_h=init.identity(0.01)).w_h
    np.testing.assert_allclose(scaled, 0.01 * np.eye(H), rtol=1e-6)


def test_identity_of_a_matrix_that_is_not_square():
    with pytest.raises(ValueError, match=r"identity is .* shape \(40, 30\).*\[H, H\]"):
        lstm_jax.RNNCell(H).init(KEY, D, w_x=init.identity())


LSTMS = {
    "lstm": lstm_jax.LSTMCell(H),
    "peephole": lstm_jax.PeepholeLSTMCell(H),
    "projected": lstm_jax.LSTMPCell(H, 7),
    "layer norm": lstm_jax.LayerNormLSTMCell(H),
    "mogrifier": lstm_jax.MogrifierLSTMCell(H),
    "multiplicative": lstm_jax.MultiplicativeLSTMCell(H),
}
"""Cells with gates i, f, g, o and a forget bias."""


@pytest.mark.parametrize("cell", LSTMS.values(), ids=LSTMS)
def test_chrono(cell):
    """Biases alone change; the input gate's mirrors the forget gate's."""
    params = cell.init(KEY, D, forget_bias=init.chrono(50), dtype=jnp.bfloat16)
    plain = cell.init(KEY, D, dtype=jnp.bfloat16)
    i, f, g, o = np.split(np.asarray(params.b, np.float32), 4)
    assert np.array_equal(i, -f)
    assert f.min() >= 0
    assert f.max() <= np.log(49) * 1.01
    assert len(set(f)) > H / 2
    assert not np.any([g, o])
    assert params.b.dtype == jnp.bfloat16
    same = jax.tree.map(np.array_equal, params._replace(b=0), plain._replace(b=0))
    assert jax.tree.all(same)


def test_chrono_of_coupled_gates():
    """``1 - f`` has the opposite bias by itself."""
    options = dict(forget_bias=init.chrono(50))
    f, g, o = np.split(lstm_jax.CIFGLSTMCell(H).init(KEY, D, **options).b, 3)
    assert np.array_equal(f, lstm_jax.init_lstm(KEY, D, H, **options).b[H : 2 * H])
    assert not np.any([g, o])


@pytest.mark.parametrize("max_steps", [3, 20, 1000])
def test_chrono_spreads_evenly_over_steps(max_steps):
    """``exp(b_f)`` is uniform on [1, max_steps - 1]; every layer has its own draws."""
    n = 4000
    b = init.gate_bias(init.chrono(max_steps), KEY, n)
    steps = np.sort(np.exp(np.asarray(b[n : 2 * n], np.float64)))
    even = np.linspace(1, max_steps - 1, n)
    assert np.abs(steps - even).max() < 2.5 * (max_steps - 2) / n**0.5
    layers = lstm_jax.init_lstm_stack(
        KEY, D, H, num_layers=2, forget_bias=init.chrono(max_steps)
    )
    assert not np.array_equal(layers[0].b, layers[1].b)


@pytest.mark.parametrize("max_steps", [1, 0.0, float("nan")])
def test_chrono_of_too_few_steps(max_steps):
    with pytest.raises(
        ValueError, match=rf"max_steps is {max_steps}, expected 2 or mo"
    ):
        init.chrono(max_steps)
