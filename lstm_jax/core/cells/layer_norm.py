"""The layer-normalised LSTM.

    z_t = LN(h_{t-1} w_h; gain_h, shift_h) + LN(x_t w_x; gain_x, shift_x) + b
    i_t, f_t, g_t, o_t = sigmoid(z_i), sigmoid(z_f), tanh(z_g), sigmoid(z_o)
    c_t = f_t * c_{t-1} + i_t * g_t
    h_t = o_t * tanh(LN(c_t; gain_c, shift_c))
    LN(a; gain, shift) = gain * (a - mean(a)) / sqrt(var(a) + epsilon) + shift

Ba, Kiros & Hinton, "Layer Normalization", arXiv:1607.06450, 2016, equations 20 to 22.
Mean and variance are over all 4H pre-activations together, not per gate. The product of
the state and the product of the input are normalised separately. The paper has no
``epsilon``. Without it, a state of zeros, such as the initial state, has no derivative.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from lstm_jax._types import Array, Float
from lstm_jax.core import init
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.lstm import LSTMCarry, LSTMCell, cell_state, hidden_state
from lstm_jax.core.primitives.elementwise import SIGMOID, TANH, add_bias, gates
from lstm_jax.core.primitives.matmul import matmul

EPSILON = 1e-5


class LayerNormLSTMParams(NamedTuple):
    """One layer's weights and normalisations, with gates in the order i, f, g, o."""

    w_x: Float[Array, "D 4H"]
    w_h: Float[Array, "H 4H"]
    b: Float[Array, "4H"]
    gain_x: Float[Array, "4H"]
    shift_x: Float[Array, "4H"]
    gain_h: Float[Array, "4H"]
    shift_h: Float[Array, "4H"]
    gain_c: Float[Array, "H"]
    shift_c: Float[Array, "H"]


def layer_norm(
    a: Float[Array, "*B N"], gain: Float[Array, "N"], shift: Float[Array, "N"]
) -> Float[Array, "*B N"]:
    """``a`` with mean ``shift`` and standard deviation ``gain`` over its last axis."""
    a = a - a.mean(axis=-1, keepdims=True)
    scale = lax.rsqrt(jnp.square(a).mean(axis=-1, keepdims=True) + EPSILON)
    spread = lambda p: jnp.broadcast_to(p.astype(a.dtype), a.shape)
    return a * scale * spread(gain) + spread(shift)


@dataclasses.dataclass(frozen=True)
class LayerNormLSTMCell(Cell):
    """Layer-normalised LSTM (Ba et al. 2016); see the equations at the top of this
    file.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LayerNormLSTMCell, unroll
    >>> cell = LayerNormLSTMCell(hidden_size=5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape, params.gain_h.shape, params.gain_c.shape
    ((7, 2, 5), (20,), (5,))
    """

    hidden_size: int

    products = ("w_h",)
    recurrent = (("w_h", 4),)
    elementwise = ("b", "gain_h", "shift_h", "gain_c", "shift_c")
    added = frozenset({"b", "shift_h"})

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
        lstm = LSTMCell(H).init(
            key, in_size, w_x=w_x, w_h=w_h, forget_bias=forget_bias, dtype=dtype
        )
        one, zero = (lambda n: jnp.ones(n, dtype)), (lambda n: jnp.zeros(n, dtype))
        return LayerNormLSTMParams(
            *lstm,
            gain_x=one(4 * H),
            shift_x=zero(4 * H),
            gain_h=one(4 * H),
            shift_h=zero(4 * H),
            gain_c=one(H),
            shift_c=zero(H),
        )

    def project(self, params, x):
        gx = layer_norm(matmul(x, params.w_x), params.gain_x, params.shift_x)
        return gx.astype(x.dtype)

    def step(self, params, carry, gx, dot, gates=gates):
        z = layer_norm(dot("w_h", carry.h), params.gain_h, params.shift_h)
        z = z + gx.astype(z.dtype)
        z = add_bias(z, params.b)
        i, f, g, o = gates(z, i=SIGMOID, f=SIGMOID, g=TANH, o=SIGMOID)
        c = cell_state(i, f, g, carry.c)
        seen = layer_norm(c, params.gain_c, params.shift_c)
        h = hidden_state(o, seen).astype(carry.h.dtype)
        return LSTMCarry(h, c), h

    zero_carry = LSTMCell.zero_carry
