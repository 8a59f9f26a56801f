"""The commands ``lstm-jax import`` and ``lstm-jax export``.

A format to export to is a line in `FORMATS`: a function of a `Source`, the path to
write and the arguments of the command line.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_args

from lstm_jax.core.bidirectional import Bidirectional, Merge
from lstm_jax.core.stack import Stack
from lstm_jax.interop.engine import cell_kind, layout_of
from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.files import read_tensors, write_tensors
from lstm_jax.interop.layout import LAYOUTS
from lstm_jax.interop.stack import read_stack, stack_of, write_stack
from lstm_jax.interop.stored import is_stack, read_stored, save_stack

NAMED = tuple(name for name in LAYOUTS if not name.startswith("onnx"))
"""Layouts for files: those of ONNX have no names for a stack of layers."""


class Source(NamedTuple):
    """What is exported: layers, and the whole model if a task was trained."""

    stack: Stack
    params: tuple[Any, ...]
    task: Any = None
    task_params: Any = None


def add_commands(commands: Any, trained: Callable[[str], tuple[Any, Any, Any]]) -> None:
    """Adds both to the parser's ``commands``; ``trained`` opens the folder of a run as
    ``(run, task, params)``."""
    add = commands.add_parser(
        "import", help="make a run of another framework's weights"
    )
    add.add_argument("file", help="weights: .safetensors, .npz, .pt or .pth")
    add.add_argument("--layout", required=True, choices=NAMED, metavar="LAYOUT")
    add.add_argument("--out", required=True, metavar="RUN", help="a new folder")
    add.add_argument(
        "--prefix",
        action="append",
        help="of the names to take; several are as many layers, from the bottom up",
    )
    add.add_argument("--merge", choices=get_args(Merge), default="concat")
    add.set_defaults(command=_import)

    add = commands.add_parser("export", help="write the LSTM of a run to a file")
    add.add_argument("run", help="the folder of a run, trained or imported")
    add.add_argument("--format", required=True, choices=tuple(FORMATS))
    add.add_argument("--layout", default="lstm_jax", choices=NAMED, metavar="LAYOUT")
    add.add_argument("--out", required=True, metavar="FILE", help="a new file")
    add.add_argument("--prefix", default="", help="put before all names")
    add.set_defaults(command=lambda args: _export(args, trained))


def _import(args: argparse.Namespace) -> int:
    prefixes = [p.replace("/", ".") for p in args.prefix or [""]]
    if Path(args.out).exists():
        raise InteropError(
            f"{args.out} is there already; name a new folder with --out."
        )
    if len(prefixes) == 1:
        tensors = read_tensors(args.file, prefixes[0])
    else:
        tensors = {
            f"{n}.{name}": array
            for n, prefix in enumerate(prefixes)
            for name, array in read_tensors(args.file, prefix).items()
        }
    if not tensors:
        raise InteropError(f"{args.file} has no tensors of prefix {prefixes[0]!r}.")
    params = read_stack(LAYOUTS[args.layout], tensors, args.merge)
    origin = {"file": Path(args.file).name, "layout": args.layout}
    save_stack(args.out, params, merge=args.merge, origin=origin | {"prefix": prefixes})
    print(f"{_describe(stack_of(params), params)}, from {args.file}: {args.out}")
    return 0


def _export(args, trained) -> int:
    if Path(args.out).exists():
        raise InteropError(f"{args.out} is there already; name a new file with --out.")
    source = _open(args.run, trained)
    FORMATS[args.format](source, Path(args.out), args)
    print(f"{_describe(source.stack, source.params)}, in {args.layout}: {args.out}")
    return 0


def _open(directory, trained) -> Source:
    if is_stack(directory):
        return Source(*read_stored(directory))
    _, task, params = trained(directory)
    return Source(*task.recurrent(params), task, params)


def _describe(stack, params):
    ways = " in two directions" if stack.bidirectional else ""
    first = params[0].forward if stack.bidirectional else params[0]
    cells = ", ".join(
        f"{type(cell).__name__}({cell.hidden_size})" for cell in stack.cells
    )
    return f"{cells}{ways} on {first.w_x.shape[0]} features"


def _tensors(source: Source, path: Path, args: argparse.Namespace) -> None:
    """A file of tensors in the layout asked for."""
    if path.suffix != f".{args.format}":
        raise InteropError(
            f"--out is {path}, expected a name that ends in .{args.format}."
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
    layout = LAYOUTS[args.layout]
    if layout.cell != kind:
        layout = layout_of(args.layout.partition(".")[0], kind)
    tensors = write_stack(layout, source.params)
    write_tensors(path, {args.prefix + name: a for name, a in tensors.items()})


FORMATS = {"safetensors": _tensors, "npz": _tensors, "pt": _tensors}
"""Formats to export to."""
