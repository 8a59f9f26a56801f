"""Gradients of states, against the product of Jacobians and against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import GRUCell, LSTMCell, RNNCell, lstm_step
from lstm_jax.diagnostics import state_gradients
from tests import cells

T, B, D, H = 6, 2, 3, 4


def setup(cell):
    params = cell.init(jax.random.key(0), D)
    params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
    xs = jax.random.normal(jax.random.key(1), (T, B, D), jnp.float64)
    target = np.random.default_rng(2).normal(size=(B, H))
    return params, xs, lambda hs: ((hs[-1] - target) ** 2).sum() + hs[2].sum(), target


@pytest.mark.usefixtures("x64")
def test_a_plain_network_multiplies_jacobians():
    params, xs, loss, target = setup(RNNCell(H))
    w_x, w_h, b = map(np.asarray, params)
    hs, h = [], np.zeros((B, H))
    for x in np.asarray(xs):
        hs.append(h := np.tanh(x @ w_x + h @ w_h + b))
    g, expected = np.zeros((B, H)), np.zeros((T, B))
    for t in reversed(range(T)):
        if t < T - 1:
            g = (g * (1 - hs[t + 1] ** 2)) @ w_h.T
        g = g + (2 * (hs[t] - target) if t == T - 1 else 0) + float(t == 2)
        expected[t] = np.linalg.norm(g, axis=-1)
    found = state_gradients(RNNCell(H), params, xs, loss)
    np.testing.assert_allclose(found.h, expected, rtol=1e-10)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("state", ["h", "c"])
def test_an_lstm_against_differences(state):
    params, xs, loss, _ = setup(LSTMCell(H))

    @jax.jit
    def run(t, nudge):
        carry, hs = None, []
        for n in range(T):
            carry, _ = lstm_step(params, carry, xs[n])
            moved = getattr(carry, state) + jnp.where(n == t, nudge, 0.0)
            carry = carry._replace(**{state: moved})
            hs.append(carry.h)
        return loss(jnp.stack(hs))

    found = getattr(state_gradients(LSTMCell(H), params, xs, loss), state)
    for t in range(T):
        slope, size = np.zeros((B, H)), 1e-6
        for at in np.ndindex(B, H):
            nudge = np.zeros((B, H))
            nudge[at] = size
            slope[at] = (run(t, nudge) - run(t, -nudge)) / (2 * size)
        np.testing.assert_allclose(found[t], np.linalg.norm(slope, axis=-1), rtol=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", cells.CELLS)
def test_every_cell_against_a_loop_of_its_step(name):
    cell = cells.CELLS[name]
    at = cells.make_case(cell)
    loss = lambda hs: jnp.sum(jnp.sin(hs[-1])) + jnp.sum(hs[2] ** 2)
    zero = cell.zero_carry(at.xs.shape[1:-1], jnp.float64)

    def run(nudges):
        carry, hs, weights = zero, [], cell.weights(at.params)
        dot = lambda name, a: (cell.product(name) or jnp.matmul)(a, weights[name])
        for x, nudge in zip(at.xs, nudges, strict=True):
            gx = cell.project(at.params, x)
            carry, _ = cell.step(at.params, carry, gx, dot)
            carry = jax.tree.map(jnp.add, carry, nudge)
            hs.append(carry.h)
        return loss(jnp.stack(hs))

    nudges = [jax.tree.map(jnp.zeros_like, zero)] * len(at.xs)
    want = jax.jit(jax.grad(run), compiler_options=cells.QUICK)(nudges)
    want = jax.tree.map(lambda *g: jnp.linalg.norm(jnp.stack(g), axis=-1), *want)
    found = state_gradients(cell, at.params, at.xs, loss)
    cells.assert_close(found, want, cells.DERIVATIVES)


@pytest.mark.usefixtures("x64")
def test_a_carry_is_where_it_starts():
    cell, (params, xs, *_) = LSTMCell(H), setup(LSTMCell(H))
    last = lambda hs: (hs[-1] ** 2).sum()
    whole = state_gradients(cell, params, xs, last)
    carry, _ = lstm_step(params, None, xs[0])
    carry, _ = lstm_step(params, carry, xs[1])
    rest = state_gradients(cell, params, xs[2:], last, carry=carry)
    for name in ("h", "c"):
        part = getattr(whole, name)[2:]
        np.testing.assert_allclose(getattr(rest, name), part, rtol=1e-10)


def test_a_cell_is_expected():
    with pytest.raises(TypeError, match="expected a cell"):
        state_gradients(GRUCell, None, jnp.ones((T, B, D)), jnp.sum)
