"""Weights of other frameworks, in and out.

layout.py   how every framework lays out its weights, as data
weights     one layer, stacks and states, between a layout and ours; a file for each
            framework: from_x and to_x
files       files of tensors, and a stack as a folder
onnx        programs as files of ONNX, and recurrent nodes of any file as cells
stablehlo.py   programs as StableHLO
"""

from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.files.formats import read_tensors, write_tensors
from lstm_jax.interop.files.stored import Stored, load_stack, load_stored, save_stack
from lstm_jax.interop.layout import LAYOUTS, Layout, Tensor
from lstm_jax.interop.onnx.arrays import from_onnx_arrays, to_onnx_arrays
from lstm_jax.interop.onnx.exporter import to_onnx
from lstm_jax.interop.onnx.importer import OnnxLayer, from_onnx, stack_from_onnx
from lstm_jax.interop.stablehlo import to_stablehlo
from lstm_jax.interop.weights.carry import from_carry, to_carry
from lstm_jax.interop.weights.equinox import from_equinox, to_equinox
from lstm_jax.interop.weights.flax import from_linen, from_nnx, to_linen, to_nnx
from lstm_jax.interop.weights.haiku import from_haiku, to_haiku
from lstm_jax.interop.weights.haste import from_haste, to_haste
from lstm_jax.interop.weights.jax_rnn import from_jax_rnn, to_jax_rnn
from lstm_jax.interop.weights.keras import from_keras, to_keras
from lstm_jax.interop.weights.stack import stack_of
from lstm_jax.interop.weights.tensorflow import from_tf1, to_tf1
from lstm_jax.interop.weights.torch import from_torch, to_torch
from lstm_jax.programs.pieces import Embed, Layers, Linear
from lstm_jax.programs.program import Program

__all__ = [
    "LAYOUTS",
    "Embed",
    "InteropError",
    "Layers",
    "Layout",
    "Linear",
    "OnnxLayer",
    "Program",
    "Stored",
    "Tensor",
    "UnsupportedError",
    "from_carry",
    "from_equinox",
    "from_haiku",
    "from_haste",
    "from_jax_rnn",
    "from_keras",
    "from_linen",
    "from_nnx",
    "from_onnx",
    "from_onnx_arrays",
    "from_tf1",
    "from_torch",
    "load_stack",
    "load_stored",
    "read_tensors",
    "save_stack",
    "stack_from_onnx",
    "stack_of",
    "to_carry",
    "to_equinox",
    "to_haiku",
    "to_haste",
    "to_jax_rnn",
    "to_keras",
    "to_linen",
    "to_nnx",
    "to_onnx",
    "to_onnx_arrays",
    "to_stablehlo",
    "to_tf1",
    "to_torch",
    "write_tensors",
]
