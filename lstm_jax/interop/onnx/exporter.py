"""Writes a program as an ONNX file: one ``LSTM`` node per layer, and standard
operators.

Everything runs time-major, because onnxruntime refuses ``layout=1``. A batch-first
program transposes before the first recurrent layer and after the last. A row of length
0 keeps its carry, as everywhere in this package. onnxruntime would return zeros, so a
program with both lengths and a carry has a ``Where`` after the node.
"""

import functools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

import lstm_jax
from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.onnx.arrays import to_onnx_arrays
from lstm_jax.interop.onnx.graph import Graph
from lstm_jax.interop.onnx.nodes import node_of
from lstm_jax.interop.onnx.package import onnx
from lstm_jax.programs.pieces import Embed, Layers, Linear
from lstm_jax.programs.program import Program, Spec

OLDEST, USUAL = 14, 17
"""The first opset with today's recurrent operators, and one that nearly every runtime
can read."""

LARGEST = 2**31 - 2**20
"""The most bytes of weights: an ONNX file is one protobuf message, limited to 2 GiB."""

HAS_STEPS = "has_steps"


class WritesOnnx(Protocol):
    """A function of named arrays that knows its own nodes."""

    @property
    def inputs(self) -> Sequence[Spec]:
        """The inputs, in order."""
        ...

    @property
    def outputs(self) -> Sequence[Spec]:
        """The outputs, in order."""
        ...

    def write_onnx(self, graph: Graph) -> None:
        """Adds the nodes, from all inputs to all outputs."""
        ...


def to_onnx(program: Program | WritesOnnx, *, opset: int = USUAL) -> Any:
    """The program as an ``onnx.ModelProto``, checked by ``onnx.checker``.

    Inputs and outputs have the names, dtypes and shapes of ``program.inputs`` and
    ``program.outputs``. Axes with a name, such as ``T`` and ``B``, are dynamic. Write
    the result with ``onnx.save``.

    Args:
        program: what to export.
        opset: version of the operators, from 14 to the newest version that ``onnx``
            supports.

    Raises:
        UnsupportedError: ONNX has no such cell or activation, or the weights are too
            large for an ONNX file.
        ValueError: ``opset`` is out of range.
        ModuleNotFoundError: the extra ``onnx`` is not installed.

    >>> import jax
    >>> from lstm_jax import LSTMCell, Stack
    >>> from lstm_jax.interop import Program, Layers, to_onnx
    >>> stack = Stack([LSTMCell(5)] * 2)
    >>> params = stack.init(jax.random.key(0), in_size=3)
    >>> model = to_onnx(Program([Layers(stack, params)], lengths=False))
    >>> [node.op_type for node in model.graph.node]
    ['LSTM', 'Squeeze', 'LSTM', 'Squeeze']
    """
    if not isinstance(program, Program) and not hasattr(program, "write_onnx"):
        raise UnsupportedError(
            f"a {type(program).__name__} cannot be written as ONNX yet; export it as "
            f"stablehlo."
        )
    package = onnx()
    newest = package.defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        raise InteropError(f"opset is {opset}, expected {OLDEST} to {newest}.")
    graph = _build(program)
    values = lambda specs: [_value_info(package, spec) for spec in specs]
    made = package.helper.make_graph(
        graph.nodes,
        "lstm_jax",
        values(program.inputs),
        values(program.outputs),
        graph.weights,
    )
    opsets = [package.helper.make_opsetid("", opset)]
    model = package.helper.make_model(
        made,
        opset_imports=opsets,
        ir_version=package.helper.find_min_ir_version_for(opsets),
        producer_name="lstm_jax",
        producer_version=lstm_jax.__version__,
    )
    package.checker.check_model(model, full_check=True)
    return model


def _value_info(package, spec: Spec):
    dtype = package.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return package.helper.make_tensor_value_info(spec.name, dtype, spec.shape)


def _build(program):
    graph = Graph()
    for spec in (*program.inputs, *program.outputs):
        graph.fresh(spec.name)
    if isinstance(program, Program):
        _write(graph, program)
    else:
        program.write_onnx(graph)
    size = sum(weight.ByteSize() for weight in graph.weights)
    if size > LARGEST:
        raise UnsupportedError(
            f"the weights take {size:,} bytes, expected {LARGEST:,} at most, the most "
            f"that one file of ONNX holds; export them as stablehlo."
        )
    return graph


