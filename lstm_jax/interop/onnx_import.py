"""The recurrent nodes of an ONNX file as cells and parameters.

Of a graph only its ``LSTM``, ``GRU`` and ``RNN`` nodes are read, and what their inputs
are made of; a file is material from somewhere else, and nothing in it is trusted.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lstm_jax.core.stack import Stack
from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.onnx_file import LIMIT, read_model
from lstm_jax.interop.onnx_layer import NodeReader, OnnxLayer
from lstm_jax.interop.onnx_nodes import OPERATORS
from lstm_jax.interop.onnx_values import Unknown, Values

OLDEST = 7
"""The first opset with today's meaning, but for the attribute ``layout`` of 14."""

MOST, LONGEST = 1000, 600
"""Recurrent nodes of a graph, and letters of a message."""


def from_onnx(source: str | Path | bytes, *, limit: int = LIMIT) -> list[OnnxLayer]:
    """Every ``LSTM``, ``GRU`` and ``RNN`` node of a graph, in order.

    Args:
        source: path of a file, or its bytes.
        limit: bytes that the file may have, and three times as many the weights that
            are made of it.

    Raises:
        InteropError: it cannot be read, is damaged, contradicts itself, or has no such
            node.
        UnsupportedError: a node has no equal among our cells, or weights that are not
            known before the graph runs.
        ModuleNotFoundError: the extra ``onnx`` is not installed.

    >>> import jax
    >>> from lstm_jax import LSTMCell, Stack
    >>> from lstm_jax.interop import Program, Recurrent, from_onnx, to_onnx
    >>> stack = Stack([LSTMCell(5)] * 2)
    >>> params = stack.init(jax.random.key(0), in_size=3)
    >>> file = to_onnx(Program([Recurrent(stack, params)])).SerializeToString()
    >>> [(layer.name, layer.cell.hidden_size, layer.below) for layer in from_onnx(file)]
    [('LSTM', 5, None), ('LSTM_1', 5, 'LSTM')]
    """
    folder = None if isinstance(source, bytes) else Path(source).parent
    try:
        return _layers(read_model(source, limit), folder, limit)
    except InteropError as error:
        if (
            len(said := str(error)) > LONGEST
        ):  # Names in a file are as long as it likes.
            raise type(error)(f"{said[:LONGEST]} ...") from None
        raise


def _layers(model, folder, limit):
    _check_opset(model)
    graph = model.graph
    nodes = [node for node in graph.node if _is_recurrent(node)]
    if not 1 <= len(nodes) <= MOST:
        raise InteropError(
            f"the graph has {len(nodes)} nodes {', '.join(sorted(OPERATORS))}, "
            f"expected 1 to {MOST}; those inside of Loop and If are not read."
        )
    _check_order(graph)
    values, layers, lower = Values(graph, folder, 3 * limit), [], {}
    for node in nodes:
        name, Y = _name(node), node.output[0] if node.output else ""
        if name in [layer.name for layer in layers]:
            name = Y
        try:
            layer = NodeReader(node, values).layer(name, lower)
        except Unknown as error:
            raise UnsupportedError(
                f"{name}: {error}, expected a weight that is in the file."
            ) from error
        except InteropError as error:
            raise type(error)(f"{name}: {error}") from error
        layers.append(layer)
        if Y:
            lower[Y] = layer
    return layers


def stack_from_onnx(layers: Sequence[OnnxLayer]) -> tuple[Stack, tuple[Any, ...]]:
    """One stack of layers that read each other, and its parameters.

    Raises:
        UnsupportedError: something stands between two of them, or they differ in
            direction.

    >>> import jax
    >>> from lstm_jax import LSTMCell, Stack
    >>> from lstm_jax.interop import Program, Recurrent, from_onnx, to_onnx
    >>> from lstm_jax.interop import stack_from_onnx
    >>> stack = Stack([LSTMCell(5), LSTMCell(4)], bidirectional=True)
    >>> params = stack.init(jax.random.key(0), in_size=3)
    >>> file = to_onnx(Program([Recurrent(stack, params)])).SerializeToString()
    >>> stack_from_onnx(from_onnx(file))[0] == stack
    True
    """
    if not layers:
        raise InteropError("layers is empty, expected those of a file.")
    for layer, above in itertools.pairwise(layers):
        if above.below != layer.name:
            raise UnsupportedError(
                f"{above.name} does not read the outputs of {layer.name} as they are; "
                f"take the layers of from_onnx one by one."
            )
    if any(layer.reverse for layer in layers):
        raise UnsupportedError(
            "a layer runs in reverse alone, expected forward or bidirectional; take "
            "the layers of from_onnx one by one."
        )
    if len({layer.directions for layer in layers}) > 1:
        raise UnsupportedError(
            "some layers have one direction and some two, expected the same; take the "
            "layers of from_onnx one by one."
        )
    stack = Stack(
        [layer.cell for layer in layers], bidirectional=layers[0].directions == 2
    )
    return stack, tuple(layer.params for layer in layers)


def _is_recurrent(node):
    return node.op_type in OPERATORS and node.domain in ("", "ai.onnx")


def _name(node):
    return node.name or (node.output[0] if node.output else node.op_type)


def _check_opset(model):
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if len(versions) != 1 or versions[0] < OLDEST:
        raise UnsupportedError(
            f"the opset is {', '.join(map(str, versions)) or 'not said'}, expected "
            f"one, {OLDEST} or newer; convert the file with onnx.version_converter."
        )


def _check_order(graph):
    """Every value has one source, which stands before its use: there are no circles."""
    there: set[str] = {""}

    def add(names, what):
        for name in names:
            if name and name in there:
                raise InteropError(f"{what} {name!r} is there twice, expected once.")
            there.add(name)

    initializers = [tensor.name for tensor in graph.initializer]
    initializers += [tensor.values.name for tensor in graph.sparse_initializer]
    add(initializers, "initializer")
    # An input may have an initializer, its value by default.
    inputs = [value.name for value in graph.input]
    add([name for name in inputs if name not in {*initializers}], "input")
    for node in graph.node:
        missing = [name for name in node.input if name not in there]
        if missing:
            raise InteropError(
                f"{_name(node)} reads {missing[0]!r}, which nothing before it makes; "
                f"expected nodes in the order in which they run."
            )
        add(node.output, "output")
