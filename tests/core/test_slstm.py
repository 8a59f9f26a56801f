"""The sLSTM's stabiliser, its state at the start, and its heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import SLSTMCarry, SLSTMCell, SLSTMParams, unroll
from lstm_jax.core.primitives.elementwise import SIGMOID, TANH, gates
from tests import cells
from tests.core.test_cell_oracles import exp_slstm_step, slstm_step
from tests.reference import forward
from tests.shapes import B, D, H, T

STEPS = {"sigmoid": slstm_step, "exp": exp_slstm_step}
HUGE = (200.0, -200.0)


def textbook(cell, params, xs):
    """The equations without a stabiliser, from ``c = n = 0``, for JAX to derive."""
    forget = {"sigmoid": jax.nn.sigmoid, "exp": jnp.exp}[cell.forget]
    h = c = n = jnp.zeros((xs.shape[1], cell.hidden_size), xs.dtype)
    (w_h,), hs = params.w_h, []
    for x in xs:
        z = x @ params.w_x + h @ w_h + params.b[None]
        i, f, g, o = jnp.split(z, 4, axis=-1)
        c = forget(f) * c + jnp.exp(i) * jnp.tanh(g)
        n = forget(f) * n + jnp.exp(i)
        h = jax.nn.sigmoid(o) * c / n
        hs.append(h)
    return jnp.stack(hs)


@pytest.mark.parametrize("forget", STEPS)
def test_values_and_gradients_of_the_textbook(forget, x64):
    """From the state at the start, at moderate inputs."""
    cell = SLSTMCell(H, forget=forget)
    at = cells.make_case(cell)

    def both(run):
        loss = lambda params, xs: cells.scalar(run(params, xs))
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(at.params, at.xs)

    got = both(lambda params, xs: unroll(cell, params, None, xs)[1])
    want = both(lambda params, xs: textbook(cell, params, xs))
    cells.assert_close(got, want, cells.DERIVATIVES)


def test_output_does_not_depend_on_the_stabiliser(x64):
    """The same state, written with another ``m``."""
    cell = cells.CELLS["slstm"]
    at = cells.make_case(cell)
    h, c, n, m = at.carry
    shift = jnp.linspace(-30.0, 30.0, m.size).reshape(m.shape)
    other = SLSTMCarry(h, c * jnp.exp(-shift), n * jnp.exp(-shift), m + shift)
    got, want = cells.run(cell, at._replace(carry=other)), cells.run(cell, at)
    cells.assert_close(got[1], want[1], 1e-12)


@pytest.mark.parametrize("z_f", HUGE)
@pytest.mark.parametrize("z_i", HUGE)
@pytest.mark.parametrize("forget", STEPS)
def test_first_step(forget, z_i, z_f):
    """``m`` is the input gate's logarithm and ``n`` is 1; also after a reset."""
    cell = SLSTMCell(1, forget=forget)
    params = SLSTMParams(
        jnp.zeros((1, 4)), jnp.zeros((1, 1, 4)), jnp.array([z_i, z_f, 0.7, 0.3])
    )
    middle = SLSTMCarry(*(jnp.full(1, x) for x in (0.1, 2.0, 3.0, 40.0)))
    xs, reset = jnp.zeros((1, 1)), jnp.array([True])
    h = 1 / (1 + np.exp(-0.3)) * np.tanh(0.7)
    for carry, resets in ((None, None), (middle, reset)):
        end, hs = unroll(cell, params, carry, xs, resets=resets)
        np.testing.assert_array_equal(end.m, z_i)
        np.testing.assert_array_equal(end.n, 1.0)
        np.testing.assert_allclose(hs, [[h]], rtol=1e-6)


