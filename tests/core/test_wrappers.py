"""Regularisers around a cell, against numpy with the same masks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from lstm_jax import CandidateDropout, RecurrentDropout, Zoneout
from tests import cells, reference
from tests.core.test_derivatives import FIGURES, check_both, grad_and_hvp
from tests.reference import sigmoid
from tests.shapes import B, D, H, T

pytestmark = pytest.mark.usefixtures("x64")

KEY = jax.random.key(5)
LSTM = lstm_jax.LSTMCell(H)
WRAPPED = {
    "zoneout": Zoneout(LSTM, h=0.3, c=0.5),
    "zoneout, gru": Zoneout(lstm_jax.GRUCell(H), h=0.3),
    "recurrent dropout": RecurrentDropout(LSTM, 0.4),
    "recurrent dropout, tied": RecurrentDropout(LSTM, 0.4, per_gate=False),
    "recurrent dropout, gru": RecurrentDropout(lstm_jax.ResetBeforeGRUCell(H), 0.4),
    "candidate": CandidateDropout(LSTM, 0.4),
    "candidate, projected": CandidateDropout(lstm_jax.LSTMPCell(H, 2), 0.4),
    "recurrent dropout, heads": RecurrentDropout(
        lstm_jax.SLSTMCell(2 * H, heads=2), 0.4
    ),
    "recurrent dropout, convolution": RecurrentDropout(
        lstm_jax.ConvLSTMCell(H, kernel=(2,)), 0.4
    ),
    "all": Zoneout(CandidateDropout(RecurrentDropout(LSTM, 0.4), 0.3), h=0.2, c=0.2),
}
FLAGS = cells.make_flags()


def by_hand(step, weights, at, masks):
    """A loop over the steps; ``masks(t)`` are those of step ``t``."""
    numpy = functools.partial(jax.tree.map, np.asarray)
    weights, state = numpy((tuple(weights), tuple(at.carry)))
    hs = []
    for t in range(T):
        state = step(weights, state, np.asarray(at.xs[t]), numpy(masks(t)))
        hs.append(state[0])
    return state, np.stack(hs)


def lstm_step(weights, state, x):
    """The reference's step, a row at a time."""
    rows = [
        reference.lstm_step(weights, row, x) for *row, x in zip(*state, x, strict=True)
    ]
    return tuple(map(np.stack, zip(*rows, strict=True)))


def zoneout_step(weights, state, x, masks):
    h, c = lstm_step(weights, state, x)
    return np.where(masks["h"], h, state[0]), np.where(masks["c"], c, state[1])


def recurrent_step(weights, state, x, masks):
    (w_x, w_h, b), (h, c) = weights, state
    dropped = masks["w_h"] * h[:, None, :] / 0.6
    gates = zip(np.moveaxis(dropped, 1, 0), np.split(w_h, 4, axis=1), strict=True)
    z = x @ w_x + b + np.concatenate([a @ w for a, w in gates], axis=1)
    z_i, z_f, z_g, z_o = np.split(z, 4, axis=1)
    c = sigmoid(z_f) * c + sigmoid(z_i) * np.tanh(z_g)
    return sigmoid(z_o) * np.tanh(c), c


def candidate_step(weights, state, x, keep):
    (w_x, w_h, b), (h, c) = weights, state
    z_i, z_f, z_g, z_o = np.split(x @ w_x + h @ w_h + b, 4, axis=1)
    c = sigmoid(z_f) * c + sigmoid(z_i) * keep * np.tanh(z_g) / 0.6
    return sigmoid(z_o) * np.tanh(c), c


ORACLES = {
    "zoneout": (zoneout_step, lambda noise, t: {k: v[t] for k, v in noise[1].items()}),
    "recurrent dropout": (recurrent_step, lambda noise, t: noise[0]),
    "candidate": (candidate_step, lambda noise, t: noise[1][t]),
}


@pytest.mark.parametrize("name", ORACLES)
def test_matches_the_oracle_with_its_masks(name):
    cell, (step, at_step) = WRAPPED[name], ORACLES[name]
    at = cells.make_case(cell)
    own, _ = zip(*cell.noise(KEY, jnp.arange(T), (B,), jnp.float64), strict=True)
    got = lstm_jax.unroll(cell, at.params, at.carry, at.xs, key=KEY)
    want = by_hand(step, at.params, at, functools.partial(at_step, own))
    cells.assert_close(got, want, 1e-12)


