"""``lstm-jax export`` of a model of several functions, into a folder."""

import argparse
from collections.abc import Callable
from typing import Any

from lstm_jax.files import write_bytes, writing_folder
from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.onnx.exporter import USUAL, to_onnx
from lstm_jax.interop.stablehlo import to_stablehlo
from lstm_jax.tasks.abilities import Folder
from lstm_jax.terminal import say

ENDINGS = {"onnx": ".onnx", "stablehlo": ".jaxexport"}
"""The formats of a function, and the endings of their files."""


def export_folder(folder: Folder, args: argparse.Namespace) -> None:
    """Writes a new folder, completely or not at all.

    Raises:
        InteropError: an option or the format is not for such a model, or the folder
            cannot be written.
    """
    _check(folder, args)
    files = {name: text.encode() for name, text in folder.files.items()}
    for name, function in folder.functions.items():
        if args.format == "onnx":
            model = needing("onnx", to_onnx, function, opset=args.opset)
            data = model.SerializeToString()
        else:
            data = needing("stablehlo", to_stablehlo, function)
        files[name + ENDINGS[args.format]] = data
    try:
        with writing_folder(args.out) as aside:
            for name, data in files.items():
                write_bytes(aside / name, data, new=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise InteropError(f"{args.out} cannot be written: {reason}.") from error
    say(f"{', '.join(sorted(files))}: {args.out}")


def _check(folder, args):
    functions = " and ".join(folder.functions)
    if args.format not in ENDINGS:
        raise UnsupportedError(
            f"the model has the parts {functions}, and a file of weights holds one "
            f"stack of layers; --format onnx and --format stablehlo keep all, and from "
            f"Python (lstm_jax.load_run) so does run.params."
        )
    if args.prefix or args.layout != "lstm_jax":
        raise InteropError("--prefix and --layout are for tensors; leave them out.")
    if args.gradients:
        raise UnsupportedError(
            f"--gradients is not for a model of several functions ({functions}); leave "
            f"it out."
        )
    if args.format != "onnx" and args.opset != USUAL:
        raise InteropError("--opset is for onnx; leave it out.")


def needing(extra: str, function: Callable[..., Any], *args: Any, **options: Any):
    """The result of a function that needs an extra.

    Raises:
        InteropError: the extra is not installed.
    """
    try:
        return function(*args, **options)
    except ModuleNotFoundError as error:
        raise InteropError(
            f"{error.name} is not installed; pip install 'lstm-jax[{extra}]'."
        ) from error