def _write(graph, program):
    """Adds the nodes of a chain of pieces."""
    turning = program.batch_first and bool(program.layers)
    x, layers = program.inputs[0].name, iter(program.layers)
    if turning:
        axes = range(len(program.inputs[0].shape))
        x = graph.add("Transpose", [x], perm=[1, 0, *axes[2:]])
    if program.lengths and program.carry:
        positive = graph.add("Greater", ["lengths", _zero(graph)])
        where = [graph.fresh(HAS_STEPS)]
        graph.add("Unsqueeze", [positive, graph.axes(0, 2)], where)
    recurrent = [piece for piece in program.pieces if isinstance(piece, Layers)]
    for piece in program.pieces:
        match piece:
            case Embed():
                x = graph.add(
                    "Gather", [graph.weight("embedding", _np(piece.table)), x]
                )
            case Linear():
                x = _linear(graph, piece, x)
            case Layers():
                own = [next(layers) for _ in piece.params]
                turn = turning and piece is recurrent[-1]
                x = _recurrent(graph, program, piece, own, x, turn)
    graph.rename(x, program.output)


def _np(array):
    return np.asarray(array, np.float32)


def _zero(graph):
    return graph.weight("zero", np.zeros((), np.int32))


def _linear(graph, piece, x):
    x = graph.add("MatMul", [x, graph.weight("linear_w", _np(piece.w))])
    if piece.b is None:
        return x
    return graph.add("Add", [x, graph.weight("linear_b", _np(piece.b))])


def _recurrent(graph, program, piece, layers, x, turn):
    """All layers of a stack. With ``turn`` the output is batch-first."""
    skip, last = piece.stack.skip, len(layers) - 1
    merge = functools.partial(_merged, graph, piece.stack.merge)
    for n, layer in enumerate(layers):
        below, (Y, out_size) = x, _node(graph, program, layer, x)
        x = merge(Y, layer.directions, out_size, turn and n == last and skip is None)
        reads, puts_out = piece.stack.sizes(piece.in_size)[n], out_size
        if piece.stack.merge == "concat":
            puts_out *= layer.directions
        if skip == "residual" and reads == puts_out:
            x = graph.add("Add", [below, x])
        if skip == "dense" and n < last:
            x = graph.add("Concat", [below, x], axis=-1)
    if turn and skip is not None:
        x = graph.add("Transpose", [x], perm=[1, 0, 2])
    return x


def _node(graph, program, layer, x):
    """Adds the node of one layer; returns the name of its ``Y``, and ``H``."""
    kind, cell, attributes = node_of(layer.cell, layer.directions)
    arrays = to_onnx_arrays(layer.params)
    weight = lambda name: graph.weight(f"{layer.name}_{name}", _np(arrays[name]))
    lengths = "lengths" if program.lengths else ""
    fields = layer.zero_carry._fields
    state = [f"{layer.name}_{field}" if program.carry else "" for field in fields]
    inputs = [x, *map(weight, "WRB"), lengths, *state]
    if kind.peepholes:
        inputs.append(weight("P"))
    while not inputs[-1]:
        inputs.pop()
    Y = graph.fresh(f"{layer.name}_Y")
    outputs = [Y, *_final(graph, program, state)] if program.carry else [Y]
    graph.add(kind.operator, inputs, outputs, **attributes)
    if program.lengths and program.carry:
        for new, old in zip(outputs[1:], state, strict=True):
            graph.add("Where", [HAS_STEPS, new, old], [f"{old}_out"])
    return Y, cell.hidden_size


def _final(graph, program, state):
    """Names of the node's final states, which are still wrong for rows of length 0."""
    if program.lengths:
        return [graph.fresh(f"{name}_of_node") for name in state]
    return [f"{name}_out" for name in state]


def _merged(graph, merge, Y, directions, size, turn):
    """``Y`` ``[T, directions, B, H]`` as ``[T, B, N]``, or ``[B, T, N]``."""
    if directions == 2 and merge != "concat":
        ways = [graph.add("Gather", [Y, _index(graph, way)], axis=1) for way in (0, 1)]
        x = graph.add("Mul" if merge == "mul" else "Add", ways)
        if merge == "mean":
            x = graph.add("Mul", [x, graph.weight("half", np.float32(0.5))])
        return graph.add("Transpose", [x], perm=[1, 0, 2]) if turn else x
    if directions == 1 and not turn:
        return graph.add("Squeeze", [Y, graph.axes(1)])
    x = graph.add("Transpose", [Y], perm=[2, 0, 1, 3] if turn else [0, 2, 1, 3])
    return graph.add("Reshape", [x, graph.axes(0, 0, directions * size)])


def _index(graph, way):
    return graph.weight(f"way_{way}", np.array(way, np.int64))
