"""Linen and NNX hold the same parameters and give the core's numbers."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.serialization import to_state_dict

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
    module = nn.LSTM(D, H, rngs=nnx.Rngs(0), return_carry=True, **OPTIONS)
    model = linen.LSTM(hidden_size=H, return_carry=True, **OPTIONS)
    made = model.init(jax.random.key(0), XS)
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    assert shapes(made) == shapes(model.as_variables(module.params))
    mode = {"deterministic": "key" not in call}
    got = model.apply(model.as_variables(module.params), XS, **call, **mode)
    cells.assert_close(got, module(XS, **call, **mode), 1e-6)
    carries, hs = module.stack(module.params, None, XS.swapaxes(0, 1), **call)
    cells.assert_close(got, (carries, hs.swapaxes(0, 1)), 1e-6)


def test_linen_takes_its_masks_from_the_dropout_key():
    model = linen.LSTM(hidden_size=H, output_dropout=0.5)
    variables = model.init(jax.random.key(0), XS)
    still = model.apply(variables, XS, deterministic=True)
    drawn = model.apply(variables, XS, rngs={"dropout": KEY})
    np.testing.assert_allclose(drawn[drawn != 0], 2 * still[drawn != 0], rtol=1e-6)
    assert 0.2 < (drawn == 0).mean() < 0.8


CELLS = {name: cell for name, cell in cells.CELLS.items() if cell.feature_axes == 1} | {
    "zoneout": lstm_jax.Zoneout(lstm_jax.LSTMCell(H), h=0.1)
}


def same(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def param_key():
    """What Linen makes of ``KEY`` for the first parameter of a module."""

    class Key(flax.linen.Module):
        @flax.linen.compact
        def __call__(self):
            return self.param("layers_0", lambda key: key)

    return Key().init_with_output(KEY)[0]


@pytest.mark.parametrize("name", CELLS)
def test_any_cell_in_either_flax(name):
    stack = lstm_jax.Stack([CELLS[name]])
    module = nn.Recurrent(stack, D, rngs=nnx.Rngs(0))
    want = stack(module.params, None, XS.swapaxes(0, 1))[1].swapaxes(0, 1)
    module.eval()
    cells.assert_close(module(XS), want, 1e-6)
    graph, state = nnx.split(module)
    cells.assert_close(jax.jit(lambda s: nnx.merge(graph, s)(XS))(state), want, 1e-6)
    model = linen.Recurrent(stack=stack, deterministic=True)
    variables = model.as_variables(module.params)
    cells.assert_close(model.apply(variables, XS), want, 1e-6)
    assert same(model.as_layers(variables, D), module.params)
    assert same(model.as_layers(model.init(KEY, XS), D), stack.init(param_key(), D))
    # As they were written by former versions, and as orbax restores these.
    raw = [to_state_dict(entry) for entry in module.params]
    for layers in (module.params, raw):
        got = model.apply({"params": {"layers": layers}}, XS)
        cells.assert_close(got, want, 1e-6)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "two ways"])
def test_a_trained_carry_is_a_parameter(bidirectional):
    """It stands for ``None``, at the start and after a reset, and has a gradient."""
    options = dict(trainable_carry=True, bidirectional=bidirectional)
    module = nn.LSTM(D, H, rngs=nnx.Rngs(0), **options)
    graph, state = nnx.split(module, nnx.Param)
    state = jax.tree.map(lambda p: p + 0.1, state)
    resets = jnp.arange(T) % 3 == 2
    call = lambda model: model(XS, resets=jnp.broadcast_to(resets, (B, T)))
    d = jax.grad(lambda s: (call(nnx.merge(graph, s)) ** 2).sum())(state)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(d))
    module = nnx.merge(graph, state)
    model = linen.LSTM(hidden_size=H, **options)
    variables = model.as_variables(module.params, module.initial.entries)
    cells.assert_close(model.apply(variables, XS), module(XS), 1e-6)
    former = {"params": {"layers": module.params, "carry": module.initial.entries}}
    cells.assert_close(model.apply(former, XS), module(XS), 1e-6)
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    assert shapes(model.init(KEY, XS)) == shapes(variables)
    carry = jax.tree.map(lambda c: jnp.broadcast_to(c, (B, H)), module.initial.entries)
    cells.assert_close(module(XS, carry), module(XS), 1e-6)
    assert not np.allclose(module(XS, jax.tree.map(jnp.zeros_like, carry)), module(XS))


def test_backwards_and_stacked():
    """Both kinds of module pass on every fact of a stack, and ``reverse``."""
    options = dict(num_layers=3, stacked=True)
    module = nn.LSTM(D, D, rngs=nnx.Rngs(0), **options)
    model = linen.LSTM(hidden_size=D, **options)
    assert module.params[0].w_h.shape == (3, D, 4 * D)
    want = module.stack(module.params, None, XS.swapaxes(0, 1), reverse=True)[1]
    cells.assert_close(module(XS, reverse=True), want.swapaxes(0, 1), 1e-6)
    got = model.apply(model.as_variables(module.params), XS, reverse=True)
    cells.assert_close(got, want.swapaxes(0, 1), 1e-6)


@pytest.mark.parametrize("flax", ["nnx", "linen"])
def test_a_single_step_is_no_sequence(flax):
    module = nn.LSTM(D, H, rngs=nnx.Rngs(0))
    model = linen.LSTM(hidden_size=H)
    call = module if flax == "nnx" else model.bind(model.as_variables(module.params))
    with pytest.raises(ValueError, match=r"xs has shape \(3,\), expected \[..., T, D"):
        call(XS[0, 0])
