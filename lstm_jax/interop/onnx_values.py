"""Values of a graph that are known without running it.

Weights of recurrent nodes stand in initializers or ``Constant`` nodes, at times behind
operators that only move them about, since exporters leave it to the runtime to fold
them. Those operators are computed here, in numpy; anything else is not known.
"""

import copy
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.onnx_tensors import array_of, nbytes_of

DEPTH = 64
"""Operators behind one another."""


class Unknown(Exception):
    """A value that is not known; the message says why."""


class Values:
    """The known values of a graph, by name, computed when they are asked for.

    Args:
        graph: an ``onnx.GraphProto``.
        folder: where tensors outside of the file may lie; ``None`` for nowhere.
        limit: bytes of all values together.
    """

    def __init__(self, graph: Any, folder: Path | None, limit: int):
        self.producers = {name: node for node in graph.node for name in node.output}
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        # In a list, which copies share: what they spend adds up.
        self._folder, self._left = folder, [limit]
        self._known: dict[str, np.ndarray] = {}

    def given(self, known: Mapping[str, np.ndarray]) -> "Values":
        """The same graph where some values more are known."""
        other = copy.copy(self)
        other._known = {**self._known, **known}
        return other

    def first_of(self, names: Collection[str], behind: str) -> str | None:
        """The first of ``names`` on the way back along first inputs, if any."""
        for _ in range(DEPTH):
            if behind in names:
                return behind
            node = self.producers.get(behind)
            if node is None or not node.input:
                return None
            behind = node.input[0]
        return None

    def of(self, name: str, depth: int = DEPTH) -> np.ndarray:
        """The value of this name.

        Raises:
            Unknown: it depends on inputs, or on an operator that computes.
            InteropError: its tensor is damaged, or all are larger than the limit.
        """
        if name not in self._known:
            if depth == 0:
                raise Unknown(f"{name!r} is behind more than {DEPTH} operators")
            self._known[name] = self._compute(name, depth)
        return self._known[name]

    def _compute(self, name, depth):
        if name in self._tensors:
            tensor = self._tensors[name]
            self.spend(nbytes_of(tensor))
            return array_of(tensor, self._folder)
        node = self.producers.get(name)
        if node is None:
            raise Unknown(f"{name!r} is an input of the graph")
        operator = OPERATORS.get(node.op_type if not node.domain else "")
        if operator is None or node.output[0] != name:
            raise Unknown(f"{name!r} comes out of {node.op_type}")
        if node.op_type == "Constant":
            return self._constant(node)
        inputs = [self.of(i, depth - 1) if i else None for i in node.input]
        attributes = attributes_of(node)
        if node.op_type in COPYING:
            self.spend(sum(i.nbytes for i in inputs if i is not None))
        try:
            return operator(*inputs, **attributes)
        except MALFORMED as error:
            raise Unknown(
                f"{node.op_type} of {name!r} is malformed: {error}"
            ) from error

    def _constant(self, node):
        if len(node.attribute) != 1:
            raise Unknown(f"Constant {node.output[0]!r} has not one attribute")
        kind, value = node.attribute[0].name, _attribute(node.attribute[0])
        if hasattr(value, "dims"):
            self.spend(nbytes_of(value))
            return array_of(value, self._folder)
        if np.asarray(value).dtype.kind not in "if":
            raise Unknown(f"Constant {node.output[0]!r} is text")
        return np.asarray(value, np.float32 if "float" in kind else np.int64)

    def spend(self, nbytes: int) -> None:
        """Counts bytes that are made of the file; raises where they are too many."""
        self._left[0] -= nbytes
        if self._left[0] < 0:
            raise InteropError(
                "the weights that its nodes use are larger than the limit; pass a "
                "larger limit if the file is to be trusted."
            )


_FIELDS = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}
"""``AttributeProto.AttributeType`` to the field that it says is set."""


def _attribute(attribute: Any) -> Any:
    """A number, text, a list of them, or a tensor."""
    field = _FIELDS.get(attribute.type)
    if field is None:
        raise Unknown(f"attribute {attribute.name!r} has the type {attribute.type}")
    value = getattr(attribute, field)
    text = lambda v: v.decode() if isinstance(v, bytes) else v
    several = field in ("floats", "ints", "strings")
    try:
        return [*map(text, value)] if several else text(value)
    except UnicodeDecodeError as error:
        raise InteropError(f"attribute {attribute.name!r} is no text.") from error


def attributes_of(node: Any) -> dict[str, Any]:
    """The attributes of a node by name; raises where one is there twice."""
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.name in values:
            raise InteropError(f"attribute {attribute.name!r} is there twice.")
        values[attribute.name] = _attribute(attribute)
    return values


# Operators that move numbers about


def _squeeze(x, axes=None):
    return np.squeeze(x, None if axes is None else tuple(map(int, axes)))


def _unsqueeze(x, axes):
    return np.expand_dims(x, tuple(map(int, axes)))


def _reshape(x, shape, allowzero=0):
    keep = lambda n, size: x.shape[n] if size == 0 and not allowzero else int(size)
    return x.reshape([keep(n, size) for n, size in enumerate(shape)])


def _slice(x, starts, ends, axes=None, steps=None):
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    index = [slice(None)] * x.ndim
    for axis, *cut in zip(axes, starts, ends, steps, strict=True):
        start, end, step = map(int, cut)
        if step < 1:
            raise ValueError("a step backwards")
        index[int(axis)] = slice(start, end, step)
    return x[tuple(index)]


def _concat(*xs, axis):
    return np.concatenate(xs, axis=axis)


def _gather(x, indices, axis=0):
    if indices.size > x.shape[axis] or indices.dtype.kind != "i":
        raise ValueError("more than is there")
    return np.take(x, indices, axis=axis)


def _shape(x):
    return np.array(x.shape, np.int64)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Constant": np.asarray,
    "Identity": lambda x: x,
    "Dropout": lambda x, *rest, **facts: x,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": lambda x, perm=None: np.transpose(x, perm),
    "Reshape": _reshape,
    "Slice": _slice,
    "Concat": _concat,
    "Gather": _gather,
    "Shape": _shape,
}
COPYING = {"Concat", "Gather", "Reshape"}
MALFORMED = (AttributeError, TypeError, ValueError, IndexError, OverflowError)
"""What an operator raises of inputs that it cannot take; one that is left out is
``None``, which has no shape."""
