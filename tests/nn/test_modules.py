"""Linen and NNX hold the same parameters and give the core's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import lstm_jax
from lstm_jax import linen, nn
from tests import cells

B, T, D, H = 2, 6, 3, 4
XS = jax.random.normal(jax.random.key(1), (B, T, D))
KEY = jax.random.key(2)
OPTIONS = dict(num_layers=2, bidirectional=True, merge="sum", dropout=0.5)
CALLS = {
    "plain": {},
    "lengths": {"lengths": jnp.array([6, 2])},
    "masks": {"key": KEY},
    "remat": {"remat": 2},
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_linen_is_nnx_is_the_stack(call):
    flax = nn.LSTM(D, H, rngs=nnx.Rngs(0), return_carry=True, **OPTIONS)
    model = linen.LSTM(hidden_size=H, return_carry=True, **OPTIONS)
    made = model.init(jax.random.key(0), XS)
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    assert shapes(made) == {"params": {"layers": shapes(flax.params)}}
    got = model.apply({"params": {"layers": flax.params}}, XS, **call)
    cells.assert_close(got, flax(XS, **call), 1e-6)
    carries, hs = flax.stack(flax.params, None, XS.swapaxes(0, 1), **call)
    cells.assert_close(got, (carries, hs.swapaxes(0, 1)), 1e-6)


def test_linen_takes_its_masks_from_the_dropout_key():
    model = linen.LSTM(hidden_size=H, output_dropout=0.5)
    variables = model.init(jax.random.key(0), XS)
    still = model.apply(variables, XS)
    drawn = model.apply(variables, XS, rngs={"dropout": KEY})
    np.testing.assert_allclose(drawn[drawn != 0], 2 * still[drawn != 0], rtol=1e-6)
    assert 0.2 < (drawn == 0).mean() < 0.8


CELLS = {name: cell for name, cell in cells.CELLS.items() if cell.feature_axes == 1} | {
    "zoneout": lstm_jax.Zoneout(lstm_jax.LSTMCell(H), h=0.1)
}


@pytest.mark.parametrize("name", CELLS)
def test_any_cell_in_either_flax(name):
    stack = lstm_jax.Stack([CELLS[name]])
    flax = nn.Recurrent(stack, D, rngs=nnx.Rngs(0))
    want = stack(flax.params, None, XS.swapaxes(0, 1))[1].swapaxes(0, 1)
    cells.assert_close(flax(XS), want, 1e-6)
    graph, state = nnx.split(flax)
    cells.assert_close(jax.jit(lambda s: nnx.merge(graph, s)(XS))(state), want, 1e-6)
    variables = {"params": {"layers": flax.params}}
    got = linen.Recurrent(stack=stack).apply(variables, XS)
    cells.assert_close(got, want, 1e-6)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "two ways"])
def test_a_trained_carry_is_a_parameter(bidirectional):
    """It stands for ``None``, at the start and after a reset, and has a gradient."""
    options = dict(trainable_carry=True, bidirectional=bidirectional)
    flax = nn.LSTM(D, H, rngs=nnx.Rngs(0), **options)
    graph, state = nnx.split(flax, nnx.Param)
    state = jax.tree.map(lambda p: p + 0.1, state)
    resets = jnp.arange(T) % 3 == 2
    call = lambda model: model(XS, resets=jnp.broadcast_to(resets, (B, T)))
    d = jax.grad(lambda s: (call(nnx.merge(graph, s)) ** 2).sum())(state)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(d))
    flax = nnx.merge(graph, state)
    model = linen.LSTM(hidden_size=H, **options)
    params = {"layers": flax.params, "carry": flax.initial.entries}
    cells.assert_close(model.apply({"params": params}, XS), flax(XS), 1e-6)
    carry = jax.tree.map(lambda c: jnp.broadcast_to(c, (B, H)), flax.initial.entries)
    cells.assert_close(flax(XS, carry), flax(XS), 1e-6)
    assert not np.allclose(flax(XS, jax.tree.map(jnp.zeros_like, carry)), flax(XS))


def test_backwards_and_stacked():
    """Both kinds of module pass on every fact of a stack, and ``reverse``."""
    options = dict(num_layers=3, stacked=True)
    flax = nn.LSTM(D, D, rngs=nnx.Rngs(0), **options)
    model = linen.LSTM(hidden_size=D, **options)
    assert flax.params[0].w_h.shape == (3, D, 4 * D)
    want = flax.stack(flax.params, None, XS.swapaxes(0, 1), reverse=True)[1]
    cells.assert_close(flax(XS, reverse=True), want.swapaxes(0, 1), 1e-6)
    got = model.apply({"params": {"layers": flax.params}}, XS, reverse=True)
    cells.assert_close(got, want.swapaxes(0, 1), 1e-6)


@pytest.mark.parametrize("module", ["nnx", "linen"])
def test_a_single_step_is_no_sequence(module):
    flax = nn.LSTM(D, H, rngs=nnx.Rngs(0))
    call = linen.LSTM(hidden_size=H).bind({"params": {"layers": flax.params}})
    with pytest.raises(ValueError, match=r"xs has shape \(3,\), expected \[..., T, D"):
        (flax if module == "nnx" else call)(XS[0, 0])
