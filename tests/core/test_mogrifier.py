"""What the Mogrifier's rounds make of its parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from lstm_jax import MogrifierLSTMCell
from tests import cells
from tests.shapes import D, H

FLAGS = cells.make_flags()


def test_without_rounds_it_is_the_lstm(x64):
    """Values and gradients, with a mask, resets and a reset carry."""
    cell, lstm = MogrifierLSTMCell(H, rounds=0), lstm_jax.LSTMCell(H)
    at = cells.make_case(lstm)
    params = lstm_jax.MogrifierLSTMParams(*at.params, q=(), r=())
    value_and_grad = lambda cell, at: jax.jit(
        jax.value_and_grad(lambda at: cells.loss(cell, at, FLAGS))
    )(at)
    got = value_and_grad(cell, at._replace(params=params))
    cells.assert_close(got, value_and_grad(lstm, at), cells.DERIVATIVES)


def test_weights_of_zeros_gate_nothing(x64):
    """``2 sigmoid(0)`` is 1, so that any number of rounds is the LSTM again."""
    at = cells.make_case(cell := MogrifierLSTMCell(H, rounds=4))
    zeros = jax.tree.map(jnp.zeros_like, (at.params.q, at.params.r))
    got = cells.run(
        cell, at._replace(params=at.params._replace(q=zeros[0], r=zeros[1]))
    )
    want = lstm_jax.lstm(lstm_jax.LSTMParams(*at.params[:3]), at.carry, at.xs)
    cells.assert_close(got, tuple(want), 1e-14)


@pytest.mark.parametrize(
    ("rounds", "q", "r"),
    [(0, 0, 0), (1, 1, 0), (2, 1, 1), (5, 3, 2)],
)
def test_matrices_take_turns(rounds, q, r):
    full = MogrifierLSTMCell(H, rounds).init(jax.random.key(0), D)
    assert [a.shape for a in full.q] == [(H, D)] * q
    assert [a.shape for a in full.r] == [(D, H)] * r
    low = MogrifierLSTMCell(H, rounds, rank=2).init(jax.random.key(0), D)
    assert [(a.left.shape, a.right.shape) for a in low.q] == [((H, 2), (2, D))] * q
    assert [(a.left.shape, a.right.shape) for a in low.r] == [((D, 2), (2, H))] * r
    for params in (full, low):
        draws = [np.asarray(a).tobytes() for a in jax.tree.leaves(params[3:])]
        assert len(set(draws)) == len(draws)


def test_products_are_named_by_round():
    at = cells.make_case(cell := MogrifierLSTMCell(H, rounds=3, rank=2), "float32")
    weights = cell.weights(at.params)
    assert tuple(weights) == cell.products
    assert weights["q3.right"] is at.params.q[1].right
    assert weights["r2.left"] is at.params.r[0].left


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": -1}, "rounds is -1, expected an integer, 0 or more"),
        ({"rank": 0}, "rank is 0, expected an integer, 1 or more"),
    ],
)
def test_sizes_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        MogrifierLSTMCell(H, **options)


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (
            {"rounds": 1},
            r"params\.q\[1\] is None, expected an array .*init of the same",
        ),
        ({"rounds": 4}, r"params\.r\[1\] is an array, expected None"),
        (
            {"rank": 2},
            r"params\.q\[0\] is a list or tuple, expected .*rank=None",
        ),
    ],
)
def test_parameters_of_other_rounds(theirs, message):
    at = cells.make_case(MogrifierLSTMCell(H, **{"rounds": 3} | theirs), "float32")
    with pytest.raises(ValueError, match=message):
        cells.run(MogrifierLSTMCell(H, rounds=3), at)


def test_a_matrix_of_another_shape():
    at = cells.make_case(cell := MogrifierLSTMCell(H, rounds=1), "float32")
    params = at.params._replace(q=(at.params.q[0].T,))
    with pytest.raises(
        ValueError, match=r"params\.q\[0\] has shape \(4, 5\), expected"
    ):
        cells.run(cell, at._replace(params=params))


def test_a_stack_of_mogrifiers():
    """Layers after the first read H features: their matrices are of other shapes."""
    cell = MogrifierLSTMCell(H, rounds=2, rank=2)
    stack = lstm_jax.Stack([cell] * 2, bidirectional=True)
    layers = stack.init(jax.random.key(0), D)
    _, hs = stack(layers, None, jnp.ones((6, 3, D)), mask=FLAGS.mask)
    assert hs.shape == (6, 3, 2 * H)
    assert layers[1].forward.q[0].right.shape == (2, 2 * H)
