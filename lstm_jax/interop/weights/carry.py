"""Converts states between our order and axes and those of other frameworks."""

from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax.core.cells.gru import GRUCarry
from lstm_jax.core.cells.lstm import LSTMCarry
from lstm_jax.core.cells.rnn import RNNCarry
from lstm_jax.core.layers.bidirectional import Bidirectional
from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.layout import Cell
from lstm_jax.interop.weights.layer import layout_of
from lstm_jax.interop.weights.tensors import numpy_array

CARRIES = {"gru": GRUCarry, "gru_reset_before": GRUCarry, "rnn": RNNCarry}


def from_carry(
    framework: str, carry: Any, *, cell: Cell = "lstm", bidirectional: bool = False
) -> Any:
    """Converts a state of another framework to ours.

    Args:
        framework: ``torch``, ``keras``, ``linen``, ..., a row of `LAYOUTS`.
        carry: for torch, ONNX, haste and ``jax_rnn`` a pair ``(h, c)``, each
            ``[layers * directions, B, H]``; the result has one entry per layer. For
            other frameworks the state of one cell, in the framework's order. For a GRU
            or a plain RNN only ``h``.
        cell: ``lstm``, ``gru``, ``rnn``.
        bidirectional: whether the layers are bidirectional.

    Raises:
        InteropError: the number of arrays or of states is wrong.

    >>> import jax.numpy as jnp
    >>> h, c = jnp.zeros((4, 2, 5)), jnp.ones((4, 2, 5))
    >>> carries = from_carry("torch", (h, c), bidirectional=True)
    >>> len(carries), carries[0].forward.c.shape
    (2, (2, 5))
    >>> [x.shape for x in to_carry("torch", carries)]
    [(4, 2, 5), (4, 2, 5)]
    >>> float(from_carry("linen", (c[0], h[0])).c[0, 0])
    1.0
    """
    kind, layout = CARRIES.get(cell, LSTMCarry), layout_of(framework, cell)
    if kind is LSTMCarry and not isinstance(carry, list | tuple):
        raise InteropError(
            f"carry is {type(carry).__name__}, expected two arrays, as {framework} "
            f"orders them."
        )
    parts = tuple(carry) if kind is LSTMCarry else (carry,)
    if len(parts) != len(kind._fields):
        raise InteropError(f"carry has {len(parts)} arrays, expected {kind._fields}.")
    named = dict(zip(layout.carry if parts[1:] else "h", parts, strict=True))
    arrays = [_array(named[field], field) for field in kind._fields]
    if not layout.carry_joined:
        return kind(*arrays)
    ways = 2 if bidirectional else 1
    count = {a.shape[0] if a.ndim else 0 for a in arrays}
    if len(count) > 1 or not min(count) or min(count) % ways:
        raise InteropError(
            f"carry has shapes {', '.join(str(a.shape) for a in arrays)}, expected "
            f"[layers{' * 2' if bidirectional else ''}, ...] each."
        )
    states = [kind(*state) for state in zip(*arrays, strict=True)]
    if not bidirectional:
        return tuple(states)
    return tuple(map(Bidirectional, states[::2], states[1::2]))


def _array(value, field):
    if isinstance(value, jax.Array):  # may be traced
        return value
    return jnp.asarray(numpy_array(value, f"{field} of carry"))


def to_carry(framework: str, carry: Any) -> Any:
    """The inverse of `from_carry`: a tuple of arrays, or for a GRU one array.

    Raises:
        InteropError: the layers have different cells or numbers of directions, or the
            framework keeps the state of each layer separately.

    >>> import jax.numpy as jnp
    >>> from lstm_jax import LSTMCell
    >>> from lstm_jax.interop import to_carry
    >>> carries = [LSTMCell(5).zero_carry((2,), jnp.float32)] * 3  # three layers
    >>> h, c = to_carry("torch", carries)
    >>> h.shape
    (3, 2, 5)
    """
    layout = layout_of(framework, "lstm")
    if hasattr(carry, "h"):
        parts = carry
    else:
        if not isinstance(carry, list | tuple):
            raise InteropError(
                f"carry is {type(carry).__name__}, expected a cell's, or one entry a "
                f"layer."
            )
        states = _states(carry)
        if not layout.carry_joined:
            raise InteropError(
                f"carry has {len(carry)} entries, expected one cell's: {framework} "
                f"keeps each by itself."
            )
        shapes = {tuple(jnp.shape(part)[:-1]) for state in states for part in state}
        if len(shapes) > 1:
            raise InteropError(
                f"carry has states of {' and '.join(map(str, sorted(shapes)))} rows, "
                f"expected the same in all layers."
            )
        parts = tuple(jnp.stack(part) for part in zip(*states, strict=True))
    if len(parts) == 1:
        return parts[0]
    named = dict(zip("hc", parts, strict=True))
    return tuple(named[letter] for letter in layout.carry)


def _states(layers):
    """The states of every layer and direction, all checked."""
    ways = [at if isinstance(at, Bidirectional) else (at,) for at in layers]
    states = [state for both in ways for state in both]
    kinds = dict.fromkeys(type(state).__name__ for state in states)
    carries = all(hasattr(state, "h") for state in states)
    if not carries or len(kinds) != 1 or len({len(both) for both in ways}) != 1:
        raise InteropError(
            f"carry has {', '.join(str(len(both)) for both in ways) or 'no'} "
            f"directions a layer, of {' and '.join(kinds) or 'nothing'}, expected the "
            f"same in all layers."
        )
    return states
