"""A stack of layers as a folder, as written by ``lstm-jax import``.

weights.safetensors    tensors named ``0.w_x``, ``0.forward.w_x``, ..., of an initial
                       state ``0.carry.h``, ``0.forward.carry.h``, ..., and ``lengths``
stack.json             cells, sizes, directions, activations and clips, and where they
                       came from
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.layers.bidirectional import Bidirectional, Merge
from lstm_jax.core.layers.stack import Stack
from lstm_jax.files import make_folders, write_text, writing_folder
from lstm_jax.interop.errors import InteropError, UnsupportedError, refuse
from lstm_jax.interop.files.described import (
    describe,
    with_activations,
    without_activations,
)
from lstm_jax.interop.files.formats import read_tensors, write_tensors
from lstm_jax.interop.weights.layer import cell_kind, layout_of, read_layer, write_layer
from lstm_jax.interop.weights.stack import (
    cell_of,
    check_layers,
    misfits,
    to_jax,
    ways_of,
)
from lstm_jax.interop.weights.states import (
    DIRECTIONS,
    carry_names,
    carry_tensors,
    check_lengths,
    read_carry,
)

VERSION = 2
READ = (1, 2)
"""Version 1 had no activations, states or lengths."""


class Stored(NamedTuple):
    """The contents of a folder.

    Attributes:
        stack: the `lstm_jax.Stack`; its cells have their activations and clips.
        params: one entry per layer.
        carry: the initial state, one entry per layer, or ``None``.
        lengths: the lengths of the rows, or ``None``.
        given: names of states and lengths that are inputs of the ONNX model, one dict
            per layer, as in `lstm_jax.interop.OnnxLayer`; ``None`` if there are
            none. Pass them to each call: ``carry`` has zeros in their place.
    """

    stack: Stack
    params: tuple[Any, ...]
    carry: tuple[Any, ...] | None = None
    lengths: Any = None
    given: tuple[Mapping[str, str], ...] | None = None


def save_stack(
    directory: str | Path,
    params: Sequence[Any],
    *,
    merge: str = "concat",
    cells: Sequence[Cell] | None = None,
    carry: Sequence[Any] | None = None,
    lengths: Any = None,
    given: Sequence[Mapping[str, str]] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Writes a new folder, completely or not at all.

    Args:
        directory: path of the folder; it must not exist yet.
        params: one entry per layer, all with one direction or all with two.
        merge: how the directions are joined, as in `lstm_jax.Stack`.
        cells: one per layer, if their activations or clips differ from the textbook
            cell of ``params``.
        carry: the initial state, one entry per layer, with or without batch axes;
            ``None`` for a layer is zeros. `load_stored` returns it.
        lengths: the lengths of the rows, ``[B]``. `load_stored` returns them.
        given: the names of states and lengths that each call needs, one dict per layer.
            `load_stored` returns them.
        origin: metadata about where the weights came from, for the reader.

    Raises:
        InteropError: the folder already exists or cannot be written, layers do not fit
            together, or ``cells`` or ``carry`` do not match ``params``.
        UnsupportedError: the converters do not know a cell, or an activation has no
            name.

    >>> import tempfile, jax
    >>> from lstm_jax import init_lstm_stack
    >>> from lstm_jax.interop import load_stack, save_stack
    >>> params = init_lstm_stack(jax.random.key(0), 3, 5, num_layers=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_stack(f"{folder}/mine", params)
    ...     stack, params = load_stack(f"{folder}/mine")
    >>> len(stack.cells)
    2
    """
    check_layers(params)
    directory, params = Path(directory), tuple(params)
    _check(params, merge)
    cells = _cells(params, cells)
    tensors, layers = {}, []
    for n, (entry, cell) in enumerate(zip(params, cells, strict=True)):
        ways = ways_of(entry)
        for way, one in zip(DIRECTIONS[len(ways)], ways, strict=True):
            written = write_layer(layout_of("lstm_jax", cell_kind(one)), one)
            tensors |= {f"{n}.{way}{name}": a for name, a in written.items()}
        layers.append(describe(ways, cell))
    if carry is not None:
        tensors |= carry_tensors(cells, len(ways_of(params[0])), carry)
    if lengths is not None:
        tensors["lengths"] = check_lengths(np.asarray(lengths))
    facts = {"version": VERSION, "merge": merge, "layers": layers}
    facts |= {"carry": carry is not None, "lengths": lengths is not None}
    if given is not None and any(names := _given([*given], len(params))):
        facts["given"] = names
    text = json.dumps(facts | {"origin": dict(origin or {})}, indent=2) + "\n"
    if os.path.lexists(directory):
        raise InteropError(f"{directory} already exists; name a new folder.")
    try:
        make_folders(directory.parent)
        with writing_folder(directory) as aside:
            write_tensors(aside / "weights.safetensors", tensors)
            write_text(aside / "stack.json", text)
    except OSError as error:
        raise InteropError(f"cannot write {directory}: {error.strerror}.") from error