def test_zoneout_evaluates_its_expectation():
    """The mean over many draws of one step, within its standard error."""
    cell = WRAPPED["zoneout"]
    at = cells.make_case(cell, steps=1)
    run = lambda key: lstm_jax.unroll(cell, at.params, at.carry, at.xs, key=key)[0]
    drawn = jax.vmap(run)(jax.random.split(KEY, 4000))
    mean = jax.tree.map(lambda a: a.mean(0), drawn)
    cells.assert_close(run(None), mean, 0.05)
    h, c = lstm_step(*jax.tree.map(np.asarray, (at.params, at.carry, at.xs[0])))
    want = (0.3 * at.carry.h + 0.7 * h, 0.5 * at.carry.c + 0.5 * c)
    cells.assert_close(run(None), want, 1e-12)


@pytest.mark.parametrize("name", [n for n in WRAPPED if "zoneout" not in n][:-1])
def test_dropouts_do_nothing_in_evaluation(name):
    cell = WRAPPED[name]
    at = cells.make_case(cell)
    cells.assert_close(cells.run(cell, at), cells.run(cell.cell, at), 1e-15)


@pytest.mark.parametrize("name", WRAPPED)
def test_derivatives_agree_with_the_plain_scan(name):
    cell = WRAPPED[name]
    loss = lambda at, flags, plain: cells.loss(cell, at, flags, plain=plain, key=KEY)
    mode = grad_and_hvp if name == "all" else FIGURES["grad"]
    check_both(loss, cells.make_case(cell), FLAGS, mode=mode)


def check_chunks_and_pieces(name):
    cell = WRAPPED[name]
    at = cells.make_case(cell)
    run = jax.jit(functools.partial(lstm_jax.unroll, cell), static_argnames="remat")
    want = run(at.params, at.carry, at.xs, key=KEY)
    got = run(at.params, at.carry, at.xs, key=KEY, remat=4)
    cells.assert_close(got, want, 1e-13)
    carry, first = run(at.params, at.carry, at.xs[:2], key=KEY)
    carry, rest = run(at.params, carry, at.xs[2:], key=KEY, start=2)
    cells.assert_close((carry, jnp.concatenate([first, rest])), want, 1e-13)
    other = run(at.params, at.carry, at.xs, key=jax.random.key(6))
    assert not np.allclose(other[1], want[1])


@pytest.mark.parametrize("name", WRAPPED)
def test_chunks_and_pieces_see_the_masks_of_the_whole(name):
    check_chunks_and_pieces(name)


def test_locked_masks_are_one_a_sequence_and_others_one_a_step():
    _, stepwise = WRAPPED["zoneout"].noise(KEY, jnp.arange(T), (B,), jnp.float32)
    masks = np.asarray(stepwise[0]["c"])
    assert len({m.tobytes() for m in masks}) == T
    assert not np.array_equal(masks, stepwise[0]["h"]), "h and c have their own"
    locked, _ = WRAPPED["recurrent dropout"].noise(
        KEY, jnp.arange(T), (B,), jnp.float32
    )
    gates = np.asarray(locked[0]["w_h"])
    assert gates.shape == (B, 4, H)
    assert len({g.tobytes() for g in np.moveaxis(gates, 1, 0)}) == 4


