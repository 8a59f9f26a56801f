"""The convolutional LSTM: every position has a state, and its gates see the neighbours.

    i_t = sigmoid(conv(x_t, w_xi) + conv(h_{t-1}, w_hi) + b_i)      input gate
    f_t = sigmoid(conv(x_t, w_xf) + conv(h_{t-1}, w_hf) + b_f)      forget gate
    g_t =    tanh(conv(x_t, w_xg) + conv(h_{t-1}, w_hg) + b_g)      candidate
    o_t = sigmoid(conv(x_t, w_xo) + conv(h_{t-1}, w_ho) + b_o)      output gate
    c_t = f_t * c_{t-1} + i_t * g_t                                 cell state
    h_t = o_t * tanh(c_t)                                           hidden state

``conv`` (``core/primitives/convolve.py``) keeps the size of the image. Shi, Chen,
Wang, Yeung, Wong & Woo, "Convolutional LSTM Network: A Machine Learning Approach for
Precipitation Nowcasting", NeurIPS 2015. This cell has no peepholes, unlike the paper
and like most libraries. Peepholes have a weight for every position, so the parameters
would fit only one image size.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import jax.random

from lstm_jax._types import Array, Float
from lstm_jax.core import init
from lstm_jax.core.arguments import check_size
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.lstm import LSTMCell, lstm_update
from lstm_jax.core.primitives.convolve import convolve
from lstm_jax.core.primitives.elementwise import add_bias, gates


class ConvLSTMParams(NamedTuple):
    """One layer's weights, gates in the order i, f, g, o; ``*K`` is the kernel."""

    w_x: Float[Array, "*K D 4H"]
    w_h: Float[Array, "*K H 4H"]
    b: Float[Array, "4H"]


@dataclasses.dataclass(frozen=True)
class ConvLSTMCell(Cell):
    """Convolutional LSTM (Shi et al. 2015) over lines, images or volumes.

    Inputs are ``[T, ..., *S, D]`` and states ``[..., *S, H]``. There are as many
    spatial axes ``*S`` as ``kernel`` has entries, each of any size. Masks, lengths and
    resets apply to whole rows, ``[T, ...]``.

    Args:
        hidden_size: ``H``, hidden units at every position.
        kernel: size of the kernel along every spatial axis; ``(3,)`` is for lines.

    Raises:
        ValueError: ``kernel`` is not a tuple of one or more positive integers.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import ConvLSTMCell, unroll
    >>> cell = ConvLSTMCell(hidden_size=5, kernel=(3, 3))
    >>> params = cell.init(jax.random.key(0), in_size=1)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 16, 12, 1)))
    >>> hs.shape, carry.c.shape, params.w_h.shape
    ((7, 2, 16, 12, 5), (2, 16, 12, 5), (3, 3, 5, 20))
    """

    hidden_size: int
    kernel: tuple[int, ...] = (3, 3)

    products = ("w_h",)
    recurrent = (("w_h", 4),)
    elementwise = ("b",)
    added = frozenset({"w_h", "b"})

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.kernel, tuple) or not self.kernel:
            raise ValueError(
                f"kernel is {self.kernel!r}, expected a tuple of positive integers, "
                f"one for every axis of space; (3, 3) is for images."
            )
        for axis, size in enumerate(self.kernel):
            check_size(f"kernel[{axis}]", size)

    @property
    def feature_axes(self):
        return 1 + len(self.kernel)

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
        return ConvLSTMParams(
            w_x=init.per_gate(w_x, key_x, (*self.kernel, in_size, H), 4, dtype),
            w_h=init.per_gate(w_h, key_h, (*self.kernel, H, H), 4, dtype),
            b=init.gate_bias(forget_bias, key_b, H, dtype),
        )

    def project(self, params, x):
        return convolve(x, params.w_x).astype(x.dtype)

    def product(self, name):
        del name
        return convolve

    def step(self, params, carry, gx, dot, gates=gates):
        z = gx.astype(carry.c.dtype) + dot("w_h", carry.h)
        z = add_bias(z, params.b)
        return lstm_update(z, carry, gates)

    zero_carry = LSTMCell.zero_carry
