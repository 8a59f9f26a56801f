"""Products of Jacobians and Lyapunov exponents, against dense computations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import ConvLSTMCell, GRUCell, LSTMCell, LSTMPCell, RNNCell, RNNParams
from lstm_jax.diagnostics import jacobian_norms, lyapunov_exponents

T, D, H = 4, 3, 4
CELLS = {
    "rnn": RNNCell(H),
    "gru": GRUCell(H),
    "lstm": LSTMCell(H),
    "projected": LSTMPCell(H, 2),
}


def setup(cell, steps=T):
    params = cell.init(jax.random.key(0), D)
    params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
    return params, jax.random.normal(jax.random.key(1), (steps, D), jnp.float64)


def run(cell, params, carry, xs):
    """The carry after all steps, one by one."""
    weights = cell.weights(params)
    dot = lambda name, a: a @ weights[name]
    for x in xs:
        carry, _ = cell.step(params, carry, cell.project(params, x), dot)
    return carry


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CELLS)
def test_norms_against_the_whole_jacobian(name):
    cell = CELLS[name]
    params, xs = setup(cell)
    found = jacobian_norms(cell, params, xs)
    zero = cell.zero_carry((), jnp.float64)
    for t in range(T):
        state = run(cell, params, zero, xs[: t + 1])
        last = lambda s, t=t: run(cell, params, s, xs[t + 1 :]).h
        jacobian = jax.jacobian(last)(state)
        for field, matrix in jacobian._asdict().items():
            norm = np.linalg.norm(np.asarray(matrix), ord=2)
            np.testing.assert_allclose(getattr(found, field)[t], norm, rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_exponents_of_a_linear_map():
    """With tiny states tanh is linear, so the exponents are those of the weights."""
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(H, H)))
    factors = np.array([0.9, 0.7, 0.4, 0.2])
    w = q @ np.diag(factors) @ q.T
    params = RNNParams(w_x=jnp.zeros((D, H)), w_h=jnp.asarray(w), b=jnp.zeros(H))
    xs = jnp.zeros((300, D), jnp.float64)
    found = lyapunov_exponents(RNNCell(H), params, xs)
    np.testing.assert_allclose(found, np.log(factors), atol=0.01)


@pytest.mark.usefixtures("x64")
def test_the_exponents_add_up_to_the_volume():
    cell = LSTMCell(H)
    params, xs = setup(cell, 40)
    found = lyapunov_exponents(cell, params, xs)
    state, volume = cell.zero_carry((), jnp.float64), 0.0
    step = jax.jit(lambda s, x: run(cell, params, s, x[None]))
    for x in xs:
        columns = jax.jacobian(lambda s, x=x: jnp.concatenate(step(s, x)))(state)
        matrix = np.concatenate([columns.h, columns.c], axis=1)
        volume += np.linalg.slogdet(matrix)[1]
        state = step(state, x)
    np.testing.assert_allclose(found.sum(), volume / len(xs), rtol=1e-6)
    few = lyapunov_exponents(cell, params, xs, count=2)
    assert few.shape == (2,)


@pytest.mark.parametrize("cell", [LSTMCell(H), GRUCell(H)])
def test_16_bits_are_computed_in_32(cell):
    params = cell.init(jax.random.key(0), D)
    xs = jax.random.normal(jax.random.key(1), (T, D))
    half = xs.astype(jnp.bfloat16)
    found = jacobian_norms(cell, params, half).h
    want = jacobian_norms(cell, params, half.astype(jnp.float32)).h
    np.testing.assert_allclose(found, want)
    assert lyapunov_exponents(cell, params, half).dtype == jnp.float32


def test_states_are_vectors():
    cell = ConvLSTMCell(H, kernel=(2,))
    params = cell.init(jax.random.key(0), D)
    with pytest.raises(TypeError, match="2 feature axes"):
        jacobian_norms(cell, params, jnp.ones((T, 5, D)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, xs: jacobian_norms(LSTMCell(H), p, xs[None]), "one sequence"),
        (lambda p, xs: jacobian_norms(LSTMCell(H), p, xs[:0]), "at least one step"),
        (lambda p, xs: lyapunov_exponents(LSTMCell(H), p, xs, count=9), "8 or less"),
    ],
)
def test_what_is_refused(call, message):
    params = LSTMCell(H).init(jax.random.key(0), D)
    with pytest.raises(ValueError, match=message):
        call(params, jnp.ones((T, D)))