@pytest.mark.parametrize("name", ["zoneout", "recurrent dropout", "candidate"])
def test_directions_and_layers_have_masks_of_their_own(name):
    """Two directions and two layers with the same weights, on a constant input."""
    stack = lstm_jax.Stack([WRAPPED[name]] * 2, bidirectional=True, merge="none")
    at = cells.make_case(WRAPPED[name], in_size=H)
    params = (lstm_jax.Bidirectional(at.params, at.params),) * 2
    run = lambda key: stack(params, None, jnp.ones((T, B, H)), key=key)[1]
    mirror = lambda both: both.backward[::-1]
    still, drawn = run(None), run(KEY)
    cells.assert_close(still.forward, mirror(still), 1e-13)
    assert not np.allclose(drawn.forward, mirror(drawn))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Zoneout(LSTM, h=1.0), r"Zoneout h is 1.0, expected .*\[0, 1\)"),
        (lambda: Zoneout(lstm_jax.GRUCell(H), c=0.1), "GRUCell has no c; set h alone"),
        (lambda: RecurrentDropout(LSTM, -0.1), "RecurrentDropout rate is -0.1, expec"),
        (lambda: CandidateDropout(LSTM, 2), "CandidateDropout rate is 2, expected"),
        (lambda: CandidateDropout(LSTM, None), "CandidateDropout rate is None, expec"),
        (
            lambda: CandidateDropout(lstm_jax.MinLSTMCell(H), 0.1),
            "MinLSTMCell activates no candidate as a gate",
        ),
        (
            lambda: RecurrentDropout(lstm_jax.MinLSTMCell(H), 0.1),
            "MinLSTMCell has no product of its hidden state",
        ),
        (
            lambda: Zoneout(lstm_jax.SLSTMCell(H), h=0.1),
            "has the fields .h, c, n, m., expected h",
        ),
        (lambda: Zoneout(lstm_jax.LSTMCell, h=0.1), "cell is .*, expected a cell such"),
    ],
)
def test_bad_wrappers(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_an_empty_batch():
    for name in ("recurrent dropout", "zoneout"):
        cell = WRAPPED[name]
        at = cells.make_case(cell, batch=(0,))
        run = lambda at, cell=cell: cells.run(cell, at, key=KEY, remat=4)[1].sum()
        assert not any(map(np.any, jax.tree.leaves(jax.grad(run)(at).params)))


def test_wrapped_parameters_are_those_of_the_cell():
    cell = WRAPPED["all"]
    params = cell.init(jax.random.key(0), D)
    assert type(params) is lstm_jax.LSTMParams
    assert cell == Zoneout(CandidateDropout(RecurrentDropout(LSTM, 0.4), 0.3), 0.2, 0.2)
    assert hash(cell) == hash(WRAPPED["all"])


@pytest.mark.parametrize("outer", [True, False], ids=["per gate", "tied"])
@pytest.mark.parametrize("inner", [True, False], ids=["per gate", "tied"])
def test_recurrent_dropout_twice(inner, outer):
    """Both masks act, whichever has one a gate."""
    one = RecurrentDropout(LSTM, 0.4, per_gate=inner)
    cell = RecurrentDropout(one, 0.25, per_gate=outer)
    at = cells.make_case(cell)
    got = lstm_jax.unroll(cell, at.params, at.carry, at.xs, key=KEY)
    noise = cell.noise(KEY, jnp.arange(T), (B,), jnp.float64)
    outer_masks, (inner_masks, _) = noise.locked
    keep = [np.asarray(masks["w_h"], float) for masks in (outer_masks, inner_masks)]
    both = np.broadcast_to(keep[0] * keep[1] / 0.75, (B, 4, H))
    want = by_hand(recurrent_step, at.params, at, lambda t: {"w_h": both})
    cells.assert_close(got, want, 1e-12)
    loss = lambda at, flags, plain: cells.loss(cell, at, flags, plain=plain, key=KEY)
    check_both(loss, at, FLAGS, mode=FIGURES["grad"])


@pytest.mark.parametrize("outer", ["zoneout", "recurrent dropout, tied", "candidate"])
@pytest.mark.parametrize("inner", ["zoneout", "recurrent dropout", "candidate"])
def test_any_wrapper_goes_around_any_other(inner, outer):
    """In chunks as in one, and the masks of both act."""
    cell = dataclasses.replace(WRAPPED[outer], cell=WRAPPED[inner])
    at, (own, within) = cells.make_case(cell), jax.random.split(KEY)
    run = lambda cell, **more: lstm_jax.unroll(cell, at.params, at.carry, at.xs, **more)
    both = run(cell, key=KEY)
    cells.assert_close(run(cell, key=KEY, remat=4), both, 1e-13)
    for one, key in ((WRAPPED[inner], within), (WRAPPED[outer], own)):
        assert not np.allclose(both[1], run(one, key=key)[1])
