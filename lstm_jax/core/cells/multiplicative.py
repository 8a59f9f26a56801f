"""The multiplicative LSTM, whose recurrent matrix depends on the input.

    m_t = (x_t w_mx) * (h_{t-1} w_mh)                 intermediate state
    i_t = sigmoid(x_t w_xi + m_t w_mi + b_i)          input gate
    f_t = sigmoid(x_t w_xf + m_t w_mf + b_f)          forget gate
    g_t =    tanh(x_t w_xg + m_t w_mg + b_g)          candidate
    o_t = sigmoid(x_t w_xo + m_t w_mo + b_o)          output gate
    c_t = f_t * c_{t-1} + i_t * g_t                   cell state
    h_t = o_t * tanh(c_t)                             hidden state

Krause, Lu, Murray & Renals, "Multiplicative LSTM for Sequence Modelling",
arXiv:1609.07959, 2016. As in the paper's experiments, ``m`` has as many units as ``h``.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import jax.random

from lstm_jax._types import Array, Float
from lstm_jax.core import init
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.lstm import LSTMCell, lstm_update
from lstm_jax.core.primitives.elementwise import add_bias, elementwise, gates
from lstm_jax.core.primitives.matmul import matmul


class MultiplicativeLSTMParams(NamedTuple):
    """One layer's weights, with the gates concatenated in the order i, f, g, o."""

    w_x: Float[Array, "D 4H"]
    w_m: Float[Array, "H 4H"]
    b: Float[Array, "4H"]
    w_mx: Float[Array, "D H"]
    w_mh: Float[Array, "H H"]


@elementwise
def intermediate_state(m_x, m_h):
    return m_x * m_h


@dataclasses.dataclass(frozen=True)
class MultiplicativeLSTMCell(Cell):
    """Multiplicative LSTM (Krause et al. 2016); see the equations at the top of this
    file.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import MultiplicativeLSTMCell, unroll
    >>> cell = MultiplicativeLSTMCell(hidden_size=5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape, params.w_m.shape, params.w_mx.shape, params.w_mh.shape
    ((7, 2, 5), (5, 20), (3, 5), (5, 5))
    """

    hidden_size: int

    products = ("w_mh", "w_m")
    recurrent = (("w_mh", 1),)
    elementwise = ("b",)

    def init(
        self,
        key,
        in_size,
        *,
        w_x=init.glorot,
        w_m=init.orthogonal,
        w_mx=init.glorot,
        w_mh=init.orthogonal,
        forget_bias=1.0,
        dtype=jnp.float32,
    ):
        H = self.hidden_size
        key_lstm, key_mx, key_mh = jax.random.split(key, 3)
        lstm = LSTMCell(H).init(
            key_lstm, in_size, w_x=w_x, w_h=w_m, forget_bias=forget_bias, dtype=dtype
        )
        return MultiplicativeLSTMParams(
            *lstm,
            w_mx=init.per_gate(w_mx, key_mx, (in_size, H), 1, dtype),
            w_mh=init.per_gate(w_mh, key_mh, (H, H), 1, dtype),
        )

    def project(self, params, x):
        w = jnp.concatenate([params.w_x, params.w_mx], axis=-1)
        return matmul(x, w).astype(x.dtype)

    def step(self, params, carry, gx, dot, gates=gates):
        gx = gx.astype(carry.c.dtype)
        z_x, m_x = jnp.split(gx, [4 * self.hidden_size], axis=-1)
        m = intermediate_state(m_x, dot("w_mh", carry.h))
        z = z_x + dot("w_m", m.astype(carry.h.dtype))
        z = add_bias(z, params.b)
        return lstm_update(z, carry, gates)

    zero_carry = LSTMCell.zero_carry
