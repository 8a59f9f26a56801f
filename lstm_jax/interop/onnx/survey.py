"""Finds all recurrent layers of an ONNX model, also those that cannot be read.

Only nodes of the graph itself are read. This file finds layers in the bodies of ``If``,
``Loop`` and ``Scan``, in functions, quantised layers, and layers that exporters wrote
out in other operators. The error then names the layer and its place.
"""

import collections
from collections.abc import Iterator
from typing import Any

from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.onnx.nodes import OPERATORS
from lstm_jax.interop.onnx.values import DOMAINS

MOST, SHOWN = 1000, 3
"""The most recurrent nodes of a graph, and the most layers in a message."""

GRAPH, GRAPHS = 5, 10  # AttributeProto
GATES = ("Sigmoid", "HardSigmoid", "Tanh", "Relu")
STEPS = ("Concat", "ConcatFromSequence")
"""Operators that concatenate the outputs of steps."""

PRODUCTS = ("MatMul", "Gemm", "MatMulInteger", "Einsum", "FusedMatMul", "QLinearMatMul")


def is_recurrent(node: Any) -> bool:
    """Whether the node is one of ONNX's recurrent operators."""
    return node.op_type in OPERATORS and node.domain in DOMAINS


def check_survey(model: Any, count: int) -> None:
    """Raises an error for recurrent layers that are not among the ``count`` to read.

    Raises:
        InteropError: there are no layers to read, or too many.
        UnsupportedError: some layers are in a place or a form that cannot be read.
    """
    shadows = [f.name for f in model.functions if f.domain in DOMAINS]
    if shadows:
        raise UnsupportedError(
            f"a function of the file takes the place of ONNX's own {shadows[0]}; "
            f"{INLINE}."
        )
    functions = {(f.domain, f.name) for f in model.functions}
    hidden, inlined = [], False
    for place, node in _nodes(model):
        own = (node.domain, node.op_type) in functions
        foreign = "" if own or node.domain in DOMAINS else node.op_type
        called = f"{node.op_type} {_name(node)!r}"
        if place and is_recurrent(node):
            hidden.append(f"{called} in {place}")
            inlined |= place.startswith("the function")
        elif any(name in foreign for name in OPERATORS):
            hidden.append(f"{node.domain}.{called}{place and f' in {place}'}")
    if hidden := [*dict.fromkeys(hidden)]:  # The branches of an If share one name.
        advice = INLINE if inlined else ARRAYS
        if any("Quant" in find for find in hidden):
            advice = "import the model as it was before quantisation"
        raise UnsupportedError(
            f"the model has {_listed(hidden)}; nodes GRU, LSTM and RNN of the graph "
            f"itself are read; {advice}."
        )
    if count > MOST or not count:
        bodies = [] if count else _written_out(model)
        found = f" It has {_listed(bodies)}; {ARRAYS}." if bodies else ""
        raise InteropError(
            f"the graph has {count} nodes {', '.join(sorted(OPERATORS))}, expected 1 "
            f"to {MOST}.{found}"
        )


INLINE = "put functions in their place with onnx.inliner.inline_local_functions(model)"
ARRAYS = (
    "take its weights out of the file and pass them to from_onnx_arrays(W, R, B), or "
    "to from_torch where they are in torch's order and put into another for the node"
)


def _nodes(model: Any) -> Iterator[tuple[str, Any]]:
    """Every node with its place, which is ``""`` for the graph itself."""
    yield from _nodes_of(model.graph, "")
    for function in model.functions:
        where = f"the function {f'{function.domain}.{function.name}'!r}"
        yield from _nodes_of(function, where)


def _nodes_of(graph, place):
    for node in graph.node:
        yield place, node
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.type == GRAPH else []
            for body in [*inner, *attribute.graphs]:
                where = f"the body of {node.op_type} {_name(node)!r}"
                yield from _nodes_of(body, f"{where} in {place}" if place else where)


def _name(node):
    return node.name or (node.output[0] if node.output else "")


def _written_out(model):
    """Places where operators look like a recurrent layer."""
    counts: dict[str, collections.Counter[str]] = {}
    for place, node in _nodes(model):
        counts.setdefault(place, collections.Counter())[node.op_type] += 1
    finds = []
    for place, count in counts.items():
        gates = {name: count[name] for name in GATES if count[name]}
        products = {name: count[name] for name in PRODUCTS if count[name]}
        if {*gates} == {"Relu"} and not any(count[name] for name in STEPS):
            continue  # Dense layers may have as many.
        repeated = "Loop" in place or "Scan" in place or sum(gates.values()) > 2
        if gates and products and repeated:
            numbers = ", ".join(f"{n} {name}" for name, n in (gates | products).items())
            where = place or "the graph"
            finds.append(
                f"{numbers} in {where}, which may be a recurrent layer written out in "
                f"operators"
            )
    return finds


def _listed(finds):
    more = f" and {len(finds) - SHOWN} more" if len(finds) > SHOWN else ""
    return f"{'; '.join(finds[:SHOWN])}{more}"
