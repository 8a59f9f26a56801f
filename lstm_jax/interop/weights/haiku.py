"""Haiku: ``hk.LSTM`` and ``hk.GRU``."""

from collections.abc import Mapping
from typing import Any

from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.layout import Cell
from lstm_jax.interop.weights.cells import read_cell, write_cell
from lstm_jax.interop.weights.layer import cell_kind, layout_of

MODULES = {"lstm": "lstm/linear", "gru_reset_before": "gru"}
"""The keys of the parameters of the first module of each kind."""


def from_haiku(
    source: Mapping[str, Any], module: str | None = None, *, cell: Cell = "lstm"
) -> Any:
    """Parameters from Haiku. The bias includes the 1 that Haiku adds to the forget
    gate.

    Args:
        source: ``{"lstm/linear": {"w": ..., "b": ...}}``, as returned by ``init``.
        module: the key, such as ``"encoder/~/lstm_1/linear"``; by default
            ``lstm/linear``, or ``gru``.
        cell: ``lstm``, or ``gru_reset_before`` for ``hk.GRU``.

    Raises:
        InteropError: there is no such module, or arrays have other names or shapes.

    >>> import numpy as np
    >>> from lstm_jax.interop import from_haiku, to_haiku
    >>> variables = {"lstm/linear": {"w": np.ones((8, 20)), "b": np.zeros(20)}}
    >>> params = from_haiku(variables)
    >>> params.w_x.shape, float(params.b[5]), list(to_haiku(params))
    ((3, 20), 1.0, ['lstm/linear'])
    """
    layout = layout_of("haiku", cell)
    module = MODULES[cell] if module is None else module
    if not isinstance(source, Mapping):
        raise InteropError(
            f"source is {type(source).__name__}, expected a dict of modules, as init "
            f"returns it."
        )
    if module not in source:
        raise InteropError(
            f"module is {module!r}, expected one of {', '.join(map(repr, source))}."
        )
    return read_cell(layout, source[module])


def to_haiku(params: Any, module: str | None = None) -> dict[str, Any]:
    """``{module: {"w": ..., "b": ...}}`` of numpy arrays; see `from_haiku`.

    Raises:
        UnsupportedError: Haiku has no such cell.

    >>> import jax
    >>> from lstm_jax import init_lstm
    >>> from lstm_jax.interop import to_haiku
    >>> params = init_lstm(jax.random.key(0), in_size=3, hidden_size=5)
    >>> to_haiku(params)["lstm/linear"]["w"].shape
    (8, 20)
    """
    tensors = write_cell("haiku", params)
    return {MODULES[cell_kind(params)] if module is None else module: tensors}
