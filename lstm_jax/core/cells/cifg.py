"""The LSTM with coupled input and forget gates: it writes as much as it forgets.

    f_t = sigmoid(x_t w_xf + h_{t-1} w_hf + b_f)      forget gate
    g_t =    tanh(x_t w_xg + h_{t-1} w_hg + b_g)      candidate
    o_t = sigmoid(x_t w_xo + h_{t-1} w_ho + b_o)      output gate
    c_t = f_t * c_{t-1} + (1 - f_t) * g_t             cell state
    h_t = o_t * tanh(c_t)                             hidden state

Greff, Srivastava, Koutnik, Steunebrink & Schmidhuber, "LSTM: A Search Space Odyssey",
IEEE Transactions on Neural Networks and Learning Systems 28(10), 2017, states the
coupling as ``f = 1 - i``. Here the forget gate has the weights. The two forms are the
same cell with the sign of the gate's weights and bias flipped, because
``1 - sigmoid(z) = sigmoid(-z)``. ONNX (``input_forget=1``) stores the weights of the
input gate.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import jax.random

from lstm_jax._types import Array, Float
from lstm_jax.core import init
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.lstm import LSTMCarry, LSTMCell, hidden_state
from lstm_jax.core.primitives.activations import (
    TEXTBOOK,
    Activations,
    check_activations,
    clip,
)
from lstm_jax.core.primitives.elementwise import add_bias, elementwise, gates


class CIFGLSTMParams(NamedTuple):
    """The weights of one layer, with the gates concatenated in the order f, g, o."""

    w_x: Float[Array, "D 3H"]
    w_h: Float[Array, "H 3H"]
    b: Float[Array, "3H"]


@elementwise
def cell_state(f, g, c):
    return f * c + (1 - f) * g


@dataclasses.dataclass(frozen=True)
class CIFGLSTMCell(Cell):
    """LSTM with coupled input and forget gates (Greff et al. 2017), ``i = 1 - f``.

    Raises:
        ValueError: ``hidden_size`` is less than 1.
        TypeError: ``activations`` is not an `Activations`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import CIFGLSTMCell, unroll
    >>> cell = CIFGLSTMCell(hidden_size=5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape, params.w_h.shape
    ((7, 2, 5), (5, 15))
    """

    hidden_size: int
    activations: Activations = TEXTBOOK

    products = ("w_h",)
    recurrent = (("w_h", 3),)
    elementwise = ("b",)
    added = frozenset({"w_h", "b"})

    def __post_init__(self):
        super().__post_init__()
        check_activations(self)

    def init(
        self,
        key,
        in_size,
        *,
        w_x=init.glorot,
        w_h=init.orthogonal,
        forget_bias=1.0,
        dtype=jnp.float32,
    ):
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        return CIFGLSTMParams(
            w_x=init.per_gate(w_x, key_x, (in_size, H), 3, dtype),
            w_h=init.per_gate(w_h, key_h, (H, H), 3, dtype),
            b=init.gate_bias(forget_bias, key_b, H, dtype)[H:],
        )

    def step(self, params, carry, gx, dot, gates=gates):
        z = gx.astype(carry.c.dtype) + dot("w_h", carry.h)
        z = add_bias(z, params.b)
        act = self.activations
        z = clip(z, act.clip)
        f, g, o = gates(z, f=act.gate, g=act.candidate, o=act.gate)
        c = clip(cell_state(f, g, carry.c), act.cell_clip)
        h = hidden_state(o, c, output=act.output).astype(carry.h.dtype)
        return LSTMCarry(h, c), h

    zero_carry = LSTMCell.zero_carry
