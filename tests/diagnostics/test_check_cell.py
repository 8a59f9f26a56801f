"""The check for people who write cells passes ours, and finds planted faults."""

import jax.numpy as jnp
import pytest

from lstm_jax import LSTMCell, RecurrentDropout
from lstm_jax.diagnostics import check_cell
from tests import cells
from tests.core.test_contract import VALID, Own

H = 4


RIGHT = {
    **{name: cells.CELLS[name] for name in ("slstm", "convolution", "mogrifier")},
    **VALID,
    "recurrent dropout": RecurrentDropout(LSTMCell(H), 0.5),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_cells_pass(name):
    check_cell(RIGHT[name])


class Scaled(Own):
    """``b`` is multiplied, but said to be added."""

    def next(self, params, h, gx, dot):
        b = jnp.broadcast_to(params.b, gx.shape)
        return jnp.tanh(gx + dot("w_h", h) + 2 * b)


class Gated(Own):
    """The product of ``w_h`` is multiplied, but said to be added."""

    def next(self, params, h, gx, dot):
        b = jnp.broadcast_to(params.b, gx.shape)
        return jnp.tanh(gx * dot("w_h", h + 1) + b)


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        (Scaled(H), r"Scaled: jvp differs from the plain loop by"),
        (Gated(H), r"Gated: jvp differs from the plain loop by"),
    ],
)
def test_what_is_not_simply_added_is_found(cell, what):
    with pytest.raises(ValueError, match=what):
        check_cell(cell)


def test_not_a_cell():
    with pytest.raises(TypeError, match=r"cell is .*, expected a cell"):
        check_cell(LSTMCell)
