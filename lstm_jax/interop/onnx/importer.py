"""Reads the recurrent nodes of an ONNX file as cells and parameters.

Only the ``LSTM``, ``GRU`` and ``RNN`` nodes of a graph are read, with the values of
their inputs. A file may come from anywhere, so nothing in it is trusted.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.core.layers.stack import Stack
from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.files.stored import Stored, beside_weights
from lstm_jax.interop.onnx.file import LIMIT, read_model
from lstm_jax.interop.onnx.layer import NodeReader, OnnxLayer
from lstm_jax.interop.onnx.survey import check_survey, is_recurrent
from lstm_jax.interop.onnx.values import DOMAINS, Unknown, Values

LONGEST = 600
"""The most letters of an error message."""

ONE_BY_ONE = (
    "take the layers of from_onnx one by one (lstm-jax import --prefix NODE, each as a "
    "run of its own)"
)


def from_onnx(
    source: str | Path | bytes, *, limit: int = LIMIT, weights_only: bool = False
) -> list[OnnxLayer]:
    """Every ``LSTM``, ``GRU`` and ``RNN`` node of a graph, in order.

    Args:
        source: path of a file, or its bytes.
        limit: the most bytes of the file. Its weights may take three times as much.
        weights_only: whether to skip initial states and lengths; ``carry`` and
            ``lengths`` are then ``None``.

    Raises:
        InteropError: the file cannot be read, is corrupt, contradicts itself, or has no
            such node.
        UnsupportedError: no cell here equals a node, or the graph computes weights,
            initial states or lengths.
        ModuleNotFoundError: the extra ``onnx`` is not installed.

    >>> import jax
    >>> from lstm_jax import LSTMCell, Stack
    >>> from lstm_jax.interop import Program, Layers, from_onnx, to_onnx
    >>> stack = Stack([LSTMCell(5)] * 2)
    >>> params = stack.init(jax.random.key(0), in_size=3)
    >>> file = to_onnx(Program([Layers(stack, params)])).SerializeToString()
    >>> [(layer.name, layer.cell.hidden_size, layer.below) for layer in from_onnx(file)]
    [('LSTM', 5, None), ('LSTM_1', 5, 'LSTM')]
    """
    folder = None if isinstance(source, bytes) else Path(source).parent
    try:
        return _layers(read_model(source, limit), folder, limit, weights_only)
    except InteropError as error:
        if len(said := str(error)) > LONGEST:  # Names in a file can be of any length.
            raise type(error)(f"{said[:LONGEST]} ...") from None
        raise


def _layers(model, folder, limit, weights_only):
    opset, graph = _opset(model), model.graph
    nodes = [node for node in graph.node if is_recurrent(node)]
    check_survey(model, len(nodes))
    _check_order(graph)
    values, layers, lower = Values(graph, folder, 3 * limit, opset), [], {}
    for node in nodes:
        name, Y = _name(node), node.output[0] if node.output else ""
        taken = {layer.name for layer in layers}
        if name in taken:
            names = itertools.chain([Y], _numbered(name))
            name = next(k for k in names if k and k not in taken)
        try:
            layer = NodeReader(node, values, opset).layer(name, lower, weights_only)
        except Unknown as error:
            advice = "."
            if "is quantised" in str(error):
                advice = " as floats; import the model as it was before quantisation."
            raise UnsupportedError(
                f"{name}: {error}, expected a weight that is in the file{advice}"
            ) from error
        except InteropError as error:
            raise type(error)(f"{name}: {error}") from error
        layers.append(layer)
        if Y:
            lower[Y] = layer
    return layers


def stack_from_onnx(layers: Sequence[OnnxLayer], *, states: bool = False) -> Any:
    """Builds one stack from layers that read each other, and its parameters.

    Args:
        layers: of `from_onnx`.
        states: whether to return states and lengths too.

    Returns:
        ``stack, params``; with ``states`` a `lstm_jax.interop.Stored`. Pass its
        ``carry`` and ``lengths`` to a call of the stack. Its ``given`` names states and
        lengths that are inputs of the graph; pass these yourself.

    Raises:
        UnsupportedError: there is another operator between two layers, or the layers
            differ in direction or lengths; or there are states or lengths, and
            ``states`` is false.

    >>> import jax
    >>> from lstm_jax import LSTMCell, Stack
    >>> from lstm_jax.interop import Program, Layers, from_onnx, to_onnx
    >>> from lstm_jax.interop import stack_from_onnx
    >>> stack = Stack([LSTMCell(5), LSTMCell(4)], bidirectional=True)
    >>> params = stack.init(jax.random.key(0), in_size=3)
    >>> file = to_onnx(Program([Layers(stack, params)])).SerializeToString()
    >>> stack_from_onnx(from_onnx(file))[0] == stack
    True
    """
    if not layers:
        raise InteropError("layers is empty, expected those of a file.")
    for layer, above in itertools.pairwise(layers):
        if above.below != layer.name:
            raise UnsupportedError(
                f"{above.name} does not read the outputs of {layer.name} as they are "
                f"for every number of steps and rows: {above.reads}; {ONE_BY_ONE}. If "
                f"torch's default exporter wrote the file, export the model with fixed "
                f"shapes."
            )
    if any(layer.reverse for layer in layers):
        raise UnsupportedError(
            f"a layer runs in reverse alone, expected forward or bidirectional; "
            f"{ONE_BY_ONE}."
        )
    if len({layer.directions for layer in layers}) > 1:
        raise UnsupportedError(
            f"some layers have one direction and some two, expected the same; "
            f"{ONE_BY_ONE}."
        )
    stack = Stack(
        [layer.cell for layer in layers], bidirectional=layers[0].directions == 2
    )
    params = tuple(layer.params for layer in layers)
    carries = tuple(layer.carry for layer in layers)
    carry = carries if any(c is not None for c in carries) else None
    given = tuple(layer.given for layer in layers)
    stored = Stored(
        stack, params, carry, _common_lengths(layers), given if any(given) else None
    )
    if states:
        return stored
    if kept := beside_weights(stored):
        owner = next(k for k in layers if k.carry or k.lengths is not None)
        raise UnsupportedError(
            f"{owner.name} has {kept}, and the outputs depend on them; stored = "
            f"stack_from_onnx(layers, states=True) has all of it."
        )
    return stored.stack, stored.params


def _common_lengths(layers):
    first, *others = layers
    for other in others:
        one = (first.given.get("sequence_lens"), first.lengths)
        two = (other.given.get("sequence_lens"), other.lengths)
        if one[0] != two[0] or not np.array_equal(one[1], two[1]):  # type: ignore[arg-type]
            raise UnsupportedError(
                f"{first.name} and {other.name} have lengths that differ, expected the "
                f"same; {ONE_BY_ONE}."
            )
    return first.lengths


def _name(node):
    return node.name or (node.output[0] if node.output else node.op_type)


def _numbered(name):
    return (f"{name}_{n}" for n in itertools.count(1))


def _opset(model):
    """The version of ONNX's own operators. Their meaning does not change between
    versions.
    """
    versions = [o.version for o in model.opset_import if o.domain in DOMAINS]
    if not model.opset_import and 0 < model.ir_version < 3:
        versions = [1]  # The default of such a file is 1.
    if len(versions) != 1 or versions[0] < 1:
        raise InteropError(
            f"the opset is {', '.join(map(str, versions)) or 'not said'}, expected one "
            f"number; tell it with model.opset_import.add(domain='', version=17)."
        )
    return versions[0]


def _check_order(graph):
    """Checks that every value has one source, which comes before its
    use; so no cycles.
    """
    there: set[str] = {""}

    def add(names, what):
        for name in names:
            if name and name in there:
                raise InteropError(f"{what} {name!r} appears twice, expected once.")
            there.add(name)

    initializers = [tensor.name for tensor in graph.initializer]
    initializers += [tensor.values.name for tensor in graph.sparse_initializer]
    add(initializers, "initializer")
    # An input may have an initializer as its default value.
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