@pytest.mark.parametrize("plain", [False, True], ids=["rule", "plain"])
@pytest.mark.parametrize("forget", STEPS)
def test_huge_pre_activations(forget, plain):
    """Finite in float32, values, gradients and tangents; and the values are right."""
    cell, steps = SLSTMCell(H, forget=forget), 3
    at = cells.make_case(cell, jnp.float32, steps=steps)
    signs = np.random.default_rng(0).choice(HUGE, (steps, B, D)).astype(np.float32)
    w_x = np.zeros((D, 4 * H), np.float32)
    w_x[np.arange(4 * H) % D, np.arange(4 * H)] = 1
    at = at._replace(params=at.params._replace(w_x=jnp.asarray(w_x)), xs=signs)
    at = jax.tree.map(jnp.asarray, at)
    resets = jnp.zeros((steps, B), bool).at[1, 0].set(True)

    def run(at, carry):
        options = dict(resets=resets, implementation="plain" if plain else "scan")
        return unroll(cell, at.params, carry, at.xs, **options)

    start = cell.zero_carry((B,), jnp.float32)
    for carry in (at.carry, start):
        out, pullback = jax.vjp(run, at, carry)
        _, pushed = jax.jvp(run, (at, carry), (at, carry))
        figures = out, pushed, pullback(jax.tree.map(jnp.ones_like, out))
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(figures))
        want = forward(
            STEPS[forget], at.params, carry, at.xs, resets=resets, reset_carry=start
        )
        cells.assert_close(out[1], want[1], 1e-5)


def test_heads_are_blocks(x64):
    """The heads' products are one with a block-diagonal matrix."""
    cell = cells.CELLS["slstm"]
    at, units = cells.make_case(cell), cell.hidden_size
    K = units // cell.heads
    dense = np.zeros((units, 4, units))
    for n, block in enumerate(at.params.w_h):
        unit = slice(n * K, (n + 1) * K)
        dense[unit, :, unit] = block.reshape(K, 4, K)
    dense = jnp.asarray(dense.reshape(1, units, 4 * units))
    one = SLSTMCell(units)
    params = at.params._replace(w_h=dense)
    want = cells.run(one, at._replace(params=params))
    cells.assert_close(cells.run(cell, at), want, 1e-14)


def test_blocks_are_orthogonal_gate_by_gate():
    w_h = SLSTMCell(2 * H, heads=2).init(jax.random.key(0), D).w_h
    for block in w_h:
        for gate in np.split(np.asarray(block), 4, axis=-1):
            np.testing.assert_allclose(gate.T @ gate, np.eye(H), atol=1e-5)
    assert not np.allclose(*w_h)


def test_no_steps_and_no_rows():
    cell = cells.CELLS["slstm"]
    for steps, rows in ((0, B), (T, 0)):
        at = cells.make_case(cell, jnp.float32, steps=steps, batch=(rows,))
        grad = jax.grad(lambda at: sum(cells.run(cell, at)[0]).sum())
        assert not any(np.any(x) for x in grad(at).params)
        assert cells.run(cell, at)[1].shape == (steps, rows, cell.hidden_size)


def test_gates_by_name():
    """Wrappers see those that are activated, not the exponential ones."""
    cell = cells.CELLS["slstm"]
    at = cells.make_case(cell, jnp.float32)
    seen = {}

    def watch(z, /, **activations):
        seen.update(activations)
        return gates(z, **activations)

    gx = cell.project(at.params, at.xs[0])
    dot = lambda name, a: cell.product(name)(a, getattr(at.params, name))
    cell.step(at.params, at.carry, gx, dot, watch)
    assert seen == {"g": TANH, "o": SIGMOID}


@pytest.mark.parametrize("heads", [0, -1, 2, H + 1])
def test_heads_that_do_not_divide(heads):
    wanted = f"a divisor of hidden_size={H}" if heads > 0 else "an integer, 1 or more"
    words = rf"heads is {heads}, expected {wanted}"
    with pytest.raises(ValueError, match=words):
        SLSTMCell(H, heads=heads)


def test_unknown_forget_gate():
    with pytest.raises(
        ValueError, match="forget is 'tanh', expected one of 'sigmoid', 'exp'"
    ):
        SLSTMCell(H, forget="tanh")
