"""The sLSTM of xLSTM: exponential gates, a normaliser, and heads.

    i_t = exp(x_t w_xi + h_{t-1} w_hi + b_i)              input gate
    f_t = sigmoid(x_t w_xf + h_{t-1} w_hf + b_f)          forget gate, or exp(...)
    g_t =    tanh(x_t w_xg + h_{t-1} w_hg + b_g)          candidate, the paper's z
    o_t = sigmoid(x_t w_xo + h_{t-1} w_ho + b_o)          output gate
    m_t = max(log f_t + m_{t-1}, log i_t)                 stabiliser
    i'_t = exp(log i_t - m_t)      f'_t = exp(log f_t + m_{t-1} - m_t)
    c_t = f'_t * c_{t-1} + i'_t * g_t                     cell state
    n_t = f'_t * n_{t-1} + i'_t                           normaliser
    h_t = o_t * c_t / n_t                                 hidden state

Beck et al., "xLSTM: Extended Long Short-Term Memory", NeurIPS 2024, equations 8 to 17.
The real state is ``c exp(m)`` and ``n exp(m)``: a weighted sum of candidates, and the
sum of the weights. ``h`` does not depend on ``m``. The stabiliser ``m`` keeps every
exponential at 1 or less. The units are split into heads of ``K = H / heads`` units. The
gates of a head see only the hidden state of this head, so ``w_h`` is block-diagonal,
and only its blocks are stored.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float
from lstm_jax.core import init
from lstm_jax.core.arguments import check_choice, check_size
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.primitives.elementwise import (
    SIGMOID,
    TANH,
    add_bias,
    elementwise,
    gates,
)
from lstm_jax.core.primitives.matmul import matmul

EMPTY = -1e30
"""The stabiliser ``m`` of an empty state. It is far below any input gate. It is finite,
so no derivative becomes ``inf - inf``."""


class SLSTMParams(NamedTuple):
    """One layer's weights, gates in the order i, f, g, o; ``w_h`` has one block per
    head.
    """

    w_x: Float[Array, "D 4H"]
    w_h: Float[Array, "heads K 4K"]
    b: Float[Array, "4H"]


class SLSTMCarry(NamedTuple):
    """The state between steps.

    ``h`` has the compute dtype. The others are float32 if the compute dtype has 16
    bits. ``n`` is positive except in the initial state. For an initial state of your
    own, such as a trainable one, you may use ``n = 1`` and ``m = 0``.
    """

    h: Float[Array, "*B H"]
    c: Float[Array, "*B H"]
    n: Float[Array, "*B H"]
    m: Float[Array, "*B H"]


@elementwise
def log_sigmoid(z):
    return jax.nn.log_sigmoid(z)


FORGET = {"sigmoid": log_sigmoid, "exp": lambda z: z}
"""The logarithm of the forget gate."""


@elementwise
def stabiliser(log_i, log_f):
    return jnp.maximum(log_i, log_f)


def shares(log_i, log_f):
    """``i'`` and ``f'``. The larger one is 1, so a new ``n`` is at least 1."""
    below = log_i - log_f
    return jnp.exp(jnp.minimum(below, 0)), jnp.exp(jnp.minimum(-below, 0))


@elementwise
def cell_state(log_i, log_f, g, c):
    i, f = shares(log_i, log_f)
    return f * c + i * g


@elementwise
def normaliser(log_i, log_f, n):
    i, f = shares(log_i, log_f)
    return f * n + i


@elementwise
def hidden_state(o, c, n):
    return o * (c / n)


@dataclasses.dataclass(frozen=True)
class SLSTMCell(Cell):
    """sLSTM (Beck et al. 2024). Its equations are in `lstm_jax.core.cells.slstm`.

    The initial state, ``carry=None``, is ``h = c = n = 0`` and ``m = -1e30``. It is
    empty, so the first step gives ``m_1 = log i_1``, ``n_1 = 1`` and
    ``h_1 = o_1 * g_1`` for any pre-activation. The paper's equations give the same from
    ``c_0 = n_0 = 0``. If ``m`` were 0 too, an input gate below ``exp(-88)`` would
    become 0 in float32 and ``h_1`` would be 0 / 0.

    Args:
        hidden_size: ``H``.
        heads: number of heads, the blocks of the block-diagonal ``w_h``.
        forget: ``"sigmoid"`` or ``"exp"``. The paper has both; its authors' code uses
            ``"sigmoid"``. The bias of the forget gate starts at 1 for ``"sigmoid"`` and
            at 0 for ``"exp"``, where every step then has the same weight.

    Raises:
        ValueError: ``heads`` does not divide ``hidden_size``, or ``forget`` is unknown.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import SLSTMCell, unroll
    >>> cell = SLSTMCell(hidden_size=6, heads=2)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 4, 3)))
    >>> hs.shape, carry.n.shape, params.w_h.shape
    ((7, 4, 6), (4, 6), (2, 3, 12))
    """

    hidden_size: int
    heads: int = 1
    forget: str = "sigmoid"

    products = ("w_h",)
    recurrent = (("w_h", 4),)
    elementwise = ("b",)
    added = frozenset({"w_h", "b"})

    def __post_init__(self):
        super().__post_init__()
        check_size("heads", self.heads)
        if self.hidden_size % self.heads:
            raise ValueError(
                f"heads is {self.heads}, expected a divisor of "
                f"hidden_size={self.hidden_size}; all heads have the same size."
            )
        check_choice("forget", self.forget, tuple(FORGET))

    def init(
        self,
        key,
        in_size,
        *,
        w_x=init.glorot,
        w_h=init.orthogonal,
        forget_bias: init.ForgetBias | None = None,
        dtype=jnp.float32,
    ):
        H, K = self.hidden_size, self.hidden_size // self.heads
        if forget_bias is None:
            forget_bias = 1.0 if self.forget == "sigmoid" else 0.0
        key_x, key_h, key_b = jax.random.split(key, 3)
        blocks = [
            init.per_gate(w_h, k, (K, K), 4, dtype)
            for k in jax.random.split(key_h, self.heads)
        ]
        return SLSTMParams(
            w_x=init.per_gate(w_x, key_x, (in_size, H), 4, dtype),
            w_h=jnp.stack(blocks),
            b=init.gate_bias(forget_bias, key_b, H, dtype),
        )

    def product(self, name):
        del name
        return self._by_head

    def _by_head(self, a, w):
        """Multiplies ``[..., H]`` by ``[heads, K, 4K]`` to the gates of all heads,
        ``[..., 4H]``.
        """
        rows, H, K = a.shape[:-1], self.hidden_size, self.hidden_size // self.heads
        a = a.reshape(*rows, self.heads, K)
        z = jax.vmap(matmul, in_axes=(-2, 0), out_axes=-2)(a, w)
        gates = w.shape[-1] // K
        z = z.reshape(*rows, self.heads, gates, K)
        return jnp.moveaxis(z, -2, -3).reshape(*rows, gates * H)

    def step(self, params, carry, gx, dot, gates=gates):
        z = gx.astype(carry.c.dtype) + dot("w_h", carry.h)
        z = add_bias(z, params.b)
        log_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
        g, o = gates(jnp.concatenate([z_g, z_o], axis=-1), g=TANH, o=SIGMOID)
        log_f = FORGET[self.forget](z_f) + carry.m
        c = cell_state(log_i, log_f, g, carry.c)
        n = normaliser(log_i, log_f, carry.n)
        h = hidden_state(o, c, n).astype(carry.h.dtype)
        return SLSTMCarry(h, c, n, stabiliser(log_i, log_f)), h

    def initial_carry(self, dtype):
        # With m = EMPTY the first step forgets c, n and m, and no gradient reaches
        # them.
        h, c, n, m = self.zero_carry((), dtype)
        return SLSTMCarry(h, c, jnp.ones_like(n), jnp.zeros_like(m))

    def zero_carry(self, batch_shape, dtype):
        shape, wide = (*batch_shape, self.hidden_size), accumulation_dtype(dtype)
        zeros = functools.partial(jnp.zeros, shape)
        return SLSTMCarry(
            zeros(dtype), zeros(wide), zeros(wide), jnp.full(shape, EMPTY, wide)
        )
