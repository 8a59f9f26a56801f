"""TensorFlow 1: ``LSTMCell``, ``LSTMBlockCell``, ``BlockLSTM`` and ``BlockLSTMV2``."""

import dataclasses
from collections.abc import Mapping
from numbers import Real
from typing import Any

from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.layout import LAYOUTS
from lstm_jax.interop.weights.cells import read_cell
from lstm_jax.interop.weights.layer import write_layer

OPERATORS = {
    "LSTMCell": "tf1",
    "LSTMBlockCell": "tf1.block_cell",
    "BlockLSTM": "tf1.block",
    "BlockLSTMV2": "tf1.block_v2",
}
"""The layout of each cell and operator."""


def from_tf1(
    arrays: Mapping[str, Any],
    operator: str = "LSTMCell",
    *,
    forget_bias: float | None = None,
) -> Any:
    """Parameters from the arrays of a TensorFlow 1 cell or operator.

    Args:
        arrays: for the cells ``kernel [D + H, 4H]``, ``bias``; with peepholes
            ``w_i_diag``, ``w_f_diag``, ``w_o_diag``; for `LSTMCell` with ``num_proj``
            also ``projection/kernel``. For the operators ``w``, ``b``, ``wci``,
            ``wcf``, ``wco`` (without the last three for ``use_peephole=False``).
        operator: ``LSTMCell`` (gates i, j, f, o), ``LSTMBlockCell``, ``BlockLSTM``
            (i, c, f, o) or ``BlockLSTMV2`` (i, f, c, o).
        forget_bias: the number that TensorFlow adds to the forget gate at run time, by
            default 1, and 0 for ``BlockLSTMV2``. The resulting bias includes it.

    The weights do not contain a clip. For the default of the operator ``BlockLSTM``,
    give the cell ``Activations(cell_clip=3.0)``.

    Raises:
        InteropError: arrays are missing or unknown, or have other shapes.
        UnsupportedError: the arrays have both peepholes and a projection.

    >>> import numpy as np
    >>> from lstm_jax.interop import from_tf1, to_tf1
    >>> arrays = {"kernel": np.ones((8, 20)), "bias": np.zeros(20)}
    >>> params = from_tf1(arrays)
    >>> params.w_x.shape, float(params.b[5])
    ((3, 20), 1.0)
    >>> list(to_tf1(params, "BlockLSTM"))
    ['w', 'b']
    """
    return read_cell(_layout(operator, forget_bias), arrays)


def to_tf1(
    params: Any, operator: str = "LSTMCell", *, forget_bias: float | None = None
) -> dict[str, Any]:
    """The arrays, by the names that `from_tf1` takes, with ``forget_bias`` subtracted.

    Raises:
        UnsupportedError: the operator has no such cell.

    >>> import jax
    >>> from lstm_jax import init_lstm
    >>> from lstm_jax.interop import to_tf1
    >>> params = init_lstm(jax.random.key(0), in_size=3, hidden_size=5)
    >>> [(name, a.shape) for name, a in to_tf1(params).items()]
    [('kernel', (8, 20)), ('bias', (20,))]
    """
    tensors = write_layer(_layout(operator, forget_bias), params)
    return {name.replace(".", "/"): array for name, array in tensors.items()}


def _layout(operator, forget_bias):
    if operator not in OPERATORS:
        raise InteropError(
            f"operator is {operator!r}, expected one of {', '.join(OPERATORS)}."
        )
    layout = LAYOUTS[OPERATORS[operator]]
    if forget_bias is None:
        return layout
    if isinstance(forget_bias, bool) or not isinstance(forget_bias, Real):
        raise InteropError(
            f"forget_bias is {forget_bias!r}, expected a number or None."
        )
    return dataclasses.replace(layout, forget_bias=float(forget_bias))
