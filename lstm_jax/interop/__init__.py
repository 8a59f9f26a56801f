"""Weights of other frameworks, in and out."""

from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.onnx_arrays import from_onnx_arrays, to_onnx_arrays
from lstm_jax.interop.onnx_export import to_onnx
from lstm_jax.interop.onnx_import import OnnxLayer, from_onnx, stack_from_onnx
from lstm_jax.interop.pieces import Embed, Linear, Recurrent
from lstm_jax.interop.program import Program
from lstm_jax.interop.stablehlo import to_stablehlo

__all__ = [
    "Embed",
    "InteropError",
    "Linear",
    "OnnxLayer",
    "Program",
    "Recurrent",
    "UnsupportedError",
    "from_onnx",
    "from_onnx_arrays",
    "stack_from_onnx",
    "to_onnx",
    "to_onnx_arrays",
    "to_stablehlo",
]
