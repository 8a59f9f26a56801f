"""The commands ``lstm-jax import`` and ``lstm-jax export``.

A format to export to is a line in `FORMATS`: a function of a `Exported`, the path to
write and the arguments of the command line.
"""

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from lstm_jax.commands.arguments import local_path
from lstm_jax.commands.export_folder import export_folder, needing
from lstm_jax.core.cells.recurrent_dropout import CandidateDropout, RecurrentDropout
from lstm_jax.core.cells.wrapper import Wrapper
from lstm_jax.core.layers.bidirectional import Bidirectional, Merge
from lstm_jax.core.layers.stack import Stack
from lstm_jax.core.primitives.activations import TEXTBOOK
from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.files.formats import FORMATS as READABLE
from lstm_jax.interop.files.formats import write_new, write_tensors
from lstm_jax.interop.files.stored import (
    beside_weights,
    is_stack,
    read_stored,
    save_stack,
)
from lstm_jax.interop.files.weight_file import WeightFile
from lstm_jax.interop.layout import LAYOUTS
from lstm_jax.interop.onnx.exporter import USUAL, to_onnx
from lstm_jax.interop.onnx.file import LIMIT
from lstm_jax.interop.onnx.importer import from_onnx, stack_from_onnx
from lstm_jax.interop.stablehlo import to_stablehlo
from lstm_jax.interop.weights.find import Found
from lstm_jax.interop.weights.layer import cell_kind, layout_of
from lstm_jax.interop.weights.stack import write_stack
from lstm_jax.programs.pieces import Layers
from lstm_jax.programs.program import Program
from lstm_jax.runs.load import best_of
from lstm_jax.tasks.abilities import Exports, ExportsFolder, Folder, require
from lstm_jax.terminal import say

NAMED = tuple(name for name in LAYOUTS if not name.startswith("onnx"))
"""Layouts for files: those of ONNX have no names for a stack of layers."""


class Exported(NamedTuple):
    """What is exported: layers, and the whole model if a task was trained."""

    stack: Stack
    params: tuple[Any, ...]
    task: Any = None
    task_params: Any = None
    other_stacks: int = 0
    """Stacks of the model beside this one."""


def add_commands(commands: Any) -> None:
    """Adds both to the parser's ``commands``."""
    add = commands.add_parser(
        "import",
        help="make a run of another framework's weights",
        description="Makes a run of another framework's weights. Start with "
        "lstm-jax import FILE --list, which shows the layers of a file and the prefix "
        "of each.",
    )
    add.add_argument("file", help=f"weights: {', '.join([*READABLE, '.onnx'])}")
    add.add_argument(
        "--list", action="store_true", help="show the recurrent layers of the file"
    )
    layouts = (*NAMED, "onnx")
    add.add_argument(
        "--layout",
        choices=layouts,
        metavar="LAYOUT",
        help="by default the one that fits",
    )
    add.add_argument("--out", type=local_path, metavar="RUN", help="a new folder")
    add.add_argument(
        "--prefix",
        action="append",
        help="the layer to take, by what stands before the names of its tensors, as "
        "--list shows it; of onnx the name of a node. Several are as many layers, the "
        "lowest first. FORWARD,BACKWARD are two directions of one layer, "
        "and * is every number",
    )
    add.add_argument(
        "--merge",
        choices=get_args(Merge),
        help="how two directions are joined; by default as the file says, or concat",
    )
    add.add_argument(
        "--limit",
        type=int,
        metavar="BYTES",
        help=f"onnx: bytes that the file may have, by default {LIMIT:,}",
    )
    add.add_argument(
        "--weights-only",
        action="store_true",
        help="onnx: leave out initial states and lengths, which you then pass yourself",
    )
    add.set_defaults(command=_import)

    add = commands.add_parser(
        "export",
        help="write the LSTM of a run to a file",
        description="Writes the LSTM of a run to a file. A translator becomes a folder "
        "of files: its encoder, a step of its decoder, and its tokenizers.",
    )
    add.add_argument("run", help="the folder of a run, trained or imported")
    add.add_argument("--format", required=True, choices=tuple(FORMATS))
    add.add_argument("--layout", default="lstm_jax", choices=NAMED, metavar="LAYOUT")
    add.add_argument(
        "--out",
        type=local_path,
        required=True,
        metavar="FILE",
        help="a new file; of a translator a new folder",
    )
    add.add_argument("--prefix", default="", help="put before all names")
    add.add_argument(
        "--batch-first", action="store_true", help="onnx, stablehlo: [B, T, ...]"
    )
    add.add_argument("--opset", type=int, default=USUAL, help="onnx: version")
    add.add_argument(
        "--gradients", action="store_true", help="stablehlo: can be differentiated"
    )
    add.set_defaults(command=_export)


