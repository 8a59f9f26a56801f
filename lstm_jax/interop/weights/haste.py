"""haste: ``LSTM``, ``LayerNormLSTM`` and ``GRU``.

https://github.com/lmnt-com/haste. The stored bias includes the forget bias.
"""

from collections.abc import Mapping
from typing import Any

from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.layout import Cell
from lstm_jax.interop.weights.cells import map_cells, read_cell, write_cell
from lstm_jax.interop.weights.layer import layout_of


def from_haste(source: Any, *, cell: Cell = "lstm") -> Any:
    """Parameters from a haste layer, its state dict, or a list of these.

    Args:
        source: ``kernel [D, 4H]``, ``recurrent_kernel``, ``bias``. A ``LayerNormLSTM``
            also has ``gamma``, ``gamma_h`` and ``beta_h``, and a GRU
            ``recurrent_bias``. Zoneout and dropout are not weights.
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
    """Dicts of numpy arrays with the structure of ``params``. ``shift_x`` and
    ``shift_h`` of a `lstm_jax.LayerNormLSTMCell` are added to the bias, which has the
    same effect.

    Raises:
        UnsupportedError: haste has no such cell.

    >>> import jax
    >>> from lstm_jax import init_lstm
    >>> from lstm_jax.interop import to_haste
    >>> params = init_lstm(jax.random.key(0), in_size=3, hidden_size=5)
    >>> list(to_haste(params))
    ['kernel', 'recurrent_kernel', 'bias']
    """
    return map_cells(lambda one: write_cell("haste", one), params)
