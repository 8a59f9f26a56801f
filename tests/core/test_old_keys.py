"""Old-style keys, which Flax hands on, are the typed keys of the same seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from lstm_jax import LSTMCell, Stack, Zoneout
from lstm_jax.inference import Sampling, draw, generate
from tests import cells
from tests.shapes import B, D, H, T

XS = jnp.ones((T, B, D))
PARAMS = lstm_jax.init_lstm_stack(jax.random.key(0), D, H, num_layers=2)
CELL = Zoneout(LSTMCell(H), h=0.5)
TABLE = jax.random.normal(jax.random.key(1), (5, 5))


def chunks(key):
    step = lambda carry, tokens: (carry, TABLE[tokens])
    return list(generate(step, (), TABLE[:2], key, 8, Sampling()))


FUNCTIONS = {
    "init_lstm": lambda key: lstm_jax.init_lstm(key, D, H),
    "init_lstm_stack": lambda key: lstm_jax.init_lstm_stack(key, D, H, num_layers=2),
    "chrono": lambda key: lstm_jax.init_lstm(
        key, D, H, forget_bias=lstm_jax.init.chrono(9)
    ),
    "Stack.init": lambda key: Stack([CELL], bidirectional=True).init(key, D),
    "dropout": lambda key: lstm_jax.dropout(key, XS, 0.5),
    "variational_dropout": lambda key: lstm_jax.variational_dropout(key, XS, 0.5),
    "embedding_dropout": lambda key: lstm_jax.embedding_dropout(key, XS[:, 0], 0.5),
    "weight_drop": lambda key: lstm_jax.weight_drop(key, PARAMS, 0.5),
    "unroll": lambda key: lstm_jax.unroll(CELL, PARAMS[0], None, XS, key=key),
    "remat": lambda key: lstm_jax.unroll(CELL, PARAMS[0], None, XS, key=key, remat=2),
    "Stack": lambda key: Stack([CELL] * 2, dropout=0.5)(PARAMS, None, XS, key=key),
    "lstm_stack": lambda key: lstm_jax.lstm_stack(
        PARAMS, None, XS, key=key, dropout=0.5, weight_drop=0.5
    ),
    "feed": lambda key: lstm_jax.feed(
        Stack([CELL]), PARAMS[:1], lstm_jax.Stream(), XS, key=key
    ),
    "draw": lambda key: draw(TABLE, jax.random.split(key, 5), Sampling()),
    "generate": chunks,
} | {
    f"init of {name}": lambda key, cell=cell: cell.init(key, D)
    for name, cell in cells.CELLS.items()
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_old_key_is_the_typed_one(name):
    function = FUNCTIONS[name]
    old, new = jax.random.PRNGKey(7), jax.random.key(7)
    jax.tree.map(np.testing.assert_array_equal, function(old), function(new))
    if name != "generate":
        jax.tree.map(
            np.testing.assert_array_equal, jax.jit(function)(old), function(old)
        )


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_words_are_those_of_the_default_implementation(impl):
    run = lambda key: lstm_jax.unroll(CELL, PARAMS[0], None, XS, key=key)[1]
    with jax.default_prng_impl(impl):
        old = jax.random.PRNGKey(7)
        np.testing.assert_array_equal(run(old), run(jax.random.key(7)))
        with pytest.raises(
            TypeError, match=r"key has shape \(3,\) and dtype uint32, exp"
        ):
            run(jnp.zeros(3, jnp.uint32))
