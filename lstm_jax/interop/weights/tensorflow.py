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
"""Cells and operators, with their layouts."""


def from_tf1(
    arrays: Mapping[str, Any],
    operator: str = "LSTMCell",
    *,
    forget_bias: float | None = None,
) -> Any:
    """Parameters from the arrays of a TensorFlow 1 cell or operator.

    Args:
        arrays: of the cells ``kernel [D + H, 4H]``, ``bias`` and with peepholes
            ``w_i_diag``, ``w_f_diag``, ``w_o_diag``, of `LSTMCell` with ``num_proj``
            also ``projection/kernel``; of the operators ``w``, ``b``, ``wci``, ``wcf``,
            ``wco`` (leave the last three out with ``use_peephole=False``).
        operator: ``LSTMCell`` (gates i, j, f, o), ``LSTMBlockCell``, ``BlockLSTM``
            (i, c, f, o) or ``BlockLSTMV2`` (i, f, c, o).
        forget_bias: what it adds to the forget gate at run time; by default 1, and 0 of
            ``BlockLSTMV2``. It is in the bias that comes out.

    A clip is not in the weights: give ``Activations(cell_clip=3.0)`` to the cell, the
    default of the operator ``BlockLSTM``.

    Raises:
        InteropError: arrays are missing or unknown, or have other shapes.
        UnsupportedError: peepholes and a projection together.

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
    """The arrays, by the names that `from_tf1` takes; ``forget_bias`` is taken off.

    Raises:
        UnsupportedError: the operator has no such cell.
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
