"""The plain RNN, ``h_t = tanh(x_t w_x + h_{t-1} w_h + b)``.

Elman, "Finding Structure in Time", Cognitive Science 14(2), 1990. It is the baseline
for an LSTM on problems with long memory.
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


class RNNParams(NamedTuple):
    """The weights of one tanh layer."""

    w_x: Float[Array, "D H"]
    w_h: Float[Array, "H H"]
    b: Float[Array, "H"]


class RNNCarry(NamedTuple):
    """The state between steps."""

    h: Float[Array, "*B H"]


@elementwise
def hidden_state(g):
    return g


@dataclasses.dataclass(frozen=True)
class RNNCell(Cell):
    """The plain tanh RNN (Elman 1990).

    Raises:
        ValueError: ``hidden_size`` is less than 1, or ``activations`` sets a field that
            this cell does not use (``gate``, ``output``, ``cell_clip``).
        TypeError: ``activations`` is not an `Activations`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import RNNCell, unroll
    >>> cell = RNNCell(hidden_size=5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape
    (7, 2, 5)
    """

    hidden_size: int
    activations: Activations = TEXTBOOK

    products = ("w_h",)
    recurrent = (("w_h", 1),)
    elementwise = ("b",)
    added = frozenset({"w_h", "b"})

    def __post_init__(self):
        super().__post_init__()
        check_activations(self, "gate", "output", "cell_clip")

    def init(
        self, key, in_size, *, w_x=init.glorot, w_h=init.orthogonal, dtype=jnp.float32
    ):
        H = self.hidden_size
        key_x, key_h = jax.random.split(key)
        return RNNParams(
            w_x=init.per_gate(w_x, key_x, (in_size, H), 1, dtype),
            w_h=init.per_gate(w_h, key_h, (H, H), 1, dtype),
            b=jnp.zeros(H, dtype),
        )

    def step(self, params, carry, gx, dot, gates=gates):
        product = dot("w_h", carry.h)
        z = gx.astype(product.dtype) + product
        z = add_bias(z, params.b)
        (g,) = gates(clip(z, self.activations.clip), g=self.activations.candidate)
        h = hidden_state(g).astype(carry.h.dtype)
        return RNNCarry(h), h

    def zero_carry(self, batch_shape, dtype):
        return RNNCarry(jnp.zeros((*batch_shape, self.hidden_size), dtype))
