"""Masks are functions of the key and the step, whatever kind of key it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import (
    CandidateDropout,
    LSTMCell,
    RecurrentDropout,
    Stack,
    Stream,
    Zoneout,
    dropout,
    embedding_dropout,
    feed,
    variational_dropout,
    weight_drop,
)
from lstm_jax.inference import Sampling, draw

T, B, D, H = 6, 3, 4, 4
KINDS = ["threefry2x32", "rbg", "unsafe_rbg"]
CELL = LSTMCell(H)
STACKS = {
    "zoneout": Stack([Zoneout(CELL, h=0.4, c=0.4)]),
    "recurrent": Stack([RecurrentDropout(CELL, 0.5)]),
    "tied": Stack([RecurrentDropout(CELL, 0.5, per_gate=False)]),
    "candidate": Stack([CandidateDropout(CELL, 0.5)]),
    "layers": Stack([CELL] * 2, input_dropout=0.3, dropout=0.5, output_dropout=0.3),
    "variational": Stack([CELL] * 2, dropout=0.5, locked=True, weight_drop=0.5),
    "all": Stack([Zoneout(RecurrentDropout(CELL, 0.5), h=0.4)] * 2, dropout=0.5),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, KINDS[0]) for name in STACKS), *(("all", kind) for kind in KINDS[1:])],
)
def test_pieces_remat_and_vmap_see_the_masks_of_one_call(name, kind):
    stack = STACKS[name]
    keys = jax.random.split(jax.random.key(3, impl=kind), 2)
    params = stack.init(jax.random.key(0), D)
    xs = jax.random.normal(jax.random.key(1), (T, B, D))
    one = lambda key, **more: stack(params, None, xs, key=key, **more)[1]
    whole = [one(key) for key in keys]
    assert not np.allclose(whole[0], whole[1])
    stream, first = feed(stack, params, Stream(), xs[:2], key=keys[0])
    _, second = feed(stack, params, stream, xs[2:], key=keys[0])
    same = lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    same(jnp.concatenate([first, second]), whole[0])
    same(one(keys[0], remat=4), whole[0])
    same(jax.vmap(one)(keys), jnp.stack(whole))
    alone = lambda row: stack(params, None, row, key=keys[0])[1]
    same(jax.vmap(alone, 1, 1)(xs)[:, 1], alone(xs[:, 1]))


PARAMS = CELL.init(jax.random.key(0), D)
FUNCTIONS = {
    "dropout": lambda key, xs: dropout(key, xs, 0.5),
    "variational_dropout": lambda key, xs: variational_dropout(key, xs, 0.5),
    "embedding_dropout": lambda key, xs: embedding_dropout(key, xs[0], 0.5),
    "weight_drop": lambda key, xs: weight_drop(key, [PARAMS], 0.5)[0].w_h * xs[0, 0, 0],
    "draw": lambda key, xs: draw(xs[0, 0], key, Sampling()),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_under_vmap(name, kind):
    keys = jax.random.split(jax.random.key(3, impl=kind), 8)
    xs = jax.random.normal(jax.random.key(1), (8, T, B, D)) + 3
    each = [FUNCTIONS[name](*at) for at in zip(keys, xs, strict=True)]
    got = jax.vmap(FUNCTIONS[name])(keys, xs)
    np.testing.assert_allclose(got, jnp.stack(each), rtol=1e-6)
    assert len(np.unique(np.asarray(got).reshape(8, -1), axis=0)) > 1


def test_all_words_of_a_key_count():
    """Keys of four words that differ in the last one alone give different masks."""
    words = jnp.array([[1, 2, 3, 4], [1, 2, 3, 5]], jnp.uint32)
    masks = [
        dropout(jax.random.wrap_key_data(w, impl="rbg"), jnp.ones((T, B, D)), 0.5)
        for w in words
    ]
    assert not (masks[0] == masks[1]).all()
