"""The gated recurrent unit, in both conventions for its reset gate.

    r_t = sigmoid(x_t w_xr + h_{t-1} w_hr + b_r)                    reset gate
    z_t = sigmoid(x_t w_xz + h_{t-1} w_hz + b_z)                    update gate
    n_t = tanh(x_t w_xn + b_n + r_t * (h_{t-1} w_hn + b_hn))        candidate, `GRUCell`
    n_t = tanh(x_t w_xn + b_n + (r_t * h_{t-1}) w_hn)               `ResetBeforeGRUCell`
    h_t = (1 - z_t) * n_t + z_t * h_{t-1}                           hidden state

Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical
Machine Translation", EMNLP 2014, resets the state before the candidate's product. cuDNN
and torch reset the product instead, so a step needs one product, not two.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import jax.random

from lstm_jax._types import Array, Float
from lstm_jax.core import init
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.primitives.activations import (
    TEXTBOOK,
    Activations,
    check_activations,
    clip,
)
from lstm_jax.core.primitives.elementwise import add_bias, elementwise, gates


class GRUParams(NamedTuple):
    """The weights of one GRU layer, with gates concatenated in the order r, z, n."""

    w_x: Float[Array, "D 3H"]
    w_h: Float[Array, "H 3H"]
    b: Float[Array, "3H"]
    b_hn: Float[Array, "H"]


class ResetBeforeGRUParams(NamedTuple):
    """Gates in the order r, z, n; ``w_h`` has the first two."""

    w_x: Float[Array, "D 3H"]
    w_h: Float[Array, "H 2H"]
    w_hn: Float[Array, "H H"]
    b: Float[Array, "3H"]


class GRUCarry(NamedTuple):
    """The state between steps."""

    h: Float[Array, "*B H"]


@elementwise
def reset(r, a):
    return r * a


@elementwise
def hidden_state(z, n, h):
    return (1 - z) * n + z * h


@dataclasses.dataclass(frozen=True)
class GRUCell(Cell):
    """Gated recurrent unit (Cho et al. 2014), reset after the product as in cuDNN.

    Raises:
        ValueError: ``hidden_size`` is less than 1, or ``activations`` sets a field that
            this cell does not use (``output``, ``cell_clip``).
        TypeError: ``activations`` is not an `Activations`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import GRUCell, unroll
    >>> cell = GRUCell(hidden_size=5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape, params.w_h.shape
    ((7, 2, 5), (5, 15))
    """

    hidden_size: int
    activations: Activations = TEXTBOOK

    products = ("w_h",)
    recurrent = (("w_h", 3),)
    candidate = "n"
    elementwise = ("b", "b_hn")
    added = frozenset({"b"})

    def __post_init__(self):
        super().__post_init__()
        check_activations(self, "output", "cell_clip")

    def init(
        self, key, in_size, *, w_x=init.glorot, w_h=init.orthogonal, dtype=jnp.float32
    ):
        H = self.hidden_size
        key_x, key_h = jax.random.split(key)
        return GRUParams(
            w_x=init.per_gate(w_x, key_x, (in_size, H), 3, dtype),
            w_h=init.per_gate(w_h, key_h, (H, H), 3, dtype),
            b=jnp.zeros(3 * H, dtype),
            b_hn=jnp.zeros(H, dtype),
        )

    def step(self, params, carry, gx, dot, gates=gates):
        H, product = self.hidden_size, dot("w_h", carry.h)
        spread = lambda b, a: jnp.broadcast_to(b.astype(a.dtype), a.shape)
        gx = gx.astype(product.dtype)
        gx = gx + spread(params.b, gx)
        act = self.activations
        z = clip(gx[..., : 2 * H] + product[..., : 2 * H], act.clip)
        r, z = gates(z, r=act.gate, z=act.gate)
        a = product[..., 2 * H :]
        n = gx[..., 2 * H :] + reset(r, a + spread(params.b_hn, a))
        (n,) = gates(clip(n, act.clip), n=act.candidate)
        h = hidden_state(z, n, carry.h.astype(a.dtype)).astype(carry.h.dtype)
        return GRUCarry(h), h

    def zero_carry(self, batch_shape, dtype):
        return GRUCarry(jnp.zeros((*batch_shape, self.hidden_size), dtype))


@dataclasses.dataclass(frozen=True)
class ResetBeforeGRUCell(Cell):
    """Gated recurrent unit (Cho et al. 2014), reset before the product as published.

    Raises:
        ValueError: ``hidden_size`` is less than 1, or ``activations`` sets a field that
            this cell does not use (``output``, ``cell_clip``).
        TypeError: ``activations`` is not an `Activations`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import ResetBeforeGRUCell, unroll
    >>> cell = ResetBeforeGRUCell(hidden_size=5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape, params.w_h.shape, params.w_hn.shape
    ((7, 2, 5), (5, 10), (5, 5))
    """

    hidden_size: int
    activations: Activations = TEXTBOOK

    products = ("w_h", "w_hn")
    recurrent = (("w_h", 2), ("w_hn", 1))
    candidate = "n"
    elementwise = ("b",)
    added = frozenset({"b"})

    def __post_init__(self):
        super().__post_init__()
        check_activations(self, "output", "cell_clip")

    def init(
        self, key, in_size, *, w_x=init.glorot, w_h=init.orthogonal, dtype=jnp.float32
    ):
        H = self.hidden_size
        key_x, key_h, key_n = jax.random.split(key, 3)
        return ResetBeforeGRUParams(
            w_x=init.per_gate(w_x, key_x, (in_size, H), 3, dtype),
            w_h=init.per_gate(w_h, key_h, (H, H), 2, dtype),
            w_hn=init.per_gate(w_h, key_n, (H, H), 1, dtype),
            b=jnp.zeros(3 * H, dtype),
        )

    def step(self, params, carry, gx, dot, gates=gates):
        H, product = self.hidden_size, dot("w_h", carry.h)
        gx = gx.astype(product.dtype)
        gx = add_bias(gx, params.b)
        act = self.activations
        z = clip(gx[..., : 2 * H] + product, act.clip)
        r, z = gates(z, r=act.gate, z=act.gate)
        h = carry.h.astype(gx.dtype)
        kept = reset(r, h).astype(carry.h.dtype)
        n = gx[..., 2 * H :] + dot("w_hn", kept)
        (n,) = gates(clip(n, act.clip), n=act.candidate)
        h = hidden_state(z, n, h).astype(carry.h.dtype)
        return GRUCarry(h), h

    def zero_carry(self, batch_shape, dtype):
        return GRUCarry(jnp.zeros((*batch_shape, self.hidden_size), dtype))
