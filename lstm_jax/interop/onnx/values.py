"""Values of a graph that are known without running it.

Weights of recurrent nodes are in initializers or ``Constant`` nodes, sometimes behind
operators that only move them, because exporters leave the folding to the runtime.
Initial states and lengths may be made for any number of rows. The numbers of a value,
their source, or only its shape are followed through the operators of `operators` with
exact sizes. Everything else is `Unknown`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.onnx.operators import MALFORMED, OPERATORS, SHAPES
from lstm_jax.interop.onnx.sizes import fresh, product
from lstm_jax.interop.onnx.tensors import DTYPES, array_of, nbytes_of
from lstm_jax.interop.onnx.tracked import Hidden, Known, Moved, Value

DEPTH = 64
"""The most operators in a chain."""


class Unknown(Exception):
    """An unknown value; the message says why."""


class Values:
    """The known values of a graph, by name, computed on demand.

    Args:
        graph: an ``onnx.GraphProto``.
        folder: folder for tensors outside the file; ``None`` forbids them.
        limit: the most bytes of all values together.
        opset: the version of the operators.
    """

    def __init__(self, graph: Any, folder: Path | None, limit: int, opset: int = 17):
        self.producers = {name: node for node in graph.node for name in node.output}
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._folder, self._left, self._opset = folder, limit, opset
        self._found: dict[str, Value | Unknown] = {}
        self.inputs = [i.name for i in graph.input if i.name not in self._tensors]
        for value in graph.input:
            kind = value.type.tensor_type
            if value.name in self.inputs and kind.HasField("shape"):
                self._found[value.name] = _input(value.name, kind)

    def give(self, name: str, value: Value) -> None:
        """Sets the known value of ``name``."""
        self._found[name] = value

    def of(self, name: str) -> np.ndarray:
        """The numbers of the value ``name``.

        Raises:
            Unknown: the numbers depend on inputs, or on an operator that computes.
            InteropError: a tensor is corrupt, or all are larger than the limit.
        """
        value = self.value(name)
        if not isinstance(value, Known):
            raise Unknown(f"{name!r} {self.origin(name)}")
        if value.whole:
            return value.array
        try:
            self.spend(int(product(value.shape)) * value.array.itemsize)
            return np.broadcast_to(value.array, value.shape)
        except MALFORMED as error:
            raise Unknown(f"{name!r} has no fixed shape") from error

    def value(self, name: str, depth: int = DEPTH) -> Value:
        """What is known of the value ``name``.

        Raises:
            Unknown: nothing is known.
            InteropError: a tensor is corrupt, or all are larger than the limit.
        """
        if name not in self._found:
            if depth == 0:
                raise Unknown(f"{name!r} is behind more than {DEPTH} operators")
            try:
                outputs = self._compute(name, depth)
            except Unknown as error:
                outputs = {name: error}
            self._found |= outputs
        found = self._found.get(name, Unknown(f"{name!r} {self.origin(name)}"))
        if isinstance(found, Unknown):
            raise Unknown(*found.args)
        return found

    def origin(self, name: str) -> str:
        """Describes the source of an unknown value."""
        if name in self.inputs:
            return "is an input of the graph"
        seen, node = name, self.producers.get(name)
        for _ in range(DEPTH):
            if node is None:
                return f"depends on {seen!r}, an input of the graph"
            if node.op_type not in OPERATORS or node.domain not in DOMAINS:
                break
            open_ends = [
                i for i in node.input if i and not isinstance(self._found.get(i), Known)
            ]
            if not open_ends:
                break
            seen, node = open_ends[0], self.producers.get(open_ends[0])
        operator = node.op_type if node is not None else "an operator"
        if operator in QUANTISED:
            return f"is quantised ({operator})"
        return f"comes out of {operator}{'' if seen == name else f' (in {seen!r})'}"

    def through(self, name: str) -> tuple[list[str], str]:
        """The operators between the output of a recurrent node and this value, first to
        last, and the output; or as many of them as can be followed.
        """
        operators: list[str] = []
        while len(operators) < DEPTH:
            node = self.producers.get(name)
            if (
                node is None
                or node.op_type in ("LSTM", "GRU", "RNN")
                or not any(node.input)
            ):
                break
            operators.insert(0, node.op_type)
            known = lambda i: isinstance(self._found.get(i), Known)
            given = [i for i in node.input if i]
            name = next((i for i in given if not known(i)), given[0])
        return operators, name

    def _compute(self, name, depth):
        if name in self._tensors:
            return {name: self._tensor(self._tensors[name])}
        node = self.producers.get(name)
        if node is None or node.domain not in DOMAINS:
            raise Unknown(f"{name!r} {self.origin(name)}")
        if node.op_type == "Constant":
            return {name: self._constant(node)}
        operator = OPERATORS.get(node.op_type)
        if operator is None and node.op_type not in SHAPES:
            raise Unknown(f"{name!r} {self.origin(name)}")
        inputs = [self.value(i, depth - 1) if i else None for i in node.input]
        self._spend_on(node.op_type, inputs)
        try:
            return self._run(node, operator, inputs)
        except InteropError:
            raise
        except MALFORMED as error:
            raise Unknown(
                f"{node.op_type} of {name!r} is malformed or depends on sizes: {error}"
            ) from error

    def _run(self, node, operator, inputs):
        attributes = attributes_of(node)
        for key, value in attributes.items():
            if hasattr(value, "dims"):
                attributes[key] = self._tensor(value).array
        if operator is None:
            shape = SHAPES[node.op_type](*inputs, **attributes)
            return {node.output[0]: Hidden(tuple(shape), node.op_type)}
        if node.op_type == "Dropout":
            attributes["opset"] = self._opset
        if node.op_type == "Split":
            parts = operator(*inputs, **attributes, outputs=len(node.output))
            return dict(zip(node.output, parts, strict=True))
        return {node.output[0]: operator(*inputs, **attributes)}

    def _tensor(self, tensor):
        if tensor.data_type not in DTYPES:
            raise Unknown(
                f"tensor {tensor.name!r} has data type {tensor.data_type}, which is "
                f"not one of floats and integers of 32 and 64 bits, floats of 16, and "
                f"booleans"
            )
        self.spend(nbytes_of(tensor))
        return Known.of(array_of(tensor, self._folder))

    def _constant(self, node):
        if len(node.attribute) != 1:
            raise Unknown(f"Constant {node.output[0]!r} has not one attribute")
        kind, value = node.attribute[0].name, _attribute(node.attribute[0])
        if hasattr(value, "dims"):
            return self._tensor(value)
        if np.asarray(value).dtype.kind not in "if":
            raise Unknown(f"Constant {node.output[0]!r} is text")
        return Known.of(np.asarray(value, np.float32 if "float" in kind else np.int64))

    def _spend_on(self, operator, inputs):
        """Counts the bytes that an operator will create, before it runs."""
        arrays = [x.array for x in inputs if isinstance(x, Known)]
        if operator in MOVING or not arrays:
            return
        if operator in SUMMING:
            self.spend(sum(array.nbytes for array in arrays))
        elif operator == "Tile" and len(arrays) == 2:
            times = [n for n in arrays[1].ravel().tolist() if isinstance(n, int)]
            self.spend(arrays[0].nbytes * product(max(n, 1) for n in times))
        elif operator == "Gather" and len(arrays) == 2:
            self.spend(arrays[0].nbytes * max(arrays[1].size, 1))
        else:
            width = max(array.itemsize for array in arrays)
            try:
                shape = np.broadcast_shapes(*(array.shape for array in arrays))
            except ValueError:
                return
            self.spend(width * product(shape))

    def spend(self, nbytes: int) -> None:
        """Counts bytes that are created from the file; raises an error
        above the limit.
        """
        self._left -= nbytes
        if self._left < 0:
            raise InteropError(
                "the weights that its nodes use are larger than three times the limit; "
                "if the file is to be trusted, pass a larger limit: limit= of "
                "from_onnx, --limit of lstm-jax import."
            )


DOMAINS = ("", "ai.onnx")
"""Domain names of ONNX's own operators."""

