"""Converts one layer from the tensors of any layout to our parameters, and back.

Tensors are cut into parts and gates, biases and signs are adjusted, and everything is
concatenated again in the other layout. Our own parameters are a layout like any other.
Everything is numpy here, so values keep their dtype whatever JAX is set to.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from lstm_jax.core.cells.cifg import CIFGLSTMParams
from lstm_jax.core.cells.conv import ConvLSTMParams
from lstm_jax.core.cells.gru import GRUParams, ResetBeforeGRUParams
from lstm_jax.core.cells.layer_norm import LayerNormLSTMParams
from lstm_jax.core.cells.lstm import LSTMParams
from lstm_jax.core.cells.peephole import PeepholeLSTMParams
from lstm_jax.core.cells.projection import LSTMPParams
from lstm_jax.core.cells.rnn import RNNParams
from lstm_jax.interop.errors import UnsupportedError, refuse
from lstm_jax.interop.layout import GATES, LAYOUTS, Layout, Tensor

Arrays = Mapping[str, Any]
Parts = dict[str, dict[str, np.ndarray]]
"""Maps part and gate to an array. A part without gates has the gate ``""``."""

KINDS = {
    LSTMParams: "lstm",
    PeepholeLSTMParams: "lstm",
    LSTMPParams: "lstm",
    LayerNormLSTMParams: "lstm",
    CIFGLSTMParams: "cifg",
    GRUParams: "gru",
    ResetBeforeGRUParams: "gru_reset_before",
    RNNParams: "rnn",
    ConvLSTMParams: "conv_lstm",
}
"""Our parameter classes, with the kind of cell in the layouts."""

MATRICES = {"w_x", "w_h", "w_hr"}
WORDS = {
    "p": "peepholes",
    "w_hr": "a projection",
    "b_hr": "a bias of its projection",
    "gain_x": "layer normalisation",
}


def layout_of(family: str, cell: str) -> Layout:
    """The layout of a framework for a cell; raises an error if there is none."""
    its = [one for one in LAYOUTS.values() if one.name.partition(".")[0] == family]
    for layout in its:
        if layout.cell == cell:
            return layout
    known = dict.fromkeys(layout.cell for layout in its)
    raise UnsupportedError(
        f"{cell!r} is not a cell of {family!r} that is converted; there are "
        f"{', '.join(known)}."
    )


def is_cell(params: Any) -> bool:
    """Whether these are the parameters of a single cell, of any kind."""
    return isinstance(params, tuple) and hasattr(params, "w_x")


def cell_kind(params: Any) -> str:
    """The kind of cell of these parameters; raises an error if no layout has it."""
    if type(params) not in KINDS:
        raise UnsupportedError(
            f"{type(params).__name__} has no equal in other frameworks here; "
            f"expected one of {', '.join(kind.__name__ for kind in KINDS)}."
        )
    return KINDS[type(params)]


def read_layer(
    layout: Layout,
    tensors: Arrays,
    problems: list[str],
    spell: Callable[[str], str] = str,
) -> Any:
    """Our parameters as numpy arrays, from the tensors of one layer.

    ``spell`` maps a name in the layout to a name in ``tensors``. Missing or misshapen
    tensors are added to ``problems``, and the result is ``None``.
    """
    parts = _cut_all(layout, tensors, problems, spell)
    return None if parts is None else _params(_to_ours(parts, layout), layout.cell)


def write_layer(layout: Layout, params: Any) -> dict[str, np.ndarray]:
    """The tensors of one layer, from our parameters.

    Raises:
        UnsupportedError: the layout has no place for a parameter.
        InteropError: the shapes do not match.
    """
    kind = cell_kind(params)
    if kind != layout.cell:
        raise UnsupportedError(
            f"{type(params).__name__} is not a cell of kind {layout.cell}, which "
            f"layout {layout.name} is for; expected "
            f"{' or '.join(k.__name__ for k, c in KINDS.items() if c == layout.cell)}."
        )
    fields = {name: a for name, a in params._asdict().items() if a is not None}
    problems: list[str] = []
    parts = _cut_all(layout_of("lstm_jax", kind), fields, problems, str)
    refuse(f"{type(params).__name__} is not in order", problems)
    assert parts is not None
    return _join_all(layout, _to_theirs(parts, layout, type(params).__name__))


# Tensors to parts, and back


def _cut_all(layout, tensors, problems, spell) -> Parts | None:
    """Cuts every tensor that is present into parts and gates."""
    names = {spell(name) for tensor in layout.tensors for name in tensor.names()}
    arrays = {name: np.asarray(tensors[name]) for name in names if name in tensors}
    sizes = layer_sizes(layout, _shapes(arrays), problems, spell)
    if sizes is None:
        return None
    parts: Parts = {}
    for tensor, name in _wanted(layout, arrays, spell):
        _cut(tensor, name, arrays[spell(name)], sizes, parts)
    return parts


def _shapes(arrays):
    floats = lambda a: jnp.issubdtype(a.dtype, jnp.floating)
    return {name: a.shape if floats(a) else None for name, a in arrays.items()}


def layer_sizes(
    layout: Layout,
    shapes: Mapping[str, tuple[int, ...] | None],
    problems: list[str],
    spell: Callable[[str], str] = str,
) -> dict[str, Any] | None:
    """``D``, ``H``, ``P`` and the spatial axes ``K`` of one layer, from its shapes.

    An array that is not floating point has the shape ``None``. Missing or misshapen
    tensors are added to ``problems``, and the result is ``None``.
    """
    before = len(problems)
    wanted = [*_wanted(layout, shapes, spell)]
    for _, name in wanted:
        if spell(name) not in shapes:
            problems.append(f"{spell(name)} is missing")
        elif shapes[spell(name)] is None:
            problems.append(f"{spell(name)} does not hold floating-point numbers")
    if len(problems) > before:
        return None
    given = {(tensor, name): shapes[spell(name)] for tensor, name in wanted}
    sizes = _sizes(layout, given, problems, spell)
    for (tensor, name), shape in given.items() if sizes else ():
        expected, said = _shape(tensor, name, sizes)
        if shape != expected:
            problems.append(
                f"{spell(name)} has shape {shape}, expected {expected}{said}"
            )
    return sizes if len(problems) == before else None


def _wanted(layout, there, spell) -> Iterator[tuple[Tensor, str]]:
    """Every tensor that must be present: the required ones, and whole groups."""
    groups = {
        tensor.group
        for tensor in layout.tensors
        for name in tensor.names()
        if spell(name) in there
    }
    for tensor in layout.tensors:
        if not tensor.group or tensor.group in groups:
            yield from ((tensor, name) for name in tensor.names())


def _sizes(layout, shapes, problems, spell):
    """The sizes, from the tensors that determine them; or ``None`` and a problem."""
    first = lambda part: next(((t, n) for t, n in shapes if part in t.parts), None)
    found = first("w_x")
    assert found is not None, "checked before"
    tensor, name = found
    shape, blocks = shapes[tensor, name], max(len(tensor.names()[name]), 1)
    *space, rows, columns = shape if len(shape) > 1 else (0, 0)
    if tensor.transposed:
        rows, columns = columns, rows
    if bool(space) != layout.spatial or columns % blocks or 0 in (rows, columns):
        expected = f"[{blocks}H, D]" if tensor.transposed else f"[D, {blocks}H]"
        expected = expected.replace("D", "D + H") if tensor.parts[1:] else expected
        expected = expected.replace("[", "[*K, ") if layout.spatial else expected
        problems.append(f"{spell(name)} has shape {shape}, expected {expected}")
        return None
    H = P = columns // blocks
    projection = first("w_hr")
    if projection is not None and len(shapes[projection]) == 2:
        P = shapes[projection][not projection[0].transposed]
    D = rows - (P if tensor.parts[1:] else 0)
    if D < 1:
        problems.append(
            f"{spell(name)} has {rows} rows, expected those of the input above "
            f"{P} of the state"
        )
        return None
    return {"D": D, "H": H, "P": P, "K": tuple(space)}


def _rows(part, sizes):
    return sizes[{"w_x": "D", "w_h": "P", "w_hr": "H"}[part]]


def _shape(tensor, name, sizes):
    """The shape that a tensor must have, and why."""
    width = sizes["P" if tensor.parts[0].endswith("hr") else "H"]
    columns = width * max(len(tensor.names()[name]), 1)
    said = f" for {', '.join(f'{k}={v}' for k, v in sizes.items() if v != ())}"
    if tensor.parts[0] in MATRICES:
        rows = sum(_rows(part, sizes) for part in tensor.parts)
        shape = (columns, rows) if tensor.transposed else (rows, columns)
        return (*sizes["K"], *shape), said
    count = len(tensor.parts)
    return ((count, columns) if tensor.stacked else (count * columns,)), said


def _cut(tensor, name, array, sizes, parts):
    array = array.T if tensor.transposed else array
    if tensor.parts[0] in MATRICES:
        ends = np.cumsum([_rows(part, sizes) for part in tensor.parts])[:-1]
        pieces = np.split(array, ends)
    else:
        pieces = np.split(array.reshape(-1), len(tensor.parts))
    gates = tensor.names()[name]
    for part, piece in zip(tensor.parts, pieces, strict=True):
        blocks = np.split(piece, max(len(gates), 1), axis=-1)
        blocks = [*map(_from_memory, blocks)] if tensor.cudnn else blocks
        found = dict(zip(gates or [""], blocks, strict=True))
        found.pop("_", None)
        parts.setdefault(part, {}).update(found)


def _join_all(layout, parts: Parts) -> dict[str, np.ndarray]:
    """The inverse of `_cut_all`, for the parts that are there."""
    tensors = {}
    for tensor in layout.tensors:
        if tensor.parts[0] in parts:
            for name, gates in tensor.names().items():
                tensors[name] = _join(tensor, gates, parts)
    return tensors


def _join(tensor, gates, parts):
    pieces = []
    for part in tensor.parts:
        blocks, there = [], parts[part]
        unread = np.zeros_like(next(iter(there.values())))
        for gate in gates or [""]:
            block = unread if gate == "_" else there[gate]
            blocks.append(_to_memory(block) if tensor.cudnn else block)
        pieces.append(np.concatenate(blocks, axis=-1))
    array = np.stack(pieces) if tensor.stacked else np.concatenate(pieces)
    return np.ascontiguousarray(array.T if tensor.transposed else array)


def _from_memory(block):
    """The memory of ``block`` is a matrix ``[H, rows]``; returns its transpose."""
    rows, H = block.shape
    return block.reshape(H, rows).T


def _to_memory(matrix):
    return matrix.T.reshape(matrix.shape)


def _params(parts: Parts, cell: str) -> Any:
    """Our parameters, from parts in our order."""
    fields = _join_all(layout_of("lstm_jax", cell), parts)
    for kind in (kind for kind, its in KINDS.items() if its == cell):
        if set(fields) in (set(kind._fields), {*kind._fields} - {"b_hr"}):
            return kind(**fields)
    raise UnsupportedError(
        f"no cell here has all of {', '.join(fields)}; peepholes, a projection and "
        f"layer normalisation are cells of their own."
    )


# Parts to our conventions, and back


def _to_ours(parts: Parts, layout: Layout) -> Parts:
    """Our conventions: one bias (two in a GRU's candidate), nothing added at run time,
    no negated gates.
    """
    some = next(iter(parts["w_x"].values()))
    zero = np.zeros_like(some, shape=some.shape[-1:])
    b_x: dict[str, Any] = parts.pop("b_x", {})
    b_h: dict[str, Any] = parts.pop("b_h", {})
    own = "n" if layout.cell == "gru" else ""
    bias: dict[str, Any] = {
        gate: _sum(b_x.get(gate), None if gate in own else b_h.get(gate), zero)
        for gate in GATES[layout.cell]
    }
    if layout.forget_bias:
        bias["f"] = bias["f"] + bias["f"].dtype.type(layout.forget_bias)
    parts["b_x"] = bias
    if own:
        parts["b_h"] = {own: b_h.get(own, zero)}
    for part in ("shift_x", "shift_h"):
        if "gain_x" in parts and part not in parts:
            parts[part] = dict.fromkeys(GATES[layout.cell], np.asarray(zero))
    return _negate(parts, layout.negated)


def _to_theirs(parts: Parts, layout: Layout, kind: str) -> Parts:
    """The inverse; if there are two biases, the second is zero."""
    parts, places = _negate(parts, layout.negated), layout.parts()
    bias, own = parts.pop("b_x"), parts.pop("b_h", {})
    if layout.forget_bias:
        bias["f"] = bias["f"] - bias["f"].dtype.type(layout.forget_bias)
    for part in ("shift_x", "shift_h"):
        if part in parts and part not in places and "gain_x" in places:
            shift = parts.pop(part)
            bias = {gate: _sum(b, shift[gate], b) for gate, b in bias.items()}
    on_x, on_h = (places.get(part, set()) for part in ("b_x", "b_h"))
    for gate, b in own.items():
        if gate not in on_h and np.any(b):
            raise UnsupportedError(
                f"{kind} has a bias b_h{gate} that is not 0, for which layout "
                f"{layout.name} has no place."
            )
    zero = np.zeros_like(next(iter(bias.values())))
    if on_x:
        parts["b_x"] = bias | dict.fromkeys(on_x - {*bias, "_"}, zero)
    if on_h:
        parts["b_h"] = {gate: own.get(gate, zero) for gate in on_h} if on_x else bias
    for part in parts:
        if part not in places:
            raise UnsupportedError(
                f"{kind} has {WORDS.get(part, part)}, for which layout {layout.name} "
                f"has no place."
            )
    return parts


def _sum(a, b, zero):
    given = [bias for bias in (a, b) if bias is not None]
    with np.errstate(
        invalid="ignore", over="ignore"
    ):  # values that are not finite stay so
        return functools.reduce(np.add, given) if given else zero


def _negate(parts: Parts, gates: str) -> Parts:
    for part in ("w_x", "w_h", "b_x", "b_h"):
        for gate in set(gates) & set(parts.get(part, {})):
            parts[part][gate] = -parts[part][gate]
    return parts
