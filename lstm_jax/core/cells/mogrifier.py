"""The Mogrifier LSTM: input and state gate each other before the step.

    x^0, h^0 = x_t, h_{t-1}
    x = 2 sigmoid(h q_n) * x                          rounds n = 1, 3, 5, ...
    h = 2 sigmoid(x r_n) * h                          rounds n = 2, 4, ...
    i_t = sigmoid(x w_xi + h w_hi + b_i)              input gate
    f_t = sigmoid(x w_xf + h w_hf + b_f)              forget gate
    g_t =    tanh(x w_xg + h w_hg + b_g)              candidate
    o_t = sigmoid(x w_xo + h w_ho + b_o)              output gate
    c_t = f_t * c_{t-1} + i_t * g_t                   cell state
    h_t = o_t * tanh(c_t)                             hidden state

Melis, Kocisky & Blunsom, "Mogrifier LSTM", ICLR 2020. ``q_n`` and ``r_n`` may be
products of two low-rank matrices. The state changes the input, so the input's product
runs inside the loop too.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float
from lstm_jax.core import init
from lstm_jax.core.arguments import check_size
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.lstm import LSTMCell, lstm_update
from lstm_jax.core.primitives.elementwise import SIGMOID, add_bias, elementwise, gates


class LowRank(NamedTuple):
    """A matrix ``left @ right``."""

    left: Float[Array, "M K"]
    right: Float[Array, "K N"]


class MogrifierLSTMParams(NamedTuple):
    """One layer's weights, gates in the order i, f, g, o. ``q`` has one entry per odd
    round, ``r`` has one per even round.
    """

    w_x: Float[Array, "D 4H"]
    w_h: Float[Array, "H 4H"]
    b: Float[Array, "4H"]
    q: tuple[Float[Array, "H D"] | LowRank, ...]
    r: tuple[Float[Array, "D H"] | LowRank, ...]


@elementwise
def modulate(gate, a):
    return 2 * gate * a


@dataclasses.dataclass(frozen=True)
class MogrifierLSTMCell(Cell):
    """LSTM whose input and state gate each other first (Melis et al. 2020).

    Args:
        hidden_size: ``H``, hidden units.
        rounds: number of rounds in which input and state gate each other in turn; 0 is
            the plain LSTM.
        rank: rank ``K`` of the matrices ``q`` and ``r``; ``None`` for full matrices.

    Raises:
        ValueError: ``rounds`` is negative, or ``rank`` is not positive.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import MogrifierLSTMCell, unroll
    >>> cell = MogrifierLSTMCell(hidden_size=5, rounds=3)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape, [q.shape for q in params.q], [r.shape for r in params.r]
    ((7, 2, 5), [(5, 3), (5, 3)], [(3, 5)])
    """

    hidden_size: int
    rounds: int = 5
    rank: int | None = None

    elementwise = ("b",)
    recurrent = (("w_h", 4),)

    def __post_init__(self):
        super().__post_init__()
        check_size("rounds", self.rounds, least=0)
        if self.rank is not None:
            check_size("rank", self.rank)

    @property
    def products(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        factors = self._rounds.values()
        return ("w_x", "w_h", *(name for names in factors for name in names))

    @property
    def _rounds(self):
        """The rounds in order, q1, r2, q3, ..., each with the names of its factors."""
        names = [f"{'rq'[n % 2]}{n}" for n in range(1, self.rounds + 1)]
        if self.rank is None:
            return {name: (name,) for name in names}
        return {name: (f"{name}.left", f"{name}.right") for name in names}

    def weights(self, params):
        rounds = [(params.q, params.r)[n % 2][n // 2] for n in range(self.rounds)]
        arrays = [params.w_x, params.w_h, *jax.tree.leaves(rounds)]
        return dict(zip(self.products, arrays, strict=True))

    def init(
        self,
        key,
        in_size,
        *,
        w_x=init.glorot,
        w_h=init.orthogonal,
        q=init.glorot,
        r=init.glorot,
        forget_bias=1.0,
        dtype=jnp.float32,
    ):
        D, H, K = in_size, self.hidden_size, self.rank
        key_lstm, key_rounds = jax.random.split(key)
        lstm = LSTMCell(H).init(
            key_lstm, D, w_x=w_x, w_h=w_h, forget_bias=forget_bias, dtype=dtype
        )

        def matrix(initializer, key, rows, columns):
            draw = lambda key, *shape: init.per_gate(initializer, key, shape, 1, dtype)
            if K is None:
                return draw(key, rows, columns)
            left, right = jax.random.split(key)
            return LowRank(draw(left, rows, K), draw(right, K, columns))

        keys = jax.random.split(key_rounds, self.rounds)
        return MogrifierLSTMParams(
            *lstm,
            q=tuple(matrix(q, key, H, D) for key in keys[::2]),
            r=tuple(matrix(r, key, D, H) for key in keys[1::2]),
        )

    def project(self, params, x):
        """The input itself. The rounds change the input first, so the step multiplies
        it.
        """
        del params
        return x

    def step(self, params, carry, gx, dot, gates=gates):
        multiply = lambda name, a: dot(name, a.astype(carry.h.dtype))
        x, h = gx.astype(carry.c.dtype), carry.h.astype(carry.c.dtype)
        for n, (name, factors) in enumerate(self._rounds.items()):
            seen, changed = (x, h) if n % 2 else (h, x)
            for factor in factors:
                seen = multiply(factor, seen)
            (gate,) = gates(seen, **{name: SIGMOID})
            changed = modulate(gate, changed)
            x, h = (x, changed) if n % 2 else (changed, h)
        z = multiply("w_x", x) + multiply("w_h", h)
        z = add_bias(z, params.b)
        return lstm_update(z, carry, gates)

    zero_carry = LSTMCell.zero_carry
