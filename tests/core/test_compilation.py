"""The second call does not compile again, and nothing leaks out of a trace."""

import copy
import functools

import jax
import jax.numpy as jnp
import pytest

import lstm_jax
from tests import cells
from tests.shapes import B, D, H, T


def counted(f):
    """``f``, and a list that grows whenever ``f`` is traced."""
    traces = []

    @functools.wraps(f)
    def call(*args):
        traces.append(args)
        return f(*args)

    return call, traces


def test_second_call_does_not_recompile():
    """Equal cells are equal static arguments; new values are not new programs."""

    def loss(params, cell, xs, lengths):
        return jnp.sum(lstm_jax.unroll(cell, params, None, xs, lengths=lengths)[1])

    loss, traces = counted(loss)
    grad = jax.jit(jax.grad(loss), static_argnums=1)
    for seed in range(3):
        at = cells.make_case(lstm_jax.LSTMCell(H), "float32", seed=seed)
        grad(at.params, lstm_jax.LSTMCell(H), at.xs, jnp.full(B, seed))
    assert len(traces) == 1


def test_carry_has_one_type():
    """What comes out fits what goes in, in dtype, weak type and structure."""
    run, traces = counted(lstm_jax.lstm)
    run = jax.jit(run)
    at = cells.make_case(lstm_jax.LSTMCell(H), "float32")
    carry, _ = lstm_jax.lstm(at.params, None, at.xs)
    for _ in range(3):
        carry, _ = run(at.params, carry, at.xs)
    assert len(traces) == 1


def test_cells_hash_by_value():
    table = {lstm_jax.LSTMCell(3): "lstm", lstm_jax.RNNCell(3): "rnn"}
    assert table[lstm_jax.LSTMCell(3)] == "lstm"
    assert len({*table, lstm_jax.LSTMCell(3), lstm_jax.LSTMCell(4)}) == 3


@pytest.mark.parametrize("name", cells.CELLS)
def test_no_cell_recompiles_or_leaks(name):
    """A call on new values of an equal cell is no new program, and its trace leaves
    nothing behind."""
    cell, flags = cells.CELLS[name], cells.make_flags()
    run, traces = counted(lambda at: cells.run(copy.deepcopy(cell), at, flags))
    run = jax.jit(run)
    for seed in range(2):
        run(cells.make_case(cell, "float32", seed=seed))
    assert len(traces) == 1
    at = cells.make_case(cell, "float32")
    with jax.checking_leaks():
        jax.make_jaxpr(lambda at: cells.run(cell, at, flags))(at)


def test_no_tracer_leaks_from_any_derivative():
    cell, flags = cells.CELLS["gru"], cells.make_flags()
    at = cells.make_case(cell, "float32")
    loss = functools.partial(cells.loss, cell)
    with jax.checking_leaks():
        jax.jit(jax.grad(jax.checkpoint(loss)))(at, flags)
        jax.jit(lambda at: jax.jvp(jax.grad(loss), (at,), (at,)))(at)


def test_every_public_transformation_of_init():
    """init can be jitted, vmapped over keys and shaped without computing."""
    init = functools.partial(lstm_jax.init_lstm, in_size=D, hidden_size=H)
    keys = jax.random.split(jax.random.key(0), 3)
    many = jax.jit(jax.vmap(init))(keys)
    assert jax.tree.map(jnp.shape, many) == ((3, D, 4 * H), (3, H, 4 * H), (3, 4 * H))
    one = init(keys[1])
    cells.assert_close(jax.tree.map(lambda x: x[1], many), one, 1e-6)
    assert jax.eval_shape(init, keys[0]).w_h.shape == (H, 4 * H)
    hs = jax.vmap(lambda p: lstm_jax.lstm(p, None, jnp.ones((T, D)))[1])(many)
    assert hs.shape == (3, T, H)