def _given(given, count) -> list[dict[str, str]]:
    """Checks that ``given`` is one dict of text per layer."""
    if len(given) != count:
        raise InteropError(f"given has {len(given)} entries, expected {count}.")
    found = [dict(one) for one in given]
    if not all(isinstance(s, str) for one in found for kv in one.items() for s in kv):
        raise InteropError(f"given is {given}, expected dicts of text.")
    return found


def _check(params, merge):
    if merge not in get_args(Merge):
        raise InteropError(
            f"merge is {merge!r}, expected one of {', '.join(get_args(Merge))}."
        )
    for entry in params:
        cell_of(entry)
    refuse("params is not a stack", misfits(params, merge))


def _cells(params, cells):
    """The cell of every layer. Given cells may differ only in their activations."""
    plain = [cell_of(entry) for entry in params]
    if cells is None:
        return plain
    for n, (cell, own) in enumerate(zip(cells, plain, strict=False)):
        if without_activations(cell) != own:
            raise UnsupportedError(
                f"cells[{n}] is {cell!r}, expected {own!r}, or the same with other "
                f"activations."
            )
    if len(cells) != len(plain):
        raise InteropError(f"cells has {len(cells)} entries, expected {len(plain)}.")
    return list(cells)


def is_stack(directory: str | Path) -> bool:
    """Whether `save_stack` made this folder."""
    return os.path.isfile(Path(directory) / "stack.json")


def read_stored(directory: str | Path) -> Stored:
    """The contents of a folder, as numpy arrays.

    Raises:
        InteropError: `save_stack` did not write the folder, or it is corrupt.
    """
    directory = Path(directory)
    facts = _facts(directory / "stack.json")
    tensors = read_tensors(directory / "weights.safetensors")
    problems, entries, cells = [], [], []
    known = {"lengths"} if facts["lengths"] else set()
    for n, layer in enumerate(facts["layers"]):
        layout = layout_of("lstm_jax", layer["cell"])
        ways = []
        for way in DIRECTIONS[layer["directions"]]:
            start = f"{n}.{way}"
            spell = lambda name, start=start: start + name
            ways.append(read_layer(layout, tensors, problems, spell))
            known |= {spell(name) for t in layout.tensors for name in t.names()}
        if None in ways:
            continue
        entries.append(Bidirectional(*ways) if len(ways) > 1 else ways[0])
        cells.append(with_activations(cell_of(entries[-1]), layer))
        if (found := describe(ways, cells[-1])) != layer:
            problems.append(f"layer {n} is {found}, expected {layer}")
    directions = len(ways_of(entries[0])) if entries else 1
    if facts["carry"]:
        known |= carry_names(cells, directions)
    problems += [f"{name} is unknown" for name in sorted({*tensors} - known)]
    if not problems:
        problems = misfits(entries, facts["merge"])
    refuse(f"{directory}/weights.safetensors does not fit stack.json", problems)
    carry = read_carry(cells, directions, tensors) if facts["carry"] else None
    lengths = tensors.get("lengths", np.zeros(())) if facts["lengths"] else None
    if lengths is not None:
        check_lengths(lengths)
    stack = Stack(cells, bidirectional=directions == 2, merge=facts["merge"])
    given = tuple(_given(facts["given"], len(entries))) if facts["given"] else None
    return Stored(stack, tuple(entries), carry, lengths, given)


