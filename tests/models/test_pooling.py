"""Pooled hidden states: the numbers of the rows alone, whatever the padding holds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from lstm_jax.models.pooling import (
    init_attention,
    pool_attention,
    pool_last,
    pool_max,
    pool_mean,
)

T, H = 6, 4
LENGTHS = np.array([0, 1, 3, T])
B = len(LENGTHS)
ATTENTION = init_attention(jax.random.key(7), H, 3)


def attention_of(row):
    w, b, v = (np.asarray(p, np.float64) for p in ATTENTION)
    scores = np.exp(np.tanh(row @ w + b + 0.1) @ v)
    return (scores / scores.sum()) @ row


biased = ATTENTION._replace(b=ATTENTION.b + 0.1)
POOLS = {
    "last": (pool_last, lambda row: row[-1]),
    "ends": (
        functools.partial(pool_last, bidirectional=True),
        lambda row: np.concatenate([row[-1, : H // 2], row[0, H // 2 :]]),
    ),
    "mean": (pool_mean, lambda row: row.mean(axis=0)),
    "max": (pool_max, lambda row: row.max(axis=0)),
    "attention": (functools.partial(pool_attention, biased), attention_of),
}
every = pytest.mark.parametrize("name", POOLS)


def example(padding=np.nan, dtype=np.float32):
    hs = np.random.default_rng(0).normal(size=(T, B, H)) - 2  # a maximum below 0
    hs[np.arange(T)[:, None] >= LENGTHS] = padding
    return jnp.asarray(hs.astype(dtype))


@every
def test_by_row(name):
    pool, of_row = POOLS[name]
    hs = example()
    rows = [np.asarray(hs[:n, b], np.float64) for b, n in enumerate(LENGTHS)]
    want = [of_row(row) if len(row) else np.zeros(H) for row in rows]
    np.testing.assert_allclose(pool(hs, LENGTHS), want, rtol=2e-6)
    np.testing.assert_allclose(pool(hs[:, 3]), want[3], rtol=2e-6)
    of_one = lambda row, n: pool(row, n)
    mapped = jax.vmap(of_one, (1, 0))(hs, jnp.asarray(LENGTHS))
    np.testing.assert_allclose(mapped, want, rtol=2e-6)


@every
def test_padding_reaches_no_gradient(name):
    pool = POOLS[name][0]
    direction = jnp.cos(jnp.arange(B * H, dtype=jnp.float32)).reshape(B, H)
    loss = lambda hs: (pool(hs, LENGTHS) * direction).sum()
    wants, got = (jax.grad(loss)(example(padding)) for padding in (0.0, jnp.nan))
    np.testing.assert_array_equal(got, wants)
    padding = np.arange(T)[:, None] >= LENGTHS
    assert not np.asarray(got)[padding].any()
    assert np.asarray(got)[:, 1:].any(axis=(0, 2)).all()


@pytest.mark.usefixtures("x64")
@every
def test_gradients(name):
    pool = POOLS[name][0]
    hs = example(0.0, np.float64)
    check_grads(lambda hs: pool(hs, LENGTHS), (hs,), order=1, modes=["fwd", "rev"])


@pytest.mark.usefixtures("x64")
def test_gradients_of_attention():
    hs = example(np.nan, np.float64)
    params = jax.tree.map(lambda p: p.astype(jnp.float64), ATTENTION)
    check_grads(lambda p: pool_attention(p, hs, LENGTHS), (params,), order=2)


@every
def test_no_steps_are_zeros(name):
    assert POOLS[name][0](example()[:0]).tolist() == np.zeros((B, H)).tolist()


@every
def test_sixteen_bits_sum_in_float32(name):
    hs = example().astype(jnp.bfloat16)
    got = POOLS[name][0](hs, LENGTHS)
    want = POOLS[name][0](hs.astype(jnp.float32), LENGTHS)
    assert got.dtype == jnp.float32
    assert (got == want).all()


def test_large_scores_of_attention_stay_finite():
    hs = 1e4 * jnp.nan_to_num(example())
    huge = ATTENTION._replace(v=ATTENTION.v * 1e4)
    loss = lambda p, hs: pool_attention(p, hs, LENGTHS).sum()
    value, gradients = jax.value_and_grad(loss, (0, 1))(huge, hs)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((value, gradients)))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: pool_mean(jnp.ones(H)), ValueError, "expected time-major"),
        (lambda: pool_max(jnp.ones((T, H), int)), TypeError, "floating-point"),
        (lambda: pool_last(example(), [T + 1] * B), ValueError, "lengths runs from 7"),
        (lambda: pool_last(example(), [T]), ValueError, "one length for every row"),
        (
            lambda: pool_last(example()[..., 1:], bidirectional=True),
            ValueError,
            "hs has 3 units, expected an even number",
        ),
        (
            lambda: pool_attention(ATTENTION, example()[..., 1:]),
            ValueError,
            r"make params with init_attention\(key, 3, size\)",
        ),
        (lambda: init_attention(jax.random.key(0), 0, 1), ValueError, "in_size is 0"),
    ],
)
def test_what_does_not_fit(call, error, said):
    with pytest.raises(error, match=said):
        call()
