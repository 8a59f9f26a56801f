"""Truncated backpropagation is a loop over windows with a stopped carry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import lstm_jax
from lstm_jax import LSTMCell, Stack, Stream, feed, init_lstm, lstm, truncated_bptt

T, B, D, H = 11, 3, 4, 5
PARAMS = init_lstm(jax.random.key(0), D, H)
XS = jax.random.normal(jax.random.key(1), (T, B, D))
TARGETS = jax.random.normal(jax.random.key(2), (T, B, H))
MASK = jnp.arange(T)[:, None] < jnp.array([[0, 6, 9]])
ZERO = LSTMCell(H).zero_carry((B,), jnp.float32)


def loss(params, carry, window):
    xs, targets = window
    carry, hs = lstm(params, carry, xs)
    return jnp.mean((hs - targets) ** 2), carry


def masked_loss(params, carry, window):
    """A mean over real steps: 0 / 0 where a window has none."""
    xs, targets, mask = window
    carry, hs = lstm(params, carry, xs, mask=mask)
    square = jnp.where(mask, ((hs - targets) ** 2).mean(axis=-1), 0.0)
    return square.sum() / mask.sum().astype(jnp.float32), carry


def by_hand(loss, params, carry, xs, window, steps):
    """One mean over all windows, the carry stopped between them, differentiated;
    ``steps[t]`` is what step ``t`` counts."""

    def whole(params, carry, xs):
        value, at = 0.0, carry
        for start in range(0, T, window):
            part = jax.tree.map(lambda a, s=start: a[s : s + window], xs)
            weight = float(steps[start : start + window].sum())
            if weight > 0:
                one, at = loss(params, lax.stop_gradient(at), part)
                value += weight * one
        return value / float(steps.sum()), at

    return jax.jit(jax.value_and_grad(whole, has_aux=True))(params, carry, xs)


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("window", "carry"), [(T, ZERO), (T + 3, None)])
def test_one_window_is_the_full_gradient(window, carry):
    got = truncated_bptt(loss, PARAMS, carry, (XS, TARGETS), window)
    gradient = jax.value_and_grad(loss, has_aux=True)
    assert_same(got, gradient(PARAMS, carry, (XS, TARGETS)))


@pytest.mark.parametrize(
    ("window", "carry"), [(1, ZERO), (4, ZERO), (4, None), (6, None)]
)
def test_equals_the_loop_by_hand(window, carry):
    """T is a multiple of none but the first: the last window has fewer steps."""
    run = jax.jit(lambda p, c, xs: truncated_bptt(loss, p, c, xs, window))
    got = run(PARAMS, carry, (XS, TARGETS))
    want = by_hand(loss, PARAMS, carry, (XS, TARGETS), window, np.ones(T))
    assert_same(got, want)


def test_the_carry_is_stopped():
    run = jax.jit(truncated_bptt, static_argnums=(0, 4))
    short = run(loss, PARAMS, ZERO, (XS, TARGETS), 4)[1]
    full = run(loss, PARAMS, ZERO, (XS, TARGETS), T)[1]
    assert float(abs(short.w_h - full.w_h).max()) > 1e-4


def test_accumulation_is_the_mean_by_steps():
    """The gradients of calls of one window each, weighted by their steps."""
    window, carry, total = 4, ZERO, jax.tree.map(jnp.zeros_like, PARAMS)
    run = jax.jit(lambda carry, xs: truncated_bptt(loss, PARAMS, carry, xs, window))
    for start in range(0, T, window):
        part = (XS[start : start + window], TARGETS[start : start + window])
        (_, carry), grads = run(carry, part)
        share = len(part[0]) / T
        total = jax.tree.map(lambda s, g, w=share: s + w * g, total, grads)
    (_, final), got = run(ZERO, (XS, TARGETS))
    assert_same((got, final), (total, carry))


@pytest.mark.parametrize("window", [2, 5])
def test_a_mask_weighs_windows_by_their_real_steps(window):
    """The last window of two steps has no real step, and its loss is NaN."""
    xs, weights = (XS, TARGETS, MASK), np.asarray(MASK).sum(axis=1)
    run = jax.jit(
        lambda xs, w: truncated_bptt(masked_loss, PARAMS, None, xs, window, weights=w)
    )
    (value, _), grads = run(xs, weights)
    (want, _), by_loop = by_hand(masked_loss, PARAMS, None, xs, window, weights)
    assert_same((value, grads), (want, by_loop))
    whole, _ = masked_loss(PARAMS, None, xs)
    assert_same(value, whole)


def test_under_vmap():
    many = jax.vmap(lambda key: init_lstm(key, D, H))(
        jax.random.split(jax.random.key(3), 2)
    )
    run = jax.jit(lambda p: truncated_bptt(loss, p, ZERO, (XS, TARGETS), 4))
    apart = [run(jax.tree.map(lambda a, n=n: a[n], many)) for n in range(2)]
    assert_same(
        jax.jit(jax.vmap(run))(many), jax.tree.map(lambda *a: jnp.stack(a), *apart)
    )


def test_a_stream_gives_every_window_its_masks():
    stack, key = Stack([LSTMCell(H)] * 2, dropout=0.5), jax.random.key(4)
    layers = stack.init(jax.random.key(0), D)

    def loss(layers, stream, xs):
        stream, hs = feed(stack, layers, stream, xs, key=key)
        return (hs**2).mean(), stream

    (value, stream), _ = truncated_bptt(loss, layers, Stream(), XS, 4)  # without jit
    assert int(stream.step) == T
    assert_same(value, loss(layers, Stream(), XS)[0])


def test_16_bit_gradients_are_summed_in_float32():
    halves = jax.tree.map(lambda a: a.astype(jnp.bfloat16), PARAMS)
    one = lambda p, c, x: (p.b.astype(jnp.float32).sum() * x.mean(), c)
    xs = jnp.full((1000, 1), 1.0)
    _, grads = truncated_bptt(one, halves, jnp.zeros(()), xs, 1)
    assert grads.b.dtype == jnp.bfloat16
    assert_same(grads.b.astype(jnp.float32), jnp.ones(4 * H))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(window=0), ValueError, "window is 0, expected an integer, 1 or more"),
        (dict(xs=(XS, TARGETS[1:])), ValueError, r"shapes \(11, 3, 4\), \(10, 3, 5\)"),
        (dict(xs=()), ValueError, "shapes none, expected one or more arrays"),
        (dict(xs=XS[:0]), ValueError, r"shapes \(0, 3, 4\), expected"),
        (dict(weights=MASK), ValueError, r"weights has shape \(11, 3\), expected \(11"),
        (dict(loss=lambda p, c, x: x[0].sum()), TypeError, "expected a pair"),
        (dict(loss=lambda p, c, x: (x[0], c)), TypeError, "a scalar, the mean loss"),
    ],
)
def test_refusals(change, error, message):
    call = dict(loss=loss, params=PARAMS, carry=None, xs=(XS, TARGETS), window=4)
    with pytest.raises(error, match=message):
        lstm_jax.truncated_bptt(**(call | change))