def load_stored(directory: str | Path) -> Stored:
    """Everything that `save_stack` or ``lstm-jax import`` saved.

    Raises:
        InteropError: the folder is not one of these, or is corrupt.

    >>> import tempfile, jax, jax.numpy as jnp
    >>> from lstm_jax import Activations, LSTMCell, Stack
    >>> from lstm_jax.interop import load_stored, save_stack
    >>> stack = Stack([LSTMCell(5, Activations(gate="hard_sigmoid"))])
    >>> params = stack.init(jax.random.key(0), in_size=3)
    >>> carry = stack.initial_carry(in_size=3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_stack(f"{folder}/mine", params, cells=stack.cells, carry=carry)
    ...     stored = load_stored(f"{folder}/mine")
    >>> stored.stack.cells[0].activations.gate
    'hard_sigmoid'
    >>> stored.stack(stored.params, stored.carry, jnp.ones((7, 2, 3)))[1].shape
    (7, 2, 5)
    """
    stored = read_stored(directory)
    params, carry, lengths = to_jax((stored.params, stored.carry, stored.lengths))
    return Stored(stored.stack, params, carry, lengths, stored.given)


def load_stack(directory: str | Path) -> tuple[Stack, tuple[Any, ...]]:
    """The stack that `save_stack` or ``lstm-jax import`` saved, and its parameters.

    Raises:
        InteropError: the folder is not one of these, or is corrupt; or a call also
            needs a state or lengths, which `load_stored` returns. States that are all
            inputs of an ONNX model do not count: pass them to each call.

    >>> import tempfile, jax, jax.numpy as jnp
    >>> from lstm_jax import init_lstm_stack
    >>> from lstm_jax.interop import load_stack, save_stack
    >>> params = init_lstm_stack(jax.random.key(0), 3, 5, num_layers=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_stack(f"{folder}/mine", params)
    ...     stack, params = load_stack(f"{folder}/mine")
    >>> stack(params, None, jnp.ones((7, 2, 3)))[1].shape
    (7, 2, 5)
    """
    stored = load_stored(directory)
    if kept := beside_weights(stored):
        raise InteropError(
            f"{directory} has {kept}, and the outputs depend on them; "
            f"lstm_jax.interop.load_stored returns all of it."
        )
    return stored.stack, stored.params


def beside_weights(stored: Stored) -> str:
    """Describes the states and lengths that a call needs; empty if there are none.
    States that are only inputs of a graph do not count, because every stack takes
    those.
    """
    more = {"an initial carry": stored.carry, "lengths": stored.lengths}
    kept = [name for name, value in more.items() if value is not None]
    names = [name for one in stored.given or () for name in one.values()]
    kept += (
        [f"inputs of its own ({', '.join(dict.fromkeys(names))})"]
        if names and kept
        else []
    )
    return " and ".join(kept)


def _facts(path) -> dict[str, Any]:
    """The contents of stack.json, checked because users may have edited it."""
    try:
        if path.stat().st_size > 2**20:
            raise InteropError(f"{path} has more than 1 MiB.")
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["version"] not in READ:
            raise InteropError(
                f"{path} has version {facts['version']!r}, expected {VERSION}."
            )
        layers = [dict(layer) for layer in facts["layers"]]
        known = all(f["directions"] in DIRECTIONS and str(f["cell"]) for f in layers)
        if not layers or not known or facts["merge"] not in get_args(Merge):
            raise InteropError(f"{path} does not describe a stack of known directions.")
        flags = {name: bool(facts.get(name, False)) for name in ("carry", "lengths")}
        given = {"given": facts.get("given") or None}
        return {"merge": facts["merge"], "layers": layers} | flags | given
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, InteropError):
            raise
        raise InteropError(
            f"{path} is missing or corrupt; make it with lstm-jax import."
        ) from error
