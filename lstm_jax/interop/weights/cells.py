"""Helpers for frameworks that keep the weights of one cell in one dict."""

from collections.abc import Callable, Mapping
from typing import Any

from lstm_jax.core.layers.bidirectional import Bidirectional
from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.layout import Layout
from lstm_jax.interop.weights.layer import cell_kind, is_cell, layout_of, write_layer
from lstm_jax.interop.weights.stack import read_stack, to_jax
from lstm_jax.interop.weights.tensors import flatten


def read_cell(layout: Layout, tensors: Mapping[Any, Any]) -> Any:
    """Parameters of one cell, from its dict, as JAX arrays."""
    flat = flatten(tensors)
    entries = read_stack(layout, flat)
    if any(name not in flat for name in _required(layout)):
        raise InteropError(
            f"tensors are named as several layers ({min(flat)}, ...), expected those "
            f"of one cell: {', '.join(_required(layout))}."
        )
    return to_jax(entries[0])


def _required(layout):
    return [n for t in layout.tensors if not t.group for n in t.names()]


def map_cells(convert: Callable[[Any], Any], source: Any) -> Any:
    """Applies ``convert`` to a cell, to both cells of a `Bidirectional`, or to every
    layer of a list.
    """
    if isinstance(source, Bidirectional):
        return Bidirectional(*map(convert, source))
    if isinstance(source, list | tuple) and not is_cell(source):
        return tuple(map_cells(convert, layer) for layer in source)
    return convert(source)


def write_cell(family: str, params: Any) -> dict[str, Any]:
    """The tensors of one cell as a flat dict, in the layout of ``family`` for this
    cell.
    """
    return write_layer(layout_of(family, cell_kind(params)), params)
