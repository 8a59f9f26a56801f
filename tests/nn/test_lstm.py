"""The NNX modules give the core's numbers, however Flax and JAX transform them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import lstm_jax
from lstm_jax.nn import LSTM, LSTMCell
from tests import cells

B, T, D, H = 2, 6, 3, 4
XS = jax.random.normal(jax.random.key(1), (B, T, D))
LENGTHS = jnp.array([6, 2])


def make(**options):
    options = {"num_layers": 2, "bidirectional": True} | options
    return LSTM(D, H, rngs=nnx.Rngs(0), **options)


def expected(model, xs, **options):
    carries, hs = lstm_jax.lstm_stack(
        model.params, None, jnp.moveaxis(xs, -2, 0), **options
    )
    return carries, jnp.moveaxis(hs, 0, -2)


def loss(model, xs):
    return (model(xs, lengths=LENGTHS) ** 2).sum()


def equal(a, b):
    cells.assert_close(a, b, cells.tolerance(jnp.float32))


def test_numbers_are_those_of_the_core():
    model = make(return_carry=True)
    equal(model(XS, lengths=LENGTHS), expected(model, XS, lengths=LENGTHS))


@pytest.mark.parametrize("batch_shape", [(), (2,), (3, 2)])
def test_any_number_of_batch_axes(batch_shape):
    model = make()
    xs = jax.random.normal(jax.random.key(2), (*batch_shape, T, D))
    assert model(xs).shape == (*batch_shape, T, 2 * H)
    equal(model(xs), expected(model, xs)[1])


def test_time_major_and_flags_follow_the_axes_of_the_inputs():
    batch_major, time_major = make(), make(time_major=True)
    mask = jax.random.bernoulli(jax.random.key(3), 0.7, (B, T))
    resets = jax.random.bernoulli(jax.random.key(4), 0.3, (B, T))
    one = batch_major(XS, mask=mask, resets=resets)
    other = time_major(XS.swapaxes(0, 1), mask=mask.T, resets=resets.T)
    equal(one, other.swapaxes(0, 1))


def test_flags_in_the_wrong_order_and_the_advice():
    model, steps = make(), jnp.arange(T) < 4
    want = model(XS, lengths=jnp.full(B, 4))
    for mask in (steps, jnp.broadcast_to(steps[:, None], (T, B))):
        with pytest.raises(ValueError, match=r"expected \(2, 6\), the batch and") as e:
            model(XS, mask=mask)
        advice = re.search(r"jnp\..*\)", str(e.value))
        assert advice
        equal(model(XS, mask=eval(advice[0])), want)


def test_carry_continues_a_sequence():
    model = make(bidirectional=False, return_carry=True)
    _, whole = model(XS)
    carry, first = model(XS[:, :2])
    _, second = model(XS[:, 2:], carry)
    equal(whole, jnp.concatenate([first, second], axis=1))


def test_every_way_to_jit_gives_the_same():
    model = make()
    want = model(XS, lengths=LENGTHS)
    call = lambda model, xs: model(xs, lengths=LENGTHS)
    graph, state = nnx.split(model)
    equal(nnx.jit(call)(model, XS), want)
    equal(nnx.jit(call, graph=False)(model, XS), want)
    equal(jax.jit(call)(model, XS), want)
    equal(jax.jit(lambda s, xs: call(nnx.merge(graph, s), xs))(state, XS), want)


def test_every_way_to_differentiate_gives_the_same():
    model = make()
    graph, state = nnx.split(model)
    pure = jax.grad(lambda s: loss(nnx.merge(graph, s), XS))(state)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(pure))
    leaves = jax.tree.leaves(pure)
    for grads in (
        nnx.grad(loss)(model, XS),
        nnx.grad(loss, graph=False)(model, XS),
        jax.grad(loss)(model, XS),
    ):
        equal(jax.tree.leaves(nnx.state(grads)), leaves)


def test_dropout_needs_a_key_and_is_a_function_of_it():
    model = make(dropout=0.5)
    a, b = jax.random.split(jax.random.key(5))
    equal(model(XS, deterministic=True), make()(XS))
    equal(model(XS, key=a), model(XS, key=a))
    assert not np.allclose(model(XS, key=a), model(XS, key=b))


def test_dtypes():
    model = make(dtype=jnp.bfloat16, return_carry=True)
    carries, hs = model(XS)
    assert hs.dtype == jnp.bfloat16
    assert carries[0].forward.h.dtype == jnp.bfloat16
    assert carries[0].forward.c.dtype == jnp.float32
    assert {p.dtype for p in jax.tree.leaves(nnx.state(model))} == {
        jnp.dtype("float32")
    }
    narrow = make(param_dtype=jnp.bfloat16)
    assert {p.dtype for p in jax.tree.leaves(nnx.state(narrow))} == {
        jnp.dtype("bfloat16")
    }
    assert narrow(XS).dtype == jnp.float32


def test_cell_takes_the_steps_of_the_core():
    cell = LSTMCell(D, H, rngs=nnx.Rngs(0))
    carry, hs = None, []
    for t in range(T):
        carry, h = cell(carry, XS[:, t])
        hs.append(h)
    want_carry, want = lstm_jax.lstm(cell.params, None, XS.swapaxes(0, 1))
    equal((carry, jnp.stack(hs)), (want_carry, want))
    assert (
        LSTMCell(D, H, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))(None, XS[:, 0])[1].dtype
        == jnp.bfloat16
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, "num_layers is 0, expected an integer, 1 or more"),
        ({"dropout": 1.0}, r"dropout is 1.0, expected a number in \[0, 1\)"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_weight_drop_is_the_transform_of_the_core():
    key = jax.random.key(6)
    model = make(weight_drop=0.5)
    weight_key = jax.random.split(key, 3)[2]
    dropped = lstm_jax.weight_drop(weight_key, model.params, 0.5)
    zeros = [(layer.forward.w_h == 0).mean() for layer in dropped]
    np.testing.assert_allclose(zeros, 0.5, atol=0.2)
    _, want = lstm_jax.lstm_stack(dropped, None, XS.swapaxes(0, 1))
    equal(model(XS, key=key), want.swapaxes(0, 1))
    equal(model(XS, deterministic=True), make()(XS))
