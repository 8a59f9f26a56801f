"""The Long Short-Term Memory.

    i_t = sigmoid(x_t w_xi + h_{t-1} w_hi + b_i)      input gate
    f_t = sigmoid(x_t w_xf + h_{t-1} w_hf + b_f)      forget gate
    g_t =    tanh(x_t w_xg + h_{t-1} w_hg + b_g)      candidate
    o_t = sigmoid(x_t w_xo + h_{t-1} w_ho + b_o)      output gate
    c_t = f_t * c_{t-1} + i_t * g_t                   cell state
    h_t = o_t * tanh(c_t)                             hidden state

Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997. The
forget gate: Gers, Schmidhuber & Cummins, "Learning to Forget: Continual Prediction with
LSTM", Neural Computation 12(10), 2000.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import jax.random
from jax.sharding import PartitionSpec

from lstm_jax._types import Array, Float, Key
from lstm_jax.core import init
from lstm_jax.core.arguments import check_one_key
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.checks import check_step, check_type
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.primitives.activations import (
    TEXTBOOK,
    Activations,
    check_activations,
    clip,
    function_of,
)
from lstm_jax.core.primitives.elementwise import TANH, add_bias, elementwise, gates
from lstm_jax.core.primitives.matmul import matmul
from lstm_jax.core.sharding import leave_to_compiler, spec_of


class LSTMParams(NamedTuple):
    """The weights of one LSTM layer, with the gates concatenated in the order i, f, g,
    o.
    """

    w_x: Float[Array, "D 4H"]
    w_h: Float[Array, "H 4H"]
    b: Float[Array, "4H"]

    @classmethod
    def from_gates(cls, *, W_f, b_f, W_i, b_i, W_C, b_C, W_o, b_o) -> "LSTMParams":
        """Parameters from textbook matrices, each ``[H, H + D]``, acting on ``[h, x]``.

        Raises:
            ValueError: a matrix or bias has another shape than the others.

        >>> import jax.numpy as jnp
        >>> W, b = jnp.ones((1, 2)), jnp.ones(1)
        >>> params = LSTMParams.from_gates(
        ...     W_f=W, b_f=b, W_i=W, b_i=b, W_C=W, b_C=b, W_o=W, b_o=b)
        >>> params.w_x.shape, params.w_h.shape, params.b.shape
        ((1, 4), (1, 4), (4,))
        """
        weights = dict(W_i=W_i, W_f=W_f, W_C=W_C, W_o=W_o)
        biases = dict(b_i=b_i, b_f=b_f, b_C=b_C, b_o=b_o)
        shape = jnp.shape(W_i)
        if len(shape) != 2 or shape[1] <= shape[0]:
            raise ValueError(
                f"W_i has shape {shape}, expected [H, H + D], acting on [h, x]."
            )
        hidden = shape[0]
        for name, array in (weights | biases).items():
            expected = shape if name in weights else (hidden,)
            if jnp.shape(array) != expected:
                raise ValueError(
                    f"{name} has shape {jnp.shape(array)}, expected {expected}; every "
                    f"weight is [H, H + D], acts on [h, x] and has a bias [H]."
                )
        w = jnp.concatenate([jnp.asarray(w) for w in weights.values()]).T
        b = jnp.concatenate([jnp.asarray(b) for b in biases.values()])
        return cls(w_x=w[hidden:], w_h=w[:hidden], b=b)

    def to_gates(self) -> dict[str, Array]:
        """The inverse of `from_gates`: its keyword arguments."""
        w = jnp.concatenate([self.w_h, self.w_x]).T
        names = ("i", "f", "C", "o")
        weights = zip(names, jnp.split(w, 4), strict=True)
        biases = zip(names, jnp.split(self.b, 4), strict=True)
        return {f"W_{n}": a for n, a in weights} | {f"b_{n}": a for n, a in biases}


class LSTMCarry(NamedTuple):
    """The state between steps.

    ``h`` has the compute dtype. ``c`` is float32 if the compute dtype has 16 bits.
    """

    h: Float[Array, "*B H"]
    c: Float[Array, "*B H"]


@elementwise
def cell_state(i, f, g, c):
    return f * c + i * g


@elementwise
def hidden_state(o, c, output=TANH):
    return o * function_of(output)(c)


def lstm_update(
    z: Float[Array, "*B nH"],
    carry: LSTMCarry,
    gates: Callable,
    activations: Activations = TEXTBOOK,
) -> tuple[LSTMCarry, Float[Array, "*B H"]]:
    """The new carry and output, from the pre-activations of the gates i, f, g, o."""
    act = activations
    z = clip(z, act.clip)
    i, f, g, o = gates(z, i=act.gate, f=act.gate, g=act.candidate, o=act.gate)
    c = clip(cell_state(i, f, g, carry.c), act.cell_clip)
    h = hidden_state(o, c, output=act.output).astype(carry.h.dtype)
    return LSTMCarry(h, c), h


@dataclasses.dataclass(frozen=True)
class LSTMCell(Cell):
    """Long short-term memory. Its equations are in `lstm_jax.core.cells.lstm`.

    ``activations`` replaces sigmoid and tanh by other functions, and adds clips; see
    `lstm_jax.Activations`.

    Raises:
        ValueError: ``hidden_size`` is less than 1.
        TypeError: ``activations`` is not an `Activations`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMCell, unroll
    >>> cell = LSTMCell(hidden_size=5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape, carry.c.shape
    ((7, 2, 5), (2, 5))
    """

    hidden_size: int
    activations: Activations = TEXTBOOK

    products = ("w_h",)
    recurrent = (("w_h", 4),)
    elementwise = ("b",)
    added = frozenset({"w_h", "b"})

    def __post_init__(self):
        super().__post_init__()
        check_activations(self)

    def init(
        self,
        key,
        in_size,
        *,
        w_x: init.Initializer = init.glorot,
        w_h: init.Initializer = init.orthogonal,
        forget_bias: init.ForgetBias = 1.0,
        dtype=jnp.float32,
    ):
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        return LSTMParams(
            w_x=init.per_gate(w_x, key_x, (in_size, H), 4, dtype),
            w_h=init.per_gate(w_h, key_h, (H, H), 4, dtype),
            b=init.gate_bias(forget_bias, key_b, H, dtype),
        )

    def step(self, params, carry, gx, dot, gates=gates):
        z = gx.astype(carry.c.dtype) + dot("w_h", carry.h)
        z = add_bias(z, params.b)
        return lstm_update(z, carry, gates, self.activations)

    def zero_carry(self, batch_shape, dtype):
        shape = (*batch_shape, self.hidden_size)
        h = jnp.zeros(shape, dtype)
        return LSTMCarry(h, jnp.zeros(shape, accumulation_dtype(dtype)))


def cell_of(params: LSTMParams) -> LSTMCell:
    """The cell of these parameters. Raises TypeError for anything but `LSTMParams`."""
    check_type(params, LSTMParams, "init_lstm")
    return LSTMCell(jnp.shape(params.w_h)[0])


def init_lstm(
    key: Key[Array, ""],
    in_size: int,
    hidden_size: int,
    *,
    w_x: init.Initializer = init.glorot,
    w_h: init.Initializer = init.orthogonal,
    forget_bias: init.ForgetBias = 1.0,
    dtype=jnp.float32,
) -> LSTMParams:
    """Parameters of one LSTM layer.

    Input weights are Glorot uniform and recurrent weights are orthogonal, both drawn
    per gate. The bias of the forget gate starts at 1 (Jozefowicz, Zaremba & Sutskever
    2015), and all other biases start at 0.

    Args:
        key: a typed key, ``jax.random.key(seed)``.
        in_size: ``D``, features of an input.
        hidden_size: ``H``, hidden units.
        w_x, w_h: initialisers ``(key, shape, dtype) -> array`` of one gate, ``[D, H]``
            and ``[H, H]``.
        forget_bias: initial bias of the forget gate; or an initialiser of the biases of
            input and forget gate, such as ``init.chrono(max_steps)``.
        dtype: dtype of the parameters.

    Raises:
        TypeError: ``key`` is not a key of ``jax.random``.
        ValueError: a size is less than 1, or ``key`` is a batch of keys.

    >>> import jax
    >>> params = init_lstm(jax.random.key(0), in_size=3, hidden_size=5)
    >>> params.w_x.shape, params.w_h.shape, params.b.shape
    ((3, 20), (5, 20), (20,))
    """
    key = check_one_key(key)
    return LSTMCell(hidden_size).init(
        key, in_size, w_x=w_x, w_h=w_h, forget_bias=forget_bias, dtype=dtype
    )


def lstm_step(
    params: LSTMParams, carry: LSTMCarry | None, x: Float[Array, "*B D"]
) -> tuple[LSTMCarry, Float[Array, "*B H"]]:
    """One step of the LSTM, computed in the dtype of ``x``.

    The equations are in `lstm_jax.core.cells.lstm`. The function is pure: you can jit,
    differentiate, vmap or scan it. For a whole sequence, `lstm_jax.lstm` is several
    times faster.

    A loop needs a carry with the same structure before and after every step. So start
    ``lax.scan`` from ``LSTMCell(H).zero_carry(batch_shape, dtype)``, not from ``None``.
    ``dtype`` is the dtype of ``x``; ``c`` is float32 if ``dtype`` has 16 bits.

    Args:
        params: the layer's weights, gates in the order i, f, g, o.
        carry: ``h`` and ``c`` of the previous step, ``[..., H]``; ``None`` is zeros.
        x: the input, ``[..., D]``, with any number of batch axes, also none.

    Returns:
        The new carry, and its ``h``.

    Raises:
        TypeError: ``x`` is not floating point, or a dtype of the carry does not match
            the dtype of ``x``.
        ValueError: a shape does not fit the parameters.

    >>> import jax, jax.numpy as jnp
    >>> params = LSTMParams(jnp.ones((1, 4)), jnp.ones((1, 4)), jnp.ones(4))
    >>> carry = LSTMCarry(h=jnp.array([0.1]), c=jnp.array([0.2]))
    >>> carry, h = lstm_step(params, carry, jnp.array([0.5]))
    >>> print(f"{carry.c[0]:.6f} {h[0]:.6f}")
    0.933249 0.609125
    >>> params = init_lstm(jax.random.key(0), in_size=3, hidden_size=5)
    >>> xs = jnp.ones((7, 2, 3), jnp.bfloat16)
    >>> start = LSTMCell(5).zero_carry((2,), xs.dtype)
    >>> carry, hs = jax.lax.scan(lambda c, x: lstm_step(params, c, x), start, xs)
    >>> hs.shape, carry.c.dtype.name
    ((7, 2, 5), 'float32')
    """
    cell = cell_of(params)
    carry, x = check_step(cell, params, carry, x)

    def step(params, carry, x):
        gx = cell.project(params, x)
        dot = lambda name, a: matmul(a, getattr(params, name))
        return cell.step(params, carry, gx, dot)

    rows = PartitionSpec(*spec_of(x)[:-1], None)
    specs = (jax.tree.map(spec_of, carry), rows)
    return leave_to_compiler(step, (params, carry, x), specs)
