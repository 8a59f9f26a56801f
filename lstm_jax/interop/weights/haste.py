"""haste: ``LSTM``, ``LayerNormLSTM`` and ``GRU``.

https://github.com/lmnt-com/haste, whose forget bias is in the stored bias.
"""

from collections.abc import Mapping
from typing import Any

from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.layout import Cell
from lstm_jax.interop.weights.cells import map_cells, read_cell, write_cell
from lstm_jax.interop.weights.layer import layout_of


def from_haste(source: Any, *, cell: Cell = "lstm") -> Any:
    """Parameters from a haste layer, its state dict, or a list of such.

    Args:
        source: ``kernel [D, 4H]``, ``recurrent_kernel``, ``bias``; with ``gamma``,
            ``gamma_h`` and ``beta_h`` it is a ``LayerNormLSTM``; of a GRU also
            ``recurrent_bias``. Zoneout and dropout are no weights.
        cell: ``lstm`` or ``gru``.

    Raises:
        InteropError: tensors are missing or unknown, or have other shapes.

    >>> import numpy as np
    >>> from lstm_jax.interop import from_haste
    >>> arrays = {"kernel": np.ones((3, 20)), "recurrent_kernel": np.ones((5, 20))}
    >>> from_haste(arrays | {"bias": np.ones(20)}).w_x.shape
    (3, 20)
    """

    def convert(one):
        if not isinstance(one, Mapping) and not hasattr(one, "state_dict"):
            raise InteropError(
                f"source is {type(one).__name__}, expected a haste layer or its state "
                f"dict."
            )
        one = one if isinstance(one, Mapping) else one.state_dict()
        return read_cell(layout_of("haste", cell), one)

    return map_cells(convert, source)


def to_haste(params: Any) -> Any:
    """Dicts of numpy arrays in the form of ``params``; ``shift_x`` and ``shift_h`` of a
    `lstm_jax.LayerNormLSTMCell` go into the bias, which has the same place.

    Raises:
        UnsupportedError: haste has no such cell.
    """
    return map_cells(lambda one: write_cell("haste", one), params)
