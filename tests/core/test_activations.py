"""Activations by name, with numbers, or as functions; clips; for every cell that has
them, against numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from lstm_jax import Activation, Activations
from lstm_jax.core.primitives.activations import FUNCTIONS
from lstm_jax.core.primitives.elementwise import gates
from tests import cells, reference
from tests.core.test_cell_oracles import (
    cifg_step,
    gru_step,
    oracle,
    peephole_step,
    reset_before_gru_step,
)
from tests.shapes import H

NUMBERS = {
    "leaky_relu": (0.3,),
    "thresholded_relu": (0.4,),
    "elu": (0.7,),
    "affine": (0.6, -0.2),
    "hard_sigmoid": (0.3, 0.4),
    "scaled_tanh": (1.3, 0.7),
}
"""``alpha`` and ``beta`` other than the defaults, of the functions that have them."""

HARD = Activations(
    "hard_sigmoid", "softsign", Activation("leaky_relu", 0.3), clip=1.0, cell_clip=0.6
)
HARD_IN_NUMPY = reference.Functions(
    reference.ACTIVATIONS["hard_sigmoid"],
    reference.ACTIVATIONS["softsign"],
    functools.partial(reference.ACTIVATIONS["leaky_relu"], alpha=0.3),
    clip=1.0,
    cell_clip=0.6,
)
GRU = Activations("hard_sigmoid", "softsign", clip=1.0)
CASES = {
    "lstm": (lstm_jax.LSTMCell(H, HARD), reference.lstm_step),
    "peephole": (lstm_jax.PeepholeLSTMCell(H, HARD), peephole_step),
    "cifg": (lstm_jax.CIFGLSTMCell(H, HARD), cifg_step),
    "gru": (lstm_jax.GRUCell(H, GRU), gru_step),
    "gru, reset before": (lstm_jax.ResetBeforeGRUCell(H, GRU), reset_before_gru_step),
    "rnn": (
        lstm_jax.RNNCell(H, Activations(candidate="softsign", clip=1.0)),
        reference.rnn_step,
    ),
}
GATES = {"lstm": "ifgo", "peephole": "ifgo", "cifg": "fgo", "rnn": "g"}


@pytest.mark.parametrize("numbers", [False, True], ids=["defaults", "numbers"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(x64, name, numbers):
    """The values of numpy and the slope of those, on both sides of every corner."""
    numbers = NUMBERS.get(name, ()) if numbers else ()
    z, small = np.random.default_rng(0).normal(0, 3, 99), 1e-6
    exact = lambda z: reference.ACTIVATIONS[name](z, *numbers)
    value, slope = jax.jvp(Activation(name, *numbers), (z,), (np.ones_like(z),))
    np.testing.assert_allclose(value, exact(z), rtol=1e-12, atol=1e-15)
    want = (exact(z + small) - exact(z - small)) / (2 * small)
    np.testing.assert_allclose(slope, want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_keep_the_dtype(name):
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        for numbers in ((), NUMBERS.get(name, ())):
            z = jnp.linspace(-2, 2, 9).astype(dtype)
            assert Activation(name, *numbers)(z).dtype == dtype


@pytest.mark.parametrize("name", CASES)
def test_matches_the_oracle(x64, name):
    """Values, and the gradient as their slope, where every clip is felt."""
    cell, step = CASES[name]
    at, flags = cells.make_case(cell), cells.make_flags()
    step = functools.partial(step, act=HARD_IN_NUMPY)
    v = cells.draw(at, seed=5)

    @jax.jit
    def both(at, weights):
        out, pull = jax.vjp(lambda at: cells.run(cell, at, flags), at)
        return out, pull(weights)[0]

    want = oracle(step, at)
    weights = cells.draw(jax.tree.map(jnp.asarray, want), seed=6)
    inner = lambda a, b: sum(
        np.vdot(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )
    got, d = both(at, weights)
    cells.assert_close(got, want, cells.tolerance(jnp.float64))
    small = 1e-6
    move = lambda s: jax.tree.map(lambda x, dx: np.asarray(x) + s * dx, at, v)
    ends = [inner(oracle(step, move(s)), weights) for s in (small, -small)]
    assert inner(d, v) == pytest.approx((ends[0] - ends[1]) / (2 * small), rel=1e-6)
    for limit in ("clip", "cell_clip"):
        if getattr(cell.activations, limit):
            other = functools.partial(
                step, act=HARD_IN_NUMPY._replace(**{limit: np.inf})
            )
            assert np.abs(oracle(other, at)[1] - want[1]).max() > 1e-3


def test_functions_of_ones_own_are_the_named_ones(x64):
    """One tanh over all the gates, and a function for every gate."""
    named = lstm_jax.LSTMCell(H)
    own = lstm_jax.LSTMCell(H, Activations(jax.nn.sigmoid, jnp.tanh, jnp.tanh))
    at, flags = cells.make_case(named), cells.make_flags()
    grad = lambda cell: jax.jit(jax.grad(lambda at: cells.loss(cell, at, flags)))(at)
    cells.assert_close(grad(own), grad(named), 1e-12)


def test_the_textbook_is_one_tanh():
    """Unless told otherwise a step has two tanh: of all gates at once, of the state."""
    cell = lstm_jax.LSTMCell(H)
    at = cells.make_case(cell, "float32")
    jaxpr = str(jax.make_jaxpr(lambda at: cells.run(cell, at))(at))
    assert (jaxpr.count("= tanh "), "logistic" in jaxpr) == (2, False)


@pytest.mark.parametrize("name", CASES)
def test_gates_have_their_names(name):
    """A wrapper sees each gate under its name, with what will be applied to it."""
    cell, _ = CASES[name]
    at, seen = cells.make_case(cell, "float32", steps=1), {}

    def watch(z, /, **activations):
        seen.update(activations)
        return gates(z, **activations)

    dot = lambda name, a: a @ getattr(at.params, name)
    cell.step(at.params, at.carry, cell.project(at.params, at.xs[0]), dot, watch)
    assert seen.keys() == set(GATES.get(name, "rzn"))
    assert {seen[gate] for gate in seen if gate in "gn"} == {"softsign"}
    assert {seen[gate] for gate in seen if gate not in "gn"} <= {"hard_sigmoid"}


def test_equal_cells_compile_once():
    run = jax.jit(lstm_jax.unroll, static_argnums=0)
    for _ in range(2):
        cell = lstm_jax.LSTMCell(H, Activations(Activation("elu", 0.5), jnp.sin))
        at = cells.make_case(cell, "float32")
        run(cell, at.params, at.carry, at.xs)
    assert run._cache_size() == 1
    assert cell != lstm_jax.LSTMCell(H, Activations(Activation("elu", 0.4), jnp.sin))


ERRORS = {
    "unknown": (
        lambda: Activations(candidate="HardSigmoid"),
        ValueError,
        "candidate is 'HardSigmoid', expected one of 'sigmoid', 'tanh', .*; "
        "did you mean 'hard_sigmoid'",
    ),
    "nowhere near": (
        lambda: Activations(gate="xyz"),
        ValueError,
        r"gate is 'xyz', expected one of .*'softsign'\.$",
    ),
    "unknown, with numbers": (
        lambda: Activation("leaky_elu"),
        ValueError,
        "name is 'leaky_elu', expected one of .*; did you mean 'leaky_relu'",
    ),
    "number": (lambda: Activation("elu", beta=1.0), TypeError, "elu has no beta; leav"),
    "not a function": (
        lambda: Activations(output=0.5),
        TypeError,
        "output is 0.5, expected the name of an activation, an Activation, or a func",
    ),
    "clip": (lambda: Activations(clip=0.0), ValueError, "^clip is 0.0, expected a pos"),
    "cell clip": (
        lambda: Activations(cell_clip=float("nan")),
        ValueError,
        "cell_clip is nan, expected a positive number, or None for no clip",
    ),
    "bare name": (
        lambda: lstm_jax.LSTMCell(H, "relu"),
        TypeError,
        r"activations of LSTMCell is 'relu', expected Activations\(\.\.\.\), such as",
    ),
    "no output": (
        lambda: lstm_jax.GRUCell(H, Activations(output="relu")),
        ValueError,
        "activations.output is 'relu', but GRUCell has nothing to apply it to; leave "
        "it at 'tanh'",
    ),
    "no cell": (
        lambda: lstm_jax.ResetBeforeGRUCell(H, Activations(cell_clip=1.0)),
        ValueError,
        "activations.cell_clip is 1.0, but ResetBeforeGRUCell has nothing",
    ),
    "no gate": (
        lambda: lstm_jax.RNNCell(H, Activations(gate="relu")),
        ValueError,
        "activations.gate is 'relu', but RNNCell has nothing",
    ),
}


@pytest.mark.parametrize(("make", "error", "words"), ERRORS.values(), ids=ERRORS)
def test_message(make, error, words):
    with pytest.raises(error, match=words):
        make()