def _import(args: argparse.Namespace) -> int:
    if args.layout is None and Path(args.file).suffix == ".onnx":
        args.layout = "onnx"
    if args.list:
        return _list(args)
    if args.out is None:
        raise InteropError("--out is missing; name a new folder, or pass --list.")
    if os.path.lexists(args.out):
        raise InteropError(f"{args.out} already exists; name a new folder with --out.")
    prefixes = args.prefix or [""]
    facts, left = {}, ()
    if args.layout == "onnx":
        params, facts = _read_onnx(args)
        layouts = ["onnx"]
    elif args.limit is not None or args.weights_only:
        raise InteropError(
            "--limit and --weights-only are for --layout onnx; leave them out."
        )
    else:
        prefixes = [p.replace("/", ".") for p in prefixes]
        file = WeightFile(args.file)
        params, layouts, facts["merge"], left = file.read(
            prefixes, args.layout, args.merge
        )
    origin = {"file": Path(args.file).name, "layout": ", ".join(dict.fromkeys(layouts))}
    save_stack(args.out, params, origin=origin | {"prefix": prefixes}, **facts)
    stack = read_stored(args.out).stack
    say(f"{_describe(stack, params)}, from {args.file}: {args.out}")
    if left:
        more = ", ..." if len(left) > 3 else ""
        say(f"left alone: {len(left)} other tensors ({', '.join(left[:3])}{more})")
    return 0


def _list(args):
    """A line for every recurrent layer of a file."""
    if args.layout == "onnx":
        lines = _onnx_lines(args)
    else:
        lines = WeightFile(args.file).lines(args.layout)
    say(*lines or [f"{args.file} has no recurrent layer."], sep="\n")
    return 0


def _onnx_lines(args):
    """A line for every node that is read, and why others are not."""
    refused = ""
    try:
        layers = _onnx_layers(args)
    except UnsupportedError as error:
        refused = str(error)
        try:
            layers = _onnx_layers(args, weights_only=True)
        except UnsupportedError:
            return [f"refused: {refused}"]
    lines = [_line(layer) for layer in layers]
    for n, layer in enumerate(layers):
        if refused.startswith(f"{layer.name}: "):
            why = refused.removeprefix(f"{layer.name}: ")
            lines[n] += f"; refused: {why}"
            return lines
    return lines + ([f"refused: {refused}"] if refused else [])


def _line(layer):
    ways = layer.params if layer.directions == 2 else (layer.params,)
    units = layer.cell.hidden_size
    sizes = {"D": ways[0].w_x.shape[-2], "H": units, "P": units, "K": ()}
    layout = layout_of("onnx", cell_kind(ways[0])).name
    found = Found(layer.name, (layout,), (sizes,), layer.directions, frozenset())
    return f"{found}{', in reverse' if layer.reverse else ''}{_functions(layer.cell)}"


def _read_onnx(args):
    """The weights, and what else a node says: activations, clips, states, lengths."""
    if args.merge not in (None, "concat"):
        raise InteropError("--merge is not for onnx; leave it out.")
    layers = _onnx_layers(args, weights_only=args.weights_only)
    if args.prefix:
        named = {layer.name: layer for layer in layers}
        if wrong := [name for name in args.prefix if name not in named]:
            raise InteropError(
                f"no layer {wrong[0]!r} in {args.file}. Pass --prefix with one of: "
                f"{'; '.join(map(_line, layers))}."
            )
        layers = [named[name] for name in args.prefix]
    stored = stack_from_onnx(layers, states=True)
    given = [f"{k.name}: {a} = {b}" for k in layers for a, b in k.given.items()]
    if given:
        say(f"inputs of the graph, to be passed to each call: {', '.join(given)}")
    facts = {"cells": stored.stack.cells, "carry": stored.carry}
    return stored.params, facts | {"lengths": stored.lengths, "given": stored.given}


def _onnx_layers(args, weights_only=False):
    limit = LIMIT if args.limit is None else args.limit
    options = dict(limit=limit, weights_only=weights_only)
    return needing("onnx", from_onnx, args.file, **options)


def _export(args: argparse.Namespace) -> int:
    if os.path.lexists(args.out):
        raise InteropError(f"{args.out} already exists; name a new file with --out.")
    source = _open(args)
    if isinstance(source, Folder):
        export_folder(source, args)
        return 0
    FORMATS[args.format](source, args.out, args)
    form = args.layout if FORMATS[args.format] is _tensors else args.format
    say(f"{_describe(source.stack, source.params)}, in {form}: {args.out}")
    return 0


