"""Several layers in one dict of tensors, told apart by their names."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.core.bidirectional import Bidirectional, Merge, merged_size
from lstm_jax.core.cell import Cell
from lstm_jax.core.cifg import CIFGLSTMCell
from lstm_jax.core.gru import GRUCell, ResetBeforeGRUCell
from lstm_jax.core.layer_norm import LayerNormLSTMCell
from lstm_jax.core.lstm import LSTMCell
from lstm_jax.core.peephole import PeepholeLSTMCell
from lstm_jax.core.projection import LSTMPCell
from lstm_jax.core.rnn import RNNCell
from lstm_jax.core.stack import Stack
from lstm_jax.interop.engine import cell_kind, is_cell, read_layer, write_layer
from lstm_jax.interop.errors import InteropError, refuse
from lstm_jax.interop.layout import LAYOUTS, Layout

CELLS = {
    "LSTMParams": LSTMCell,
    "PeepholeLSTMParams": PeepholeLSTMCell,
    "LayerNormLSTMParams": LayerNormLSTMCell,
    "CIFGLSTMParams": CIFGLSTMCell,
    "GRUParams": GRUCell,
    "ResetBeforeGRUParams": ResetBeforeGRUCell,
    "RNNParams": RNNCell,
}


def stack_of(params: Sequence[Any], **facts: Any) -> Stack:
    """The `lstm_jax.Stack` that takes these parameters.

    Args:
        params: one entry a layer, as the converters return them for several layers; of
            a single cell, ``[params]``.
        **facts: what weights do not tell: ``merge``, ``skip``, dropout; see
            `lstm_jax.Stack`.

    Raises:
        InteropError: ``params`` is not a sequence of layers.
        UnsupportedError: parameters of a cell that the converters do not know.

    >>> import jax.numpy as jnp
    >>> from lstm_jax import init_lstm_stack
    >>> from lstm_jax.interop import stack_of
    >>> params = init_lstm_stack(jax.random.key(0), 3, 5, num_layers=2)
    >>> stack = stack_of(params)
    >>> carries, hs = stack(params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape
    (7, 2, 5)
    """
    if is_cell(params) or isinstance(params, Bidirectional) or not len(params):
        raise InteropError(
            f"params is {type(params).__name__}, expected one entry a layer; "
            f"pass [params] for a single one."
        )
    two_ways = isinstance(params[0], Bidirectional)
    cells = [_cell(p.forward if two_ways else p) for p in params]
    return Stack(cells, bidirectional=two_ways, **facts)


def _cell(params) -> Cell:
    name, _ = type(params).__name__, cell_kind(params)
    if name == "LSTMPParams":
        return LSTMPCell(*params.w_hr.shape, projection_bias=params.b_hr is not None)
    return CELLS[name](_units(params))


def _units(params):
    """Units of a cell, by the recurrent weights, whose rows are the hidden state's."""
    return params.w_h.shape[0]


def read_stack(
    layout: Layout, tensors: Mapping[str, np.ndarray], merge: Merge = "concat"
) -> tuple[Any, ...]:
    """Every layer's parameters, of numpy arrays; of two ways a `Bidirectional`.

    Args:
        layout: a row of the table; its ``place`` tells layers and ways by their names.
            Names without a place are a single layer's.
        tensors: flat, by their names.
        merge: how two directions become the input of the layer above.

    Raises:
        InteropError: names that are unknown or missing, shapes that do not fit: all are
            named. If the names are those of other layouts, these are too.
    """
    base = _base_names(layout)
    found = {name: _place(layout, base, name) for name in tensors}
    problems = [f"{name} is unknown" for name, place in found.items() if place is None]
    places = {place for place in found.values() if place}
    if not places:
        problems.append("there are no weights of a layer")
    entries = []
    if not problems:
        entries = list(_read_layers(layout, tensors, places, problems))
    if not problems:
        _check_sizes(entries, merge, problems)
    refuse(f"tensors do not fit layout {layout.name}", problems, _hint(layout, tensors))
    return tuple(entries)


def write_stack(layout: Layout, entries: Sequence[Any]) -> dict[str, np.ndarray]:
    """The inverse of `read_stack`; raises as `engine.write_layer`."""
    tensors = {}
    for layer, entry in enumerate(entries):
        ways = entry if isinstance(entry, Bidirectional) else (entry,)
        for backward, params in enumerate(ways):
            way = backward if len(ways) > 1 else None
            for name, array in write_layer(layout, params).items():
                tensors[_spell(layout, layer, way, name)] = array
    return tensors


def to_jax(entries: Any) -> Any:
    """The same of JAX arrays, in the dtypes that JAX is set to."""
    return jax.tree.map(jnp.asarray, entries)


def _base_names(layout):
    return {name for tensor in layout.tensors for name in tensor.names()}


def _spell(layout, layer, backward, name):
    """The name of a tensor in a stack; ``backward`` is ``None`` for one way."""
    if layer is None:
        return name
    way = "" if backward is None else ("forward.", "backward.")[backward]
    reverse = "_reverse" if backward else ""
    return layout.place.format(name=name, layer=layer, way=way, reverse=reverse)


def _place(layout, base, name):
    """``(layer, backward)`` of a name, ``(None, None)`` of a single cell's."""
    if name in base:
        return None, None
    pattern = re.escape(layout.place)
    for field, inner in {
        "name": "(?P<name>.+?)",
        "layer": r"(?P<layer>0|[1-9]\d{0,8})",
        "way": r"(?P<way>forward\.|backward\.)?",
        "reverse": "(?P<reverse>_reverse)?",
    }.items():
        pattern = pattern.replace(re.escape("{" + field + "}"), inner)
    match = re.fullmatch(pattern, name, flags=re.ASCII)
    if match is None or match["name"] not in base:
        return None
    groups = match.groupdict()
    if "way" in groups:
        named = {None: None, "forward.": False, "backward.": True}
        return int(match["layer"]), named[groups["way"]]
    return int(match["layer"]), groups["reverse"] is not None


def _read_layers(layout, tensors, places, problems):
    layers, ways = _layers_and_ways(layout, places, len(tensors), problems)
    for layer in layers:

        def read(way, layer=layer):
            spell = lambda name: _spell(layout, layer, way, name)
            return read_layer(layout, tensors, problems, spell)

        entry = tuple(map(read, ways))
        yield Bidirectional(*entry) if len(ways) > 1 else entry[0]


def _layers_and_ways(layout, places, count, problems):
    """What there must be, by the names that are there."""
    numbers, ways = ({*part} for part in zip(*places, strict=True))
    if (None in numbers and len(numbers) > 1) or (None in ways and len(ways) > 1):
        problems.append("names of one cell, one way and two ways are mixed")
    elif None not in numbers and max(numbers) >= count:
        problems.append(f"layer {max(numbers)} is named by one of {count} tensors")
    if problems:
        return [], []
    layers = [None] if None in numbers else range(max(numbers) + 1)
    if ways == {False} and "{way}" not in layout.place:
        return layers, [None]
    return layers, [None] if None in ways else [False, True]


def _check_sizes(entries, merge, problems):
    """Both ways are alike, and every layer reads what the one below puts out."""
    below = None
    for layer, entry in enumerate(entries):
        ways = entry if isinstance(entry, Bidirectional) else (entry,)
        shapes = [[np.shape(a) for a in jax.tree.leaves(way)] for way in ways]
        if type(ways[0]) is not type(ways[-1]) or shapes[0] != shapes[-1]:
            problems.append(f"the two directions of layer {layer} differ")
        reads, out = ways[0].w_x.shape[0], _units(ways[0])
        if below not in (None, reads):
            problems.append(
                f"layer {layer} reads {reads} features, but layer {layer - 1} puts "
                f"out {below}"
            )
        below = out if len(ways) == 1 else merged_size(merge, out)


def _hint(layout, tensors):
    """Layouts that have all of these names, or a prefix that is in front of them."""
    fits = lambda other, names: all(_place(other, _base_names(other), n) for n in names)
    first = min(tensors, default="")
    for dot in (n for n, letter in enumerate(first) if letter == "."):
        prefix = first[: dot + 1]
        inner = [name.removeprefix(prefix) for name in tensors]
        if all(n.startswith(prefix) for n in tensors) and fits(layout, inner):
            return f"Behind the prefix {prefix!r} the names are right."
    others = [o.name for o in LAYOUTS.values() if o is not layout and fits(o, tensors)]
    return f"The names are those of {', '.join(others)}." if others and tensors else ""
