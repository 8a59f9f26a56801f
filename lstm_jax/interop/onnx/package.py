"""The package ``onnx``, an extra that is imported on use."""

import importlib
from typing import Any


def onnx() -> Any:
    """The package ``onnx``.

    Raises:
        ModuleNotFoundError: ``onnx`` is not installed.
    """
    try:
        package = importlib.import_module("onnx")
        importlib.import_module("onnx.numpy_helper")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "ONNX files need the package onnx: pip install 'lstm-jax[onnx]'.",
            name="onnx",
        ) from error
    return package


def protobuf_message() -> Any:
    """The protobuf module with the errors; protobuf comes with ``onnx``."""
    return importlib.import_module("google.protobuf.message")
