"""Dropout masks are a function of the key, the layer and the absolute step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from lstm_jax import dropout, embedding_dropout, variational_dropout
from lstm_jax.core.layers import stack as core_stack
from tests import cells
from tests.shapes import B, D, H, T

KEY, RATE = jax.random.key(7), 0.5
PARAMS = lstm_jax.init_lstm_stack(jax.random.key(0), D, H, num_layers=3)
XS = jax.random.normal(jax.random.key(1), (T, B, D))


def run(carries, xs, start):
    f = lambda carries, xs, start: lstm_jax.lstm_stack(
        PARAMS, carries, xs, dropout=RATE, key=KEY, start=start
    )
    return jax.jit(f)(carries, xs, start)


def check_pieces(cut):
    whole_carries, whole = run(None, XS, 0)
    carries, first = run(None, XS[:cut], 0)
    carries, second = run(carries, XS[cut:], cut)
    np.testing.assert_allclose(jnp.concatenate([first, second]), whole, atol=1e-6)
    cells.assert_close(carries, whole_carries, 1e-6)


@pytest.mark.parametrize("cut", [1, 3])
def test_pieces_see_the_masks_of_the_whole(cut):
    check_pieces(cut)


def test_masks_differ_by_key_layer_and_step(monkeypatch):
    ones = jnp.ones((T, 4, 64))
    mask = lambda key, start=0: np.asarray(dropout(key, ones, RATE, start) != 0)
    first = mask(KEY)
    assert np.array_equal(first, mask(KEY))
    assert np.array_equal(first[2:], mask(KEY, 2)[:-2])
    assert not np.array_equal(first, mask(jax.random.key(8)))
    assert len({step.tobytes() for step in first}) == T
    seen = []
    layer = lambda cell, params, carry, xs, **_: (carry, seen.append(xs) or ones)
    stack = lstm_jax.Stack([lstm_jax.LSTMCell(n) for n in (64, 65, 64)], dropout=RATE)
    monkeypatch.setattr(core_stack, "unroll", layer)
    stack([None] * 3, None, ones, key=KEY)
    assert np.array_equal(seen[0], ones), "the inputs themselves are not dropped"
    assert not np.array_equal(seen[1], seen[2]), "layers have masks of their own"
    assert {0.0, 2.0} == set(np.unique(seen[1]))


def test_the_last_output_is_not_dropped():
    """Dropout acts between layers alone: a last layer that ignores what it reads puts
    out the same."""
    first, last = PARAMS[:2]
    deaf = last._replace(w_x=jnp.zeros_like(last.w_x))
    want = lstm_jax.lstm_stack([first, deaf], None, XS)[1]
    got = lstm_jax.lstm_stack([first, deaf], None, XS, dropout=RATE, key=KEY)[1]
    assert np.array_equal(got, want)
    heard = lstm_jax.lstm_stack([first, last], None, XS, dropout=RATE, key=KEY)[1]
    assert not np.array_equal(heard, lstm_jax.lstm_stack([first, last], None, XS)[1])


@pytest.mark.parametrize("off", [dict(key=KEY), dict(dropout=RATE, key=None)])
def test_off(off):
    """Without a key, or at rate 0, the stack is the stack."""
    want = lstm_jax.lstm_stack(PARAMS, None, XS)[1]
    assert np.array_equal(lstm_jax.lstm_stack(PARAMS, None, XS, **off)[1], want)


KINDS = {
    dropout: ((100, 100), 100 * 100),
    variational_dropout: ((2, 100, 100), 100 * 100),
    embedding_dropout: ((10_000, 2), 10_000),
}
"""Function to the shape of its argument and the number of draws made for it."""


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("drop", KINDS, ids=lambda drop: drop.__name__)
def test_share_and_scale(drop, rate):
    """A share ``rate`` is zeroed and the rest scaled; gradients take the same mask."""
    shape, draws = KINDS[drop]
    xs = jnp.ones(shape)
    ys, pullback = jax.vjp(lambda xs: drop(KEY, xs, rate), xs)
    kept = ys != 0
    assert abs(1 - rate - np.mean(kept)) <= 5 * (rate * (1 - rate) / draws) ** 0.5
    np.testing.assert_allclose(ys[kept], 1 / (1 - rate), rtol=1e-6)
    assert np.array_equal(pullback(xs)[0], ys)
    assert drop(KEY, xs.astype(jnp.bfloat16), rate).dtype == jnp.bfloat16
    assert not np.array_equal(drop(jax.random.key(8), xs, 0.5), drop(KEY, xs, 0.5))


def test_variational_masks_stay_for_all_steps():
    """Rows and units have masks of their own, pieces that of the whole."""
    ones = jnp.ones((T, 4, 64))
    whole = np.asarray(variational_dropout(KEY, ones, RATE))
    assert len({step.tobytes() for step in whole}) == 1
    assert len({row.tobytes() for row in whole[0]}) == 4
    assert np.array_equal(variational_dropout(KEY, ones[:2], RATE), whole[:2])
    assert variational_dropout(KEY, ones[:0], RATE).shape == (0, 4, 64)
    assert variational_dropout(KEY, ones[:, 0], RATE).shape == (T, 64)


def test_embedding_dropout_drops_words():
    """Whole rows, the same wherever the word occurs."""
    table = jax.random.normal(KEY, (50, 8))
    dropped = np.asarray(embedding_dropout(KEY, table, RATE))
    words = np.any(dropped != 0, axis=1)
    assert 0 < words.sum() < 50
    np.testing.assert_array_equal(dropped[words], 2 * table[words])


@pytest.mark.parametrize("drop", KINDS, ids=lambda drop: drop.__name__)
def test_rate_of_each_kind_out_of_range(drop):
    words = rf"{drop.__name__} rate is 1.0, expected a number in \[0, 1\)"
    with pytest.raises(ValueError, match=words):
        drop(KEY, jnp.ones((2, 2)), 1.0)


def test_rate_of_weight_drop_out_of_range():
    with pytest.raises(ValueError, match="weight_drop rate is -1, expected a number"):
        lstm_jax.weight_drop(KEY, PARAMS, -1)


@pytest.mark.parametrize("rate", [1.0, -0.1, 2])
def test_rate_out_of_range(rate):
    with pytest.raises(ValueError, match=rf"dropout is {rate}, expected .*\[0, 1"):
        lstm_jax.lstm_stack(PARAMS, None, XS, dropout=rate, key=KEY)
