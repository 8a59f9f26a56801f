"""Equinox: ``eqx.nn.LSTMCell`` and ``GRUCell``."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.layout import Cell
from lstm_jax.interop.weights.cells import map_cells, read_cell, write_cell
from lstm_jax.interop.weights.layer import cell_kind, is_cell, layout_of
from lstm_jax.interop.weights.tensors import fit

KINDS_OF = {"LSTMCell": "lstm", "GRUCell": "gru"}
NAMES = ("weight_ih", "weight_hh", "bias", "bias_n")


def from_equinox(source: Any, *, cell: Cell | None = None) -> Any:
    """Parameters from an Equinox cell, a dict of its arrays, or a list of cells or
    dicts.

    Args:
        source: a cell, or ``{"weight_ih": ..., "weight_hh": ..., "bias": ...}``.
        cell: the kind of cell of a dict: ``lstm`` (the default) or ``gru``.

    Raises:
        InteropError: arrays are missing or unknown, or have other shapes.
        UnsupportedError: the module is of another kind.

    >>> import numpy as np
    >>> from lstm_jax.interop import from_equinox, to_equinox
    >>> params = from_equinox(
    ...     {"weight_ih": np.ones((20, 3)), "weight_hh": np.ones((20, 5))})
    >>> params.w_x.shape, list(to_equinox(params))
    ((3, 20), ['weight_ih', 'weight_hh', 'bias'])
    """

    def convert(one):
        kind = cell or "lstm"
        if not isinstance(one, Mapping):
            kind, one = _kind_of(one), _arrays(one)
            if cell not in (None, kind):
                raise InteropError(f"cell is {cell!r}, but the module is {kind}.")
        return read_cell(layout_of("equinox", kind), one)

    return map_cells(convert, source)


def to_equinox(params: Any, into: Any = None) -> Any:
    """Dicts of numpy arrays with the structure of ``params``, or a copy of the cell
    ``into`` with these weights.

    Raises:
        InteropError: ``into`` has other sizes.
        UnsupportedError: Equinox has no such cell, or ``into`` has no bias for a bias
            that is not zero.

    >>> import jax
    >>> from lstm_jax import init_lstm
    >>> from lstm_jax.interop import to_equinox
    >>> params = init_lstm(jax.random.key(0), in_size=3, hidden_size=5)
    >>> to_equinox(params)["weight_ih"].shape
    (20, 3)
    """
    if into is None:
        return map_cells(lambda one: write_cell("equinox", one), params)
    if not is_cell(params) or _kind_of(into) != cell_kind(params):
        raise InteropError(
            f"into is {type(into).__name__}, but params {type(params).__name__}."
        )
    import equinox

    shapes = {name: a.shape for name, a in _arrays(into).items()}
    kept = fit(write_cell("equinox", params), shapes, "into")
    where = lambda cell: [getattr(cell, name) for name in kept]
    return equinox.tree_at(where, into, list(map(jnp.asarray, kept.values())))


def _kind_of(module):
    name = type(module).__name__
    if not type(module).__module__.startswith("equinox") or name not in KINDS_OF:
        raise UnsupportedError(
            f"{name} is not converted; pass an eqx.nn.LSTMCell or GRUCell."
        )
    return KINDS_OF[name]


def _arrays(module):
    found = {name: getattr(module, name, None) for name in NAMES}
    return {name: array for name, array in found.items() if array is not None}
