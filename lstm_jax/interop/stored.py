"""A stack of layers as a folder: what ``lstm-jax import`` makes.

weights.safetensors    tensors named ``0.w_x``, ``0.forward.w_x``, ...; initial states
stack.json             cells, sizes, directions, activations, and where they came from
"""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from lstm_jax.core.bidirectional import Bidirectional, Merge
from lstm_jax.core.cell import Cell
from lstm_jax.interop.engine import cell_kind, layout_of, read_layer, write_layer
from lstm_jax.interop.errors import InteropError, UnsupportedError, refuse
from lstm_jax.interop.files import read_tensors, write_tensors
from lstm_jax.interop.stack import stack_of, to_jax
from lstm_jax.interop.stored_start import (
    cell_of,
    describe_cell,
    read_states,
    state_tensors,
)

VERSION = 1
WAYS = {1: ("",), 2: ("forward.", "backward.")}


def save_stack(
    directory: str | Path,
    params: Sequence[Any],
    *,
    merge: str = "concat",
    origin: Mapping[str, Any] | None = None,
    cells: Sequence[Cell] | None = None,
    carries: Sequence[Any] | None = None,
    lengths: Any = None,
) -> None:
    """Writes a new folder; it is there whole, or not at all.

    Args:
        directory: must not be there yet.
        params: one entry a layer.
        merge: how directions are joined, as in `lstm_jax.Stack`.
        origin: facts about where the weights came from, for the reader.
        cells: of the stack, if they have activations or clips of their own.
        carries, lengths: what the model begins with, as `stack_from_onnx` returns them.

    Raises:
        InteropError: the folder is there already, or cannot be written.
        UnsupportedError: a cell that the converters do not know.
    """
    directory = Path(directory)
    tensors, layers = {}, []
    plain = stack_of(params).cells
    for n, entry in enumerate(params):
        ways = entry if isinstance(entry, Bidirectional) else (entry,)
        for way, one in zip(WAYS[len(ways)], ways, strict=True):
            written = write_layer(layout_of("lstm_jax", cell_kind(one)), one)
            tensors |= {f"{n}.{way}{name}": a for name, a in written.items()}
        more = describe_cell((cells or plain)[n], plain[n])
        layers.append(_describe(ways) | more)
    tensors |= state_tensors(_starts(layers), carries, lengths)
    facts = {"version": VERSION, "merge": merge, "layers": layers}
    text = json.dumps(facts | {"origin": dict(origin or {})}, indent=2) + "\n"
    if directory.exists():
        raise InteropError(f"{directory} is there already; name a new folder.")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=directory.parent, prefix=directory.name))
    except OSError as error:
        raise InteropError(f"cannot write {directory}: {error.strerror}.") from error
    try:
        write_tensors(aside / "weights.safetensors", tensors)
        (aside / "stack.json").write_text(text, encoding="utf-8")
        aside.chmod(0o755)
        os.rename(aside, directory)
    except OSError as error:
        raise InteropError(f"cannot write {directory}: {error.strerror}.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _starts(layers):
    """Of every layer, what the names of its directions begin with."""
    return [
        [f"{n}.{way}" for way in WAYS[facts["directions"]]]
        for n, facts in enumerate(layers)
    ]


def _describe(ways):
    first, size = ways[0], {}
    if hasattr(first, "w_hr"):
        size = {
            "hidden_size": first.w_hr.shape[0],
            "projection_size": first.w_hr.shape[1],
        }
    sizes = {"in_size": first.w_x.shape[0], "hidden_size": first.w_h.shape[0]} | size
    return {"cell": cell_kind(first), "directions": len(ways)} | sizes


def is_stack(directory: str | Path) -> bool:
    """Whether `save_stack` made this folder."""
    return (Path(directory) / "stack.json").is_file()


def read_stored(directory: str | Path, *, states: bool = False) -> tuple[Any, ...]:
    """The stack and its parameters, of numpy arrays; see `load_stack`.

    Raises:
        InteropError: the folder is not one of `save_stack`, or is damaged.
        UnsupportedError: it has states or lengths, and ``states`` is false.
    """
    directory = Path(directory)
    merge, layers = _facts(directory / "stack.json")
    tensors = read_tensors(directory / "weights.safetensors")
    own = [facts.pop("activations", None) for facts in layers]
    unknown, problems, entries = set(tensors), [], []
    for starts, facts in zip(_starts(layers), layers, strict=True):
        layout = layout_of("lstm_jax", facts["cell"])
        ways = []
        for start in starts:
            spell = lambda name, start=start: start + name
            ways.append(read_layer(layout, tensors, problems, spell))
            unknown -= {spell(name) for t in layout.tensors for name in t.names()}
        if None not in ways and _describe(ways) != facts:
            problems.append(
                f"layer {len(entries)} is {_describe(ways)}, expected {facts}"
            )
        entries.append(Bidirectional(*ways) if len(ways) > 1 else ways[0])
    head = f"{directory}/weights.safetensors does not fit stack.json"
    refuse(head, problems)
    stack = stack_of(entries, merge=merge)
    cells = tuple(map(cell_of, stack.cells, own))
    stack = dataclasses.replace(stack, cells=cells)
    *start, known = read_states(_starts(layers), cells, tensors, problems)
    refuse(head, problems + [f"{name} is unknown" for name in sorted(unknown - known)])
    if states:
        return stack, tuple(entries), *start
    if known:
        raise UnsupportedError(
            f"{directory} has initial states or lengths; stack, params, carries, "
            f"lengths = load_stack({str(directory)!r}, states=True) has all of it."
        )
    return stack, tuple(entries)


def load_stack(directory: str | Path, *, states: bool = False) -> tuple[Any, ...]:
    """The stack that `save_stack` or ``lstm-jax import`` kept, and its parameters.

    Args:
        directory: a folder.
        states: the answer has two entries more, ``carries`` and ``lengths``, as a call
            of the stack takes them: what an imported model begins with, or ``None``.

    Raises:
        InteropError: the folder is not one of these, or is damaged.
        UnsupportedError: it has states or lengths, and ``states`` is false.

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
    stack, params, *start = read_stored(directory, states=states)
    return stack, to_jax(params), *to_jax(start)


def _facts(path):
    """``merge`` and the layers of stack.json, which people may have edited."""
    try:
        if path.stat().st_size > 2**20:
            raise InteropError(f"{path} has more than 1 MiB.")
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["version"] != VERSION:
            raise InteropError(
                f"{path} has version {facts['version']!r}, expected {VERSION}."
            )
        layers = [dict(layer) for layer in facts["layers"]]
        known = all(f["directions"] in WAYS and str(f["cell"]) for f in layers)
        if not layers or not known or facts["merge"] not in get_args(Merge):
            raise InteropError(f"{path} describes no stack of known directions.")
        return facts["merge"], layers
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, InteropError):
            raise
        raise InteropError(
            f"{path} is missing or damaged; make it with lstm-jax import."
        ) from error
