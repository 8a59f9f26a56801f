"""Parameters and states can be donated: no two of their arrays share a buffer."""

import jax
import jax.numpy as jnp
import pytest

from lstm_jax import RecurrentDropout, Stack, Zoneout, init_lstm, init_lstm_stack
from tests import cells

LSTM = cells.CELLS["lstm"]
ALONE = {**cells.CELLS, "zoneout": Zoneout(LSTM), "drop": RecurrentDropout(LSTM, 0.5)}
STACKS = {
    "directions": Stack([LSTM] * 2, bidirectional=True),
    "stacked": Stack([LSTM] * 3, stacked=True),
    "peephole, directions": Stack([cells.CELLS["peephole"]], bidirectional=True),
    "slstm, directions": Stack([cells.CELLS["slstm"]] * 2, bidirectional=True),
}


def made_by(thing):
    """Everything that a cell or a stack makes."""
    key, size = jax.random.key(0), LSTM.hidden_size
    if isinstance(thing, Stack):
        yield "init", thing.init(key, size)
        yield "zero_carry", thing.zero_carry(size, (2,))
        yield "initial_carry", thing.initial_carry(size)
    else:
        space = cells.SPACE[: thing.feature_axes - 1]
        yield "init", thing.init(key, size)
        yield "zero_carry", thing.zero_carry((2, *space), jnp.float32)
        yield "initial_carry", thing.initial_carry(jnp.float32)


@pytest.mark.parametrize("name", [*ALONE, *STACKS])
def test_no_two_arrays_share_a_buffer(name):
    for what, tree in made_by((ALONE | STACKS)[name]):
        places = [a.unsafe_buffer_pointer() for a in jax.tree.leaves(tree)]
        assert len({*places}) == len(places), f"{what} of {name}"


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_functions_do_as_their_cells(bidirectional):
    key = jax.random.key(0)
    layers = init_lstm_stack(key, 3, 5, num_layers=2, bidirectional=bidirectional)
    double = jax.jit(lambda t: jax.tree.map(lambda a: 2 * a, t), donate_argnums=0)
    double((init_lstm(key, 3, 5), layers))
