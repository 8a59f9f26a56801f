"""Weights of other frameworks, in and out."""

from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.onnx_arrays import from_onnx_arrays, to_onnx_arrays

__all__ = [
    "InteropError",
    "UnsupportedError",
    "from_onnx_arrays",
    "to_onnx_arrays",
]
