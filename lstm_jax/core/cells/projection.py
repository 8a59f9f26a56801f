"""The LSTM with a recurrent projection: a large cell state, a small hidden state.

    i_t = sigmoid(x_t w_xi + h_{t-1} w_hi + b_i)      input gate
    f_t = sigmoid(x_t w_xf + h_{t-1} w_hf + b_f)      forget gate
    g_t =    tanh(x_t w_xg + h_{t-1} w_hg + b_g)      candidate
    o_t = sigmoid(x_t w_xo + h_{t-1} w_ho + b_o)      output gate
    c_t = f_t * c_{t-1} + i_t * g_t                   cell state, [H]
    h_t = clip((o_t * tanh(c_t)) w_hr + b_hr)         hidden state, [P]

Sak, Senior & Beaufays, "Long Short-Term Memory Recurrent Neural Network Architectures
for Large Scale Acoustic Modeling", Interspeech 2014. The paper has no bias and no clip
of the projection. Both are off by default.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import jax.random

from lstm_jax._types import Array, Float
from lstm_jax.core import init
from lstm_jax.core.arguments import check_bool, check_size
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.lstm import LSTMCarry, cell_state, hidden_state
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.primitives.activations import check_clip
from lstm_jax.core.primitives.elementwise import SIGMOID, TANH, add_bias, gates


class LSTMPParams(NamedTuple):
    """One layer's weights, gates in the order i, f, g, o."""

    w_x: Float[Array, "D 4H"]
    w_h: Float[Array, "P 4H"]
    b: Float[Array, "4H"]
    w_hr: Float[Array, "H P"]
    b_hr: Float[Array, "P"] | None = None


@dataclasses.dataclass(frozen=True)
class LSTMPCell(Cell):
    """LSTM with a recurrent projection (Sak et al. 2014).

    Args:
        hidden_size: ``H``, units of the cell state.
        projection_size: ``P``, units of the hidden state, ``H`` at most.
        projection_bias: whether the projection has a bias ``b_hr``.
        projection_clip: limits the hidden state to ``[-clip, clip]``.

    Raises:
        ValueError: ``projection_size`` is outside ``[1, H]``, or the clip is not
            positive.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMPCell, unroll
    >>> cell = LSTMPCell(hidden_size=5, projection_size=2)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 4, 3)))
    >>> hs.shape, carry.h.shape, carry.c.shape
    ((7, 4, 2), (4, 2), (4, 5))
    """

    hidden_size: int
    projection_size: int
    projection_bias: bool = False
    projection_clip: float | None = None

    products = ("w_h", "w_hr")
    recurrent = (("w_h", 4),)
    elementwise = ("b", "b_hr")
    added = frozenset({"w_h", "b"})

    def __post_init__(self):
        super().__post_init__()
        check_size("projection_size", self.projection_size, most=self.hidden_size)
        check_bool("projection_bias", self.projection_bias)
        check_clip("projection_clip", self.projection_clip)

    @property
    def out_size(self):
        return self.projection_size

    def init(
        self,
        key,
        in_size,
        *,
        w_x=init.glorot,
        w_h=init.orthogonal,
        w_hr=init.orthogonal,
        forget_bias=1.0,
        dtype=jnp.float32,
    ):
        H, P = self.hidden_size, self.projection_size
        key_x, key_h, key_r, key_b = jax.random.split(key, 4)
        return LSTMPParams(
            w_x=init.per_gate(w_x, key_x, (in_size, H), 4, dtype),
            w_h=init.per_gate(w_h, key_h, (P, H), 4, dtype),
            b=init.gate_bias(forget_bias, key_b, H, dtype),
            w_hr=init.per_gate(w_hr, key_r, (H, P), 1, dtype),
            b_hr=jnp.zeros(P, dtype) if self.projection_bias else None,
        )

    def step(self, params, carry, gx, dot, gates=gates):
        z = gx.astype(carry.c.dtype) + dot("w_h", carry.h)
        z = add_bias(z, params.b)
        i, f, g, o = gates(z, i=SIGMOID, f=SIGMOID, g=TANH, o=SIGMOID)
        c = cell_state(i, f, g, carry.c)
        h = dot("w_hr", hidden_state(o, c).astype(carry.h.dtype))
        if params.b_hr is not None:
            h = add_bias(h, params.b_hr)
        if self.projection_clip is not None:
            h = jnp.clip(h, -self.projection_clip, self.projection_clip)
        h = h.astype(carry.h.dtype)
        return LSTMCarry(h, c), h

    def zero_carry(self, batch_shape, dtype):
        return LSTMCarry(
            h=jnp.zeros((*batch_shape, self.projection_size), dtype),
            c=jnp.zeros((*batch_shape, self.hidden_size), accumulation_dtype(dtype)),
        )
