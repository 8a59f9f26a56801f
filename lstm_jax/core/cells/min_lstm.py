"""The minimal LSTM, whose gates see only the input.

    i_t = sigmoid(x_t w_xi + b_i)                     input gate
    f_t = sigmoid(x_t w_xf + b_f)                     forget gate
    g_t = s(x_t w_xg + b_g)                           candidate
    s(a) = a + 1/2 where a >= 0, sigmoid(a) elsewhere
    f'_t = f_t / (f_t + i_t)      i'_t = i_t / (f_t + i_t)
    h_t = f'_t * h_{t-1} + i'_t * g_t                 hidden state

Feng, Tung, Ahmed, Bengio & Hajimirsadeghi, "Were RNNs All We Needed?",
arXiv:2410.01201, 2024, in the form of appendix B, with a positive candidate. No gate
reads the state, so a sequence needs no loop: `lstm_jax.unroll` uses the associative
scan of ``core/primitives/associative.py``.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float
from lstm_jax.core import init
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.primitives.elementwise import SIGMOID, add_bias, elementwise, gates


class MinLSTMParams(NamedTuple):
    """The weights of one layer, with the gates concatenated in the order i, f, g."""

    w_x: Float[Array, "D 3H"]
    b: Float[Array, "3H"]


class MinLSTMCarry(NamedTuple):
    """The state between steps."""

    h: Float[Array, "*B H"]


def candidate(a):
    return jnp.where(a >= 0, a + 0.5, jax.nn.sigmoid(a))


def log_candidate(a):
    # The inner where keeps negative numbers out of the logarithm and its derivative.
    right = jnp.log(jnp.where(a >= 0, a, jnp.zeros_like(a)) + 0.5)
    return jnp.where(a >= 0, right, jax.nn.log_sigmoid(a))


@elementwise
def log_odds(z_i, z_f):
    """``log(f' / i')``. ``f'`` is its sigmoid and ``i'`` is the sigmoid of its
    negative. It stays finite even if ``f + i`` is 0 in floating point.
    """
    return jax.nn.log_sigmoid(z_f) - jax.nn.log_sigmoid(z_i)


@elementwise
def hidden_state(i, f, a, h):
    return f * h + i * candidate(a)


@dataclasses.dataclass(frozen=True)
class MinLSTMCell(Cell):
    """Minimal LSTM (Feng et al. 2024). Its equations are in
    `lstm_jax.core.cells.min_lstm`.

    Over a sequence, `lstm_jax.unroll` computes all steps in parallel, in float32 if the
    compute dtype has 16 bits. ``implementation="plain"`` runs the steps one by one and
    rounds ``h`` after each step.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import MinLSTMCell, unroll
    >>> cell = MinLSTMCell(hidden_size=5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape, params.w_x.shape
    ((7, 2, 5), (3, 15))
    """

    hidden_size: int

    elementwise = ("b",)
    candidate = None
    added = frozenset({"b"})

    def init(
        self, key, in_size, *, w_x=init.glorot, forget_bias=1.0, dtype=jnp.float32
    ):
        H = self.hidden_size
        key_x, key_b = jax.random.split(key)
        return MinLSTMParams(
            w_x=init.per_gate(w_x, key_x, (in_size, H), 3, dtype),
            b=init.gate_bias(forget_bias, key_b, H, dtype)[: 3 * H],
        )

    def log_coefficients(self, params, gx):
        z_i, z_f, z_g = _pre_activations(params, gx)
        odds = log_odds(z_i, z_f)
        log_f, log_i = jax.nn.log_sigmoid(odds), jax.nn.log_sigmoid(-odds)
        return log_f, log_i + log_candidate(z_g)

    def step(self, params, carry, gx, dot, gates=gates):
        del dot
        z_i, z_f, z_g = _pre_activations(params, gx)
        odds = log_odds(z_i, z_f)
        z = jnp.concatenate([-odds, odds], axis=-1)
        i, f = gates(z, i=SIGMOID, f=SIGMOID)
        h = hidden_state(i, f, z_g, carry.h.astype(z_g.dtype)).astype(carry.h.dtype)
        return MinLSTMCarry(h), h

    def zero_carry(self, batch_shape, dtype):
        return MinLSTMCarry(jnp.zeros((*batch_shape, self.hidden_size), dtype))


def _pre_activations(params, gx):
    z = gx.astype(accumulation_dtype(gx.dtype))
    z = add_bias(z, params.b)
    return jnp.split(z, 3, axis=-1)
