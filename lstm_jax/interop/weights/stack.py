"""Several layers in one dict of tensors, distinguished by their names."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.cifg import CIFGLSTMCell
from lstm_jax.core.cells.conv import ConvLSTMCell
from lstm_jax.core.cells.gru import GRUCell, ResetBeforeGRUCell
from lstm_jax.core.cells.layer_norm import LayerNormLSTMCell
from lstm_jax.core.cells.lstm import LSTMCell
from lstm_jax.core.cells.peephole import PeepholeLSTMCell
from lstm_jax.core.cells.projection import LSTMPCell
from lstm_jax.core.cells.rnn import RNNCell
from lstm_jax.core.layers.bidirectional import (
    Bidirectional,
    Merge,
    merged_size,
    two_directions,
)
from lstm_jax.core.layers.stack import Skip, Stack
from lstm_jax.interop.errors import InteropError, refuse
from lstm_jax.interop.layout import LAYOUTS, Layout
from lstm_jax.interop.weights.layer import cell_kind, is_cell, read_layer, write_layer
from lstm_jax.interop.weights.names import layers_and_ways, place, spell, uneven

CELLS = {
    "LSTMParams": LSTMCell,
    "PeepholeLSTMParams": PeepholeLSTMCell,
    "LayerNormLSTMParams": LayerNormLSTMCell,
    "CIFGLSTMParams": CIFGLSTMCell,
    "GRUParams": GRUCell,
    "ResetBeforeGRUParams": ResetBeforeGRUCell,
    "RNNParams": RNNCell,
}


def stack_of(
    params: Sequence[Any],
    *,
    merge: Merge = "concat",
    skip: Skip | None = None,
    input_dropout: float = 0.0,
    dropout: float = 0.0,
    output_dropout: float = 0.0,
    locked: bool = False,
    weight_drop: float = 0.0,
) -> Stack:
    """The `lstm_jax.Stack` that runs these parameters.

    Args:
        params: one entry per layer, as the converters return for several layers. For a
            single cell pass ``[params]``.
        merge, skip, input_dropout, dropout, output_dropout, locked, weight_drop:
            options that weights do not contain; see `lstm_jax.Stack`.

    Raises:
        InteropError: ``params`` is not a sequence of layers.
        UnsupportedError: the converters do not know the cell of the parameters.

    >>> import jax.numpy as jnp
    >>> from lstm_jax import init_lstm_stack
    >>> from lstm_jax.interop import stack_of
    >>> params = init_lstm_stack(jax.random.key(0), 3, 5, num_layers=2)
    >>> stack = stack_of(params)
    >>> carries, hs = stack(params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape
    (7, 2, 5)
    """
    check_layers(params)
    cells = [cell_of(entry) for entry in params]
    return Stack(
        cells,
        bidirectional=_two_directions(params),
        merge=merge,
        skip=skip,
        input_dropout=input_dropout,
        dropout=dropout,
        output_dropout=output_dropout,
        locked=locked,
        weight_drop=weight_drop,
    )


def check_layers(params: Any) -> None:
    """Raises an error unless this is a sequence of layers."""
    one = is_cell(params) or isinstance(params, Bidirectional)
    if one or not isinstance(params, list | tuple) or not params:
        raise InteropError(
            f"params is {type(params).__name__}, expected one entry per layer; "
            f"pass [params] for a single one."
        )


def _two_directions(params):
    try:
        return two_directions("params", params)
    except ValueError as error:
        raise InteropError(str(error)) from error


def cell_of(entry: Any) -> Cell:
    """The cell of a layer's parameters; both directions must have the same."""
    cells = {_cell(one) for one in ways_of(entry)}
    if len(cells) > 1:
        said = ", ".join(map(repr, map(_cell, ways_of(entry))))
        raise InteropError(f"the two directions of a layer are {said}, expected one.")
    return cells.pop()


def _cell(params) -> Cell:
    name, _ = type(params).__name__, cell_kind(params)
    if name == "LSTMPParams":
        return LSTMPCell(*params.w_hr.shape, projection_bias=params.b_hr is not None)
    if name == "ConvLSTMParams":
        return ConvLSTMCell(_units(params), tuple(params.w_h.shape[:-2]))
    return CELLS[name](_units(params))


def _units(params):
    """Units of a cell: the number of rows of its recurrent weights."""
    return params.w_h.shape[-2]


def read_stack(
    layout: Layout, tensors: Mapping[str, np.ndarray], merge: Merge = "concat"
) -> tuple[Any, ...]:
    """Parameters of every layer, as numpy arrays; a `Bidirectional` if it has two
    directions.

    Args:
        layout: a row of the table. Its ``place`` defines how names contain layer and
            direction. Names without them belong to a single layer.
        tensors: a flat dict by name.
        merge: how the outputs of two directions become the input of the layer above.

    Raises:
        InteropError: names are unknown or missing, or shapes do not match. The message
            lists all of them. If the names fit other layouts, it lists these too.
    """
    found = {name: place(layout, name) for name in tensors}
    problems = [f"{name} is unknown" for name, at in found.items() if at is None]
    places = {at for at in found.values() if at}
    if not places:
        problems.append("there are no weights of a layer")
    entries = []
    if not problems:
        entries = list(_read_layers(layout, tensors, places, problems))
    if not problems and "{way}" not in layout.place:
        problems += uneven(layout, tensors)  # One module has all of a kind or none.
    if not problems:
        entries = [*map(_joined, entries)]
        problems += misfits(entries, merge)
    refuse(f"tensors do not fit layout {layout.name}", problems, _hint(layout, tensors))
    return tuple(entries)


def write_stack(layout: Layout, entries: Sequence[Any]) -> dict[str, np.ndarray]:
    """The inverse of `read_stack`. Raises the errors of `write_layer`, and an error if
    the layers have different numbers of directions.
    """
    tensors, two_ways = {}, _two_directions(entries)
    for layer, entry in enumerate(entries):
        for backward, params in enumerate(ways_of(entry)):
            way = bool(backward) if two_ways else None
            for name, array in write_layer(layout, params).items():
                tensors[spell(layout, layer, way, name)] = array
    return tensors


def to_jax(entries: Any) -> Any:
    """The same with JAX arrays, in the dtypes that JAX is set to."""
    return jax.tree.map(jnp.asarray, entries)


def _read_layers(layout, tensors, places, problems):
    """Parameters of every layer, one entry per direction."""
    layers, ways = layers_and_ways(layout, places, len(tensors), problems)
    for layer in layers:

        def read(way, layer=layer):
            to_name = functools.partial(spell, layout, layer, way)
            return read_layer(layout, tensors, problems, to_name)

        yield tuple(map(read, ways))


def _joined(ways):
    return Bidirectional(*ways) if len(ways) > 1 else ways[0]


def misfits(entries: Sequence[Any], merge: Merge = "concat") -> list[str]:
    """Why these layers are not a stack; every entry is checked."""
    problems, below = [], None
    counts = {len(ways_of(entry)) for entry in entries}
    if len(counts) > 1:
        problems.append(
            "some layers have one direction and some two, expected the same in all"
        )
    for layer, entry in enumerate(entries):
        ways = ways_of(entry)
        shapes = [[np.shape(a) for a in jax.tree.leaves(way)] for way in ways]
        if type(ways[0]) is not type(ways[-1]) or shapes[0] != shapes[-1]:
            problems.append(f"the two directions of layer {layer} differ")
        reads, out = ways[0].w_x.shape[-2], _units(ways[0])
        if below not in (None, reads):
            apart = len(ways) > 1 and merge != "none" and reads == _units(ways[0])
            problems.append(
                f"layer {layer} reads {reads} features, but layer {layer - 1} returns "
                f"{below}"
                + ("; if the directions never meet, merge is 'none'" if apart else "")
            )
        below = out if len(ways) == 1 else merged_size(merge, out)
    return problems


def ways_of(entry: Any) -> tuple[Any, ...]:
    """The parameters of each direction of a layer."""
    return tuple(entry) if isinstance(entry, Bidirectional) else (entry,)


def _hint(layout, tensors):
    """A hint: other layouts that have all these names, or a prefix of the names."""
    fits = lambda other, names: all(place(other, name) for name in names)
    first = min(tensors, default="")
    for dot in (n for n, letter in enumerate(first) if letter == "."):
        prefix = first[: dot + 1]
        inner = [name.removeprefix(prefix) for name in tensors]
        if all(n.startswith(prefix) for n in tensors) and fits(layout, inner):
            return f"Behind the prefix {prefix!r} the names are right."
    others = [o.name for o in LAYOUTS.values() if o is not layout and fits(o, tensors)]
    return f"The names are those of {', '.join(others)}." if others and tensors else ""
