"""The LSTM whose gates see the cell state.

    i_t = sigmoid(x_t w_xi + h_{t-1} w_hi + p_i * c_{t-1} + b_i)    input gate
    f_t = sigmoid(x_t w_xf + h_{t-1} w_hf + p_f * c_{t-1} + b_f)    forget gate
    g_t =    tanh(x_t w_xg + h_{t-1} w_hg + b_g)                    candidate
    c_t = f_t * c_{t-1} + i_t * g_t                                 cell state
    o_t = sigmoid(x_t w_xo + h_{t-1} w_ho + p_o * c_t + b_o)        output gate
    h_t = o_t * tanh(c_t)                                           hidden state

Gers & Schmidhuber, "Recurrent Nets that Time and Count", IJCNN 2000. A peephole
connects a unit only with its own gates, so ``p`` multiplies elementwise.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp

from lstm_jax._types import Array, Float
from lstm_jax.core import init
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.lstm import LSTMCarry, LSTMCell, cell_state, hidden_state
from lstm_jax.core.primitives.activations import (
    TEXTBOOK,
    Activations,
    check_activations,
    clip,
)
from lstm_jax.core.primitives.elementwise import add_bias, gates


class PeepholeLSTMParams(NamedTuple):
    """One layer's weights, gates in the order i, f, g, o."""

    w_x: Float[Array, "D 4H"]
    w_h: Float[Array, "H 4H"]
    b: Float[Array, "4H"]
    p_i: Float[Array, "H"]
    p_f: Float[Array, "H"]
    p_o: Float[Array, "H"]


@dataclasses.dataclass(frozen=True)
class PeepholeLSTMCell(Cell):
    """LSTM with peepholes (Gers & Schmidhuber 2000). The peepholes start at 0.

    Raises:
        ValueError: ``hidden_size`` is less than 1.
        TypeError: ``activations`` is not an `Activations`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import PeepholeLSTMCell, unroll
    >>> cell = PeepholeLSTMCell(hidden_size=5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape, params.p_i.shape
    ((7, 2, 5), (5,))
    """

    hidden_size: int
    activations: Activations = TEXTBOOK

    products = ("w_h",)
    recurrent = (("w_h", 4),)
    elementwise = ("b", "p_i", "p_f", "p_o")
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
        lstm = LSTMCell(self.hidden_size).init(
            key, in_size, w_x=w_x, w_h=w_h, forget_bias=forget_bias, dtype=dtype
        )
        zeros = lambda: jnp.zeros(self.hidden_size, dtype)
        return PeepholeLSTMParams(*lstm, p_i=zeros(), p_f=zeros(), p_o=zeros())

    def step(self, params, carry, gx, dot, gates=gates):
        see = lambda p, c: jnp.broadcast_to(p.astype(c.dtype), c.shape) * c
        z = gx.astype(carry.c.dtype) + dot("w_h", carry.h)
        z = add_bias(z, params.b)
        z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
        z_i, z_f = z_i + see(params.p_i, carry.c), z_f + see(params.p_f, carry.c)
        act = self.activations
        z = clip(jnp.concatenate([z_i, z_f, z_g], axis=-1), act.clip)
        i, f, g = gates(z, i=act.gate, f=act.gate, g=act.candidate)
        c = clip(cell_state(i, f, g, carry.c), act.cell_clip)
        (o,) = gates(clip(z_o + see(params.p_o, c), act.clip), o=act.gate)
        h = hidden_state(o, c, output=act.output).astype(carry.h.dtype)
        return LSTMCarry(h, c), h

    zero_carry = LSTMCell.zero_carry