QUANTISED = ("DequantizeLinear", "DynamicQuantizeLSTM")
MOVING = {"Transpose", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Shape", "Slice"}
MOVING |= {"Split", "Expand", "ConstantOfShape"}
SUMMING = {"Concat", "Reshape", "Cast"}
"""Operators that create as many bytes as they are given."""


def _input(name, kind):
    """An input of the graph. Unnamed sizes may be any number.

    Equal names of sizes in other inputs do not mean equal sizes, because no runtime
    checks that.
    """
    sizes = {
        str(n): int(dim.dim_value) if dim.dim_value > 0 else fresh(f"{name}.{n}")
        for n, dim in enumerate(kind.shape.dim)
    }
    return Moved.whole(name, sizes, DTYPES.get(kind.elem_type, "V1"))


_FIELDS = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}
"""Maps ``AttributeProto.AttributeType`` to the field that it uses."""


def _attribute(attribute: Any) -> Any:
    """The value of an attribute: a number, text, a list of these, or a tensor."""
    field = _FIELDS.get(attribute.type)
    if field is None:
        raise Unknown(f"attribute {attribute.name!r} has the type {attribute.type}")
    value = getattr(attribute, field)
    text = lambda v: v.decode() if isinstance(v, bytes) else v
    several = field in ("floats", "ints", "strings")
    try:
        return [*map(text, value)] if several else text(value)
    except UnicodeDecodeError as error:
        raise InteropError(f"attribute {attribute.name!r} is not text.") from error


def attributes_of(node: Any) -> dict[str, Any]:
    """The attributes of a node by name; raises an error if one appears twice."""
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.name in values:
            raise InteropError(f"attribute {attribute.name!r} appears twice.")
        values[attribute.name] = _attribute(attribute)
    return values
