"""Traces, against the library's own outputs and the equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax import (
    Bidirectional,
    GRUCell,
    LSTMCell,
    RecurrentDropout,
    Stack,
    unroll,
)
from lstm_jax.diagnostics import readings, trace, trace_stack
from lstm_jax.nn import LSTM
from tests import cells
from tests.shapes import LENGTHS, B, D, T


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", cells.CELLS)
def test_outputs_and_states_are_those_of_unroll(name, reverse):
    cell = cells.CELLS[name]
    at = cells.make_case(cell)
    resets = np.zeros(at.xs.shape[:2], bool)
    resets[2] = True
    options = dict(lengths=LENGTHS, resets=resets, reverse=reverse)
    found = trace(cell, at.params, at.carry, at.xs, **options)
    last, hs = unroll(cell, at.params, at.carry, at.xs, **options)
    cells.assert_close(found.hs, hs, cells.DERIVATIVES)
    # A row's state after its last real step is the state that `unroll` returns.
    longest = int(np.argmax(LENGTHS))
    end = 0 if reverse else LENGTHS[longest] - 1
    pick = lambda c: jax.tree.map(lambda a: a[end, longest], c)
    after = jax.tree.map(lambda a: a[longest], last)
    cells.assert_close(pick(found.carry), after, cells.DERIVATIVES)
    assert found.gates


def test_the_gates_are_those_of_the_equations():
    cell, xs = LSTMCell(4), jax.random.normal(jax.random.key(1), (T, B, D))
    params = cell.init(jax.random.key(0), D)
    found = trace(cell, params, None, xs)
    i, f, g, o = (np.asarray(found.gates[k]) for k in "ifgo")
    before, c = np.asarray(found.before.c), np.asarray(found.carry.c)
    np.testing.assert_allclose(c, f * before + i * g, atol=1e-6)
    np.testing.assert_allclose(found.hs, o * np.tanh(c), atol=1e-6)
    np.testing.assert_array_equal(before[1:], c[:-1])
    z = np.split(np.asarray(xs @ params.w_x + found.before.h @ params.w_h), 4, axis=-1)
    b = np.split(np.asarray(params.b), 4)
    for k, gate in enumerate("ifgo"):
        np.testing.assert_allclose(found.z[gate], z[k] + b[k], atol=1e-5)


def test_padding_is_zero_and_may_be_anything():
    cell, xs = GRUCell(4), np.ones((T, B, D), np.float32)
    xs[4:, 1] = np.nan
    params = cell.init(jax.random.key(0), D)
    found = trace(cell, params, None, xs, lengths=np.array([T, 4] + [T] * (B - 2)))
    for leaf in jax.tree.leaves(found):
        assert np.all(np.asarray(leaf)[4:, 1] == 0)


STACKS = {
    "plain": Stack([LSTMCell(4), GRUCell(3)]),
    "residual": Stack([LSTMCell(4), LSTMCell(4)], skip="residual"),
    "dense": Stack([LSTMCell(4), LSTMCell(5), GRUCell(3)], skip="dense"),
    "bidirectional": Stack([LSTMCell(4), LSTMCell(3)], bidirectional=True),
    "summed": Stack([LSTMCell(4), GRUCell(4)], bidirectional=True, merge="sum"),
    "separate": Stack([LSTMCell(4), LSTMCell(3)], bidirectional=True, merge="none"),
    "stacked": Stack([LSTMCell(D), LSTMCell(D)], stacked=True),
    "random": Stack([RecurrentDropout(LSTMCell(4), 0.5)], output_dropout=0.5),
}


@pytest.mark.parametrize("name", STACKS)
def test_layers_are_those_of_the_stack(name):
    stack, xs = STACKS[name], jax.random.normal(jax.random.key(1), (T, B, D))
    params = stack.init(jax.random.key(0), D)
    carries = stack.initial_carry(D)
    carries = jax.tree.map(lambda a: a + 0.3, carries)
    options = dict(lengths=LENGTHS)
    found = trace_stack(stack, params, carries, xs, **options)
    assert len(found) == len(stack.cells)
    _, hs = stack(params, carries, xs, **options)
    top = found[-1]
    if isinstance(top, Bidirectional):
        hs = {"concat": lambda: jnp.concatenate([top.forward.hs, top.backward.hs], -1)}
        hs |= {"sum": lambda: top.forward.hs + top.backward.hs}
        hs |= {"none": lambda: Bidirectional(top.forward.hs, top.backward.hs)}
        ours = hs[stack.merge]()
    else:
        ours = top.hs if stack.skip != "residual" else top.hs + top.xs
    _, hs = stack(params, carries, xs, **options)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, hs)


def test_a_stack_refuses_what_its_call_refuses():
    stack = STACKS["plain"]
    params = stack.init(jax.random.key(0), D)
    with pytest.raises(ValueError, match="entries, expected 2"):
        trace_stack(stack, params[:1], None, jnp.ones((T, B, D)))


class Model(nnx.Module):
    """Two stacks, one of them called twice, beside other layers."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first = LSTM(D, 4, rngs=rngs)
        self.second = LSTM(4, 3, num_layers=2, bidirectional=True, rngs=rngs)

    def __call__(self, xs):
        return self.second(self.first(xs)), self.first(xs[:, ::-1])


def test_every_call_of_a_layer_is_read():
    model, xs = Model(), jax.random.normal(jax.random.key(1), (B, T, D))
    outs = []
    found = readings(model, lambda model: outs.extend(model(xs)))
    assert [one.name for one in found] == ["first", "second", "first#2"]
    np.testing.assert_allclose(found[0].xs, xs.swapaxes(0, 1))
    (first,) = found[0].trace()
    np.testing.assert_allclose(first.hs, found[1].xs, atol=1e-6)
    top = found[1].trace()[-1]
    both = jnp.concatenate([top.forward.hs, top.backward.hs], -1).swapaxes(0, 1)
    np.testing.assert_allclose(both, outs[0], atol=1e-6)
    assert type(model.first.stack) is Stack


def test_what_cannot_be_read_is_refused():
    model, xs = Model(), jnp.ones((B, T, D))
    with pytest.raises(ValueError, match=r"first run inside .* jax.jit"):
        readings(model, lambda model: jax.jit(lambda xs: model(xs))(xs))
    with pytest.raises(ValueError, match="ran no Recurrent layer"):
        readings(model, lambda model: None)
