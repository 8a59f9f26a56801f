"""One step of an LSTM, equation by equation, in the symbols of the textbook."""

import functools
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Float
from lstm_jax.core.arguments import check_size
from lstm_jax.core.cells.lstm import LSTMCarry, LSTMParams, cell_of
from lstm_jax.core.precision import product_precision
from lstm_jax.diagnostics.trace import trace

GATES = {
    "f": ("forget gate", "sigmoid"),
    "i": ("input gate", "sigmoid"),
    "g": ("candidate", "tanh"),
    "o": ("output gate", "sigmoid"),
}
"""The gates in the order of textbooks, and their activations."""


class Line(NamedTuple):
    """One equation with its numbers."""

    symbol: str
    """What is computed, such as ``f_t``."""
    equation: str
    """The right side in symbols."""
    numbers: str
    """The right side in numbers."""
    value: float
    meaning: str
    """What the symbol is called."""


def worked_step(
    params: LSTMParams,
    carry: LSTMCarry | None,
    x: Float[Array, "D"],
    *,
    unit: int = 0,
) -> list[Line]:
    """The equations of one unit of an LSTM for one step, with every intermediate.

    All values come from `lstm_jax.LSTMCell`'s own step; nothing is computed twice. The
    numbers of a line are the values of the lines above.

    Args:
        params: the weights of the layer.
        carry: the state before the step, ``h`` and ``c`` of shape ``[H]``; ``None`` is
            zeros.
        x: the input ``[D]``.
        unit: which unit of the layer.

    Raises:
        TypeError: ``params`` is not `lstm_jax.LSTMParams`, or ``x`` is not floating
            point.
        ValueError: a shape does not fit the parameters, or there is no such unit.

    >>> import jax.numpy as jnp
    >>> from lstm_jax import LSTMCarry, LSTMParams
    >>> from lstm_jax.diagnostics import worked_step
    >>> params = LSTMParams(jnp.ones((1, 4)), jnp.ones((1, 4)), jnp.ones(4))
    >>> carry = LSTMCarry(h=jnp.array([0.1]), c=jnp.array([0.2]))
    >>> for line in worked_step(params, carry, jnp.array([0.5])):
    ...     print(f"{line.symbol:4}= {line.value:.6f}   {line.meaning}")
    z_f = 1.600000   what the forget gate reads
    f_t = 0.832018   forget gate
    z_i = 1.600000   what the input gate reads
    i_t = 0.832018   input gate
    z_g = 1.600000   what the candidate reads
    g_t = 0.921669   candidate
    z_o = 1.600000   what the output gate reads
    o_t = 0.832018   output gate
    c_t = 0.933249   cell state
    h_t = 0.609125   hidden state
    """
    cell = cell_of(params)
    check_size("unit", unit, least=0)
    if unit >= cell.hidden_size:
        raise ValueError(
            f"unit is {unit}, but the layer has {cell.hidden_size} units; pass 0 to "
            f"{cell.hidden_size - 1}."
        )
    x = jnp.asarray(x)
    if x.ndim != 1:
        raise ValueError(f"x has shape {x.shape}, expected [D], one input.")
    found = trace(cell, params, carry, x[None])
    before = cell.zero_carry((), x.dtype) if carry is None else carry
    parts = _parts(params, before, x)
    one = jax.tree.map(lambda a: float(a[0, unit]), found)
    return [*_lines(one, {k: v[:, unit] for k, v in parts.items()}, before, unit)]


def _parts(params, carry, x):
    """What input, state and bias add to the pre-activation of each gate."""
    times = functools.partial(jnp.matmul, precision=product_precision(x.dtype))
    each = jnp.stack([times(x, params.w_x), times(carry.h, params.w_h), params.b])
    i, f, g, o = np.split(np.asarray(each), 4, axis=1)
    return {"f": f, "i": i, "g": g, "o": o}


def _lines(one, parts, carry, unit) -> Iterator[Line]:
    for k, (name, activation) in GATES.items():
        equation = f"x_t w_x{k} + h_t-1 w_h{k} + b_{k}"
        numbers = " + ".join(map(number, parts[k])).replace("+ -", "- ")
        yield Line(f"z_{k}", equation, numbers, one.z[k], f"what the {name} reads")
        shown = f"{activation}({number(one.z[k])})"
        yield Line(f"{k}_t", f"{activation}(z_{k})", shown, one.gates[k], name)
    f, i, g, o = (number(one.gates[k]) for k in GATES)
    c = f"{f} * {number(float(carry.c[unit]))} + {i} * {g}"
    yield Line("c_t", "f_t * c_t-1 + i_t * g_t", c, one.carry.c, "cell state")
    h = f"{o} * tanh({number(one.carry.c)})"
    yield Line("h_t", "o_t * tanh(c_t)", h, one.carry.h, "hidden state")


def number(value: float) -> str:
    """Seven digits after the point, without zeros at the end."""
    text = f"{float(value):.7f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def cut_step(x: float, h: float, c: float, digits: int = 3) -> Mapping[str, float]:
    """The worked example of textbooks, where all weights and biases are 1, with every
    value cut off after ``digits`` digits before the next line uses it.

    This is how a book arrives at 0.921, 0.932 and 0.608. Never compute like this.

    >>> from lstm_jax.diagnostics.worked_step import cut_step
    >>> cut_step(0.5, 0.1, 0.2)
    {'f': 0.832, 'i': 0.832, 'g': 0.921, 'o': 0.832, 'c': 0.932, 'h': 0.608}
    """
    cut = lambda a: math.floor(a * 10**digits + 1e-9) / 10**digits
    z = cut(x + h + 1)
    gate, g = cut(1 / (1 + math.exp(-z))), cut(math.tanh(z))
    c = cut(cut(gate * c) + cut(gate * g))
    return dict(f=gate, i=gate, g=g, o=gate, c=c, h=cut(gate * cut(math.tanh(c))))
