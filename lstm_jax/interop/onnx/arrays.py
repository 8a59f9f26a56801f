"""The tensors of ONNX's operators ``LSTM`` and ``GRU``: ``W, R, B, P``.

    W [N, nH, D]   R [N, nH, H]   B [N, 2nH]   P [N, 3H]        N directions, n gates

An LSTM has the gates in the order i, o, f, c (its peepholes i, o, f), and a GRU in the
order z, r, h: https://onnx.ai/onnx/operators/onnx__LSTM.html.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Float
from lstm_jax.core.layers.bidirectional import Bidirectional
from lstm_jax.interop.errors import InteropError, UnsupportedError, refuse
from lstm_jax.interop.layout import Cell
from lstm_jax.interop.weights.layer import cell_kind, layout_of, read_layer, write_layer


def from_onnx_arrays(
    W: Float[Array, "N nH D"],
    R: Float[Array, "N nH H"],
    B: Float[Array, "N 2nH"] | None = None,
    P: Float[Array, "N 3H"] | None = None,
    *,
    cell: Cell = "lstm",
) -> Any:
    """Parameters of one layer; two directions are a `lstm_jax.Bidirectional`.

    Args:
        W, R, B, P: initialisers of the node; ``None`` if the node leaves it out.
        cell: ``lstm``, or ``cifg`` for the attribute ``input_forget=1``; ``gru`` for
            ``linear_before_reset=1``, ``gru_reset_before`` for 0.

    Raises:
        InteropError: shapes do not match. The message lists all of them.
        UnsupportedError: a CIFG LSTM with peepholes.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.interop import from_onnx_arrays, to_onnx_arrays
    >>> params = from_onnx_arrays(jnp.ones((1, 20, 3)), jnp.ones((1, 20, 5)))
    >>> params.w_x.shape
    (3, 20)
    >>> [(name, a.shape) for name, a in to_onnx_arrays(params).items()]
    [('W', (1, 20, 3)), ('R', (1, 20, 5)), ('B', (1, 40))]
    """
    layout, problems = layout_of("onnx", cell), []
    given = dict(W=W, R=R, B=B, P=P)
    given = {name: np.asarray(a) for name, a in given.items() if a is not None}
    if cell != "lstm" and given.pop("P", None) is not None:
        raise UnsupportedError(f"P is given, but no {cell} cell here has peepholes.")
    counts = {name: len(a) if a.ndim else 0 for name, a in given.items()}
    if counts["W"] not in (1, 2) or len({*counts.values()}) > 1:
        said = ", ".join(f"{name} {a.shape}" for name, a in given.items())
        raise InteropError(
            f"shapes are {said}; expected one or two directions in front of each."
        )
    ways = [
        read_layer(layout, {name: a[way] for name, a in given.items()}, problems)
        for way in range(counts["W"])
    ]
    refuse("tensors of the node do not fit together", problems)
    ways = jax.tree.map(jnp.asarray, ways)
    return ways[0] if len(ways) == 1 else Bidirectional(*ways)


def to_onnx_arrays(params: Any) -> dict[str, np.ndarray]:
    """The initialisers ``W``, ``R``, ``B`` and, with peepholes, ``P`` of a node.

    Args:
        params: parameters of one layer, or a `lstm_jax.Bidirectional` of two. The first
            half of ``B`` gets all biases; only a `GRUCell`'s candidate has a second
            bias. `lstm_jax.CIFGLSTMParams` are for ``input_forget=1``.

    Raises:
        UnsupportedError: ONNX has no such cell.

    >>> import jax
    >>> from lstm_jax import init_lstm
    >>> from lstm_jax.interop import to_onnx_arrays
    >>> params = init_lstm(jax.random.key(0), in_size=3, hidden_size=5)
    >>> [(name, a.shape) for name, a in to_onnx_arrays(params).items()]
    [('W', (1, 20, 3)), ('R', (1, 20, 5)), ('B', (1, 40))]
    """
    ways = params if isinstance(params, Bidirectional) else (params,)
    tensors = [write_layer(layout_of("onnx", cell_kind(way)), way) for way in ways]
    return {name: np.stack([way[name] for way in tensors]) for name in tensors[0]}