def _open(args) -> Exported | Folder:
    directory = args.run
    if is_stack(directory):
        stored = read_stored(directory)
        if kept := beside_weights(stored):
            raise UnsupportedError(
                f"{directory} has {kept}, and writing them to a file is not supported "
                f"yet; lstm_jax.interop.load_stored returns them."
            )
        return Exported(stored.stack, stored.params)
    _, task, params = best_of(directory)
    if isinstance(task, ExportsFolder):
        return task.folder(params, batch_first=args.batch_first)
    advice = "save its weights from Python (lstm_jax.load_run)"
    task = require(task, Exports, "be exported", advice)
    pieces = task.program(params).pieces
    first, *others = [piece for piece in pieces if isinstance(piece, Layers)]
    return Exported(first.stack, tuple(first.params), task, params, len(others))


def _describe(stack, params):
    ways = " in two directions" if stack.bidirectional else ""
    ways += f" joined by {stack.merge}" if ways and stack.merge != "concat" else ""
    ways += f", each layer with a {stack.skip} connection" if stack.skip else ""
    first = params[0].forward if stack.bidirectional else params[0]
    cells = ", ".join(map(_cell, stack.cells))
    return f"{cells}{ways} on {first.w_x.shape[-2]} features"


def _cell(cell):
    return f"{type(cell).__name__}({cell.hidden_size}{_functions(cell)})"


def _functions(cell):
    """What is not as in the textbook."""
    activations = getattr(cell, "activations", TEXTBOOK)
    others = [
        f", {field.name}={value!r}"
        for field in dataclasses.fields(activations)
        if (value := getattr(activations, field.name)) != getattr(TEXTBOOK, field.name)
    ]
    return "".join(others)


def _check_weights_say_all(stack, layout):
    """Refuses cells that compute something else than their weights say elsewhere."""
    if layout.partition(".")[0] == "lstm_jax":
        return
    for cell in stack.cells:
        while isinstance(cell, RecurrentDropout | CandidateDropout):
            cell = cell.cell  # nothing in evaluation
        other = getattr(cell, "activations", TEXTBOOK) != TEXTBOOK
        if other or isinstance(cell, Wrapper):
            raise UnsupportedError(
                f"{cell!r} computes something else than its weights alone say, for "
                f"which layout {layout} has no place; --format stablehlo keeps all of "
                f"it, and --layout lstm_jax the weights alone."
            )


def _tensors(source: Exported, path: Path, args: argparse.Namespace) -> None:
    """A file of tensors in the layout asked for."""
    if args.batch_first or args.gradients or args.opset != USUAL:
        raise InteropError(
            "--batch-first, --opset and --gradients are for onnx and stablehlo; leave "
            "them out."
        )
    if path.suffix != f".{args.format}":
        raise InteropError(
            f"--out is {path}, expected a name that ends in .{args.format}."
        )
    if source.other_stacks:
        raise UnsupportedError(
            f"the model has {1 + source.other_stacks} stacks of layers, and a file of "
            f"weights holds one; --format stablehlo keeps all, and from Python "
            f"(lstm_jax.load_run) so does run.params."
        )
    ways = [
        way
        for entry in source.params
        for way in (entry if isinstance(entry, Bidirectional) else (entry,))
    ]
    kinds = {cell_kind(way) for way in ways}
    if len(kinds) > 1 or source.stack.stacked:
        raise UnsupportedError(
            f"{path} would mix layers of {', '.join(sorted(kinds))}, expected one kind."
        )
    (kind,) = kinds
    _check_weights_say_all(source.stack, args.layout)
    layout = LAYOUTS[args.layout]
    if layout.cell != kind:
        layout = layout_of(args.layout.partition(".")[0], kind)
    tensors = write_stack(layout, source.params)
    write_tensors(path, {args.prefix + name: a for name, a in tensors.items()})


def _program(source: Exported, args: argparse.Namespace) -> Program:
    """The whole model of a task, or the bare stack of an import."""
    if args.prefix or args.layout != "lstm_jax":
        raise InteropError("--prefix and --layout are for tensors; leave them out.")
    if source.task is not None:
        return source.task.program(source.task_params, batch_first=args.batch_first)
    recurrent = Layers(source.stack, source.params)
    return Program([recurrent], batch_first=args.batch_first)


def _onnx(source: Exported, path: Path, args: argparse.Namespace) -> None:
    """A file of ONNX."""
    model = needing("onnx", to_onnx, _program(source, args), opset=args.opset)
    write_new(path, model.SerializeToString())


def _stablehlo(source: Exported, path: Path, args: argparse.Namespace) -> None:
    """What ``jax.export.deserialize`` reads; with gradients, the weights beside it."""
    program, options = _program(source, args), {"gradients": args.gradients}
    data = needing("stablehlo", to_stablehlo, program, **options)
    if args.gradients:
        weights = {name: np.asarray(a) for name, a in program.weights.items()}
        write_tensors(path.with_name(f"{path.name}.safetensors"), weights)
    write_new(path, data)


FORMATS = {
    "safetensors": _tensors,
    "npz": _tensors,
    "pt": _tensors,
    "onnx": _onnx,
    "stablehlo": _stablehlo,
}
"""Formats to export to."""
