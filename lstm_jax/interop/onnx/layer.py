"""One recurrent node of ONNX as a cell and its parameters."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.layers.bidirectional import Bidirectional
from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.onnx.arrays import from_onnx_arrays
from lstm_jax.interop.onnx.nodes import cell_of
from lstm_jax.interop.onnx.sizes import fresh
from lstm_jax.interop.onnx.start import read_start
from lstm_jax.interop.onnx.tracked import Hidden, Moved
from lstm_jax.interop.onnx.values import Unknown, Values, attributes_of

INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
"""Of an ``LSTM``; a ``GRU`` and an ``RNN`` have the first six."""

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
COMMON = {
    "activations": list,
    "activation_alpha": list,
    "activation_beta": list,
    "clip": float,
    "direction": str,
    "hidden_size": int,
    "layout": int,
}
ATTRIBUTES = {
    "LSTM": COMMON | {"input_forget": int},
    "GRU": COMMON | {"linear_before_reset": int},
    "RNN": COMMON,
}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


@dataclasses.dataclass(frozen=True, eq=False)
class OnnxLayer:
    """One recurrent node.

    Attributes:
        name: name of the node, or of its first output.
        cell: the cell, for `lstm_jax.unroll`.
        params: its parameters. Those of two directions are a `lstm_jax.Bidirectional`.
        reverse: whether it runs from the last step to the first.
        batch_first: whether its ``X`` is ``[B, T, D]`` (``layout=1``).
        carry: the initial state in the file, with arrays ``[H]`` if all rows start from
            the same state, otherwise ``[B, H]``. ``None`` if it is zeros or an input of
            the graph.
        lengths: the lengths in the file, ``[B]``. ``None`` if they are an input of the
            graph, or if every row has all steps.
        below: the name of the layer whose whole output is its only input.
        reads: a description of its input, if that is not a layer's output.
        given: states and lengths that are inputs of the graph, by their names in the
            node: ``{"initial_h": "h0[0:2]"}``. Pass them to the cell yourself.
    """

    name: str
    cell: Cell
    params: Any
    reverse: bool = False
    batch_first: bool = False
    carry: Any = None
    lengths: np.ndarray | None = None
    below: str | None = None
    reads: str = ""
    given: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def directions(self) -> int:
        return 2 if isinstance(self.params, Bidirectional) else 1


class NodeReader:
    """One node while it is read; everything in it may be wrong.

    ``opset`` is the version of its operator.
    """

    def __init__(self, node, values: Values, opset: int = 17):
        self.node, self.values, self.operator = node, values, node.op_type
        self.opset = opset
        self.attributes = self._attributes()
        count = 8 if self.operator == "LSTM" else 6
        if len(node.input) > count:
            raise InteropError(
                f"it has {len(node.input)} inputs, expected {count} at most."
            )
        self.inputs: dict[str, str] = dict(zip(INPUTS, node.input, strict=False))
        self.direction = self.attributes.get("direction", "forward").lower()
        if self.direction not in DIRECTIONS:
            raise InteropError(
                f"direction is {self.direction!r}, expected one of "
                f"{', '.join(DIRECTIONS)}."
            )
        self.directions = DIRECTIONS[self.direction]

    def _attributes(self) -> Mapping[str, Any]:
        attributes, types = attributes_of(self.node), ATTRIBUTES[self.operator]
        if self.opset < 7:
            types = types | {
                "output_sequence": int
            }  # Whether there is a Y; no effect on numbers.
        for name, value in attributes.items():
            if name not in types:
                raise InteropError(
                    f"it has an attribute {name!r}, expected {', '.join(types)}."
                )
            if not isinstance(value, types[name]):
                raise InteropError(
                    f"{name} is {value!r}, expected {types[name].__name__}."
                )
        for name in ("layout", "input_forget", "linear_before_reset"):
            if attributes.get(name, 0) not in (0, 1):
                raise InteropError(f"{name} is {attributes[name]}, expected 0 or 1.")
        return attributes

    def layer(
        self, name: str, lower: Mapping[str, OnnxLayer], weights_only: bool = False
    ) -> OnnxLayer:
        """The layer; ``lower`` has the layers before it, by the name of their ``Y``.

        Raises:
            InteropError: the node contradicts itself.
            UnsupportedError: no cell here is equal, or the graph computes a state or
                lengths.
            Unknown: a weight is not in the file.
        """
        arrays = self._weights()
        H, peepholes = arrays["R"].shape[2], "P" in arrays
        kind, cell = cell_of(
            self.operator, self.attributes, H, self.directions, peepholes
        )
        weights: list[Any] = [arrays.get(key) for key in "WRBP"]
        layer = OnnxLayer(
            name=name,
            cell=cell,
            params=from_onnx_arrays(*weights, cell=kind.layout),
            reverse=self.direction == "reverse",
            batch_first=self.batch_first,
            below=self._below(lower, arrays["W"].shape[2]),
            reads=self._reads(),
        )
        if not weights_only:
            start = read_start(self.inputs, self.values, layer)
            layer = dataclasses.replace(layer, **start)
        self._give_outputs(H, arrays["W"].dtype)
        return layer

    @property
    def batch_first(self) -> bool:
        return bool(self.attributes.get("layout", 0))

    def _weights(self):
        names = {name: self.inputs.get(name) for name in ("W", "R", "B", "P")}
        for name in ("X", "W", "R"):
            if not self.inputs.get(name):
                raise InteropError(f"it has no {name}, expected one.")
        arrays = {key: self.values.of(name) for key, name in names.items() if name}
        self.values.spend(sum(array.nbytes for array in arrays.values()))
        gates, N = GATES[self.operator], self.directions
        H, D = (arrays[name].shape[-1] if arrays[name].ndim else 0 for name in "RW")
        shapes = {"W": (N, gates * H, D), "R": (N, gates * H, H)}
        shapes |= {"B": (N, 2 * gates * H), "P": (N, 3 * H)}
        for name, array in arrays.items():
            if array.shape != shapes[name] or not array.size:
                raise InteropError(
                    f"{name} has shape {array.shape}, expected {shapes[name]} for "
                    f"{N} directions of {H} units on {D} features."
                )
            if not jnp.issubdtype(array.dtype, jnp.floating):
                raise InteropError(f"{name} has dtype {array.dtype}, expected floats.")
            if array.dtype == np.float64 and not jax.config.read("jax_enable_x64"):
                raise UnsupportedError(
                    f"{name} is float64, which JAX has with jax_enable_x64 alone; "
                    f"turn it on, or write the file in float32."
                )
        if self.attributes.get("hidden_size", H) != H:
            raise InteropError(
                f"hidden_size is {self.attributes['hidden_size']}, but R is for {H}."
            )
        return arrays

    def _below(self, lower, in_size):
        """The layer whose outputs are all of ``X``."""
        X = self.inputs["X"]
        try:
            x = self.values.value(X)
        except Unknown:
            sizes = {"0": fresh(f"{X}.0"), "1": fresh(f"{X}.1"), "2": in_size}
            x = Moved.whole(X, sizes, "V1")
            if X not in self.values.inputs:
                x = Hidden(x.shape, "another operator")
            self.values.give(X, x)
        if x.ndim != 3:
            raise InteropError(f"X has {x.ndim} axes, expected 3.")
        if not isinstance(x, Moved) or x.source not in lower or x.cuts:
            return None
        whole = lambda *labels: tuple(k for k in labels if k in sum(x.groups, ()))
        steps, rows = whole("T"), whole("B")
        expected = (rows, steps) if self.batch_first else (steps, rows)
        as_it_is = x.groups == (*expected, whole("N", "H"))
        return lower[x.source].name if as_it_is else None

    def _reads(self):
        X = self.inputs["X"]
        through, name = self.values.through(X)
        node = self.values.producers.get(name)
        if node is None or node.op_type not in GATES:
            return f"{X!r} {self.values.origin(X)}"
        made = f"{X!r} is made of {name!r}, an output of {node.op_type} {node.name!r}"
        return f"{made}{', by ' if through else ''}{', '.join(through)}"

    def _give_outputs(self, H, dtype):
        """Records what is known of the node's outputs: their axes."""
        steps, rows = self.values.value(self.inputs["X"]).shape[:2]
        if self.batch_first:
            steps, rows = rows, steps
        outputs = dict(zip(("Y", "Y_h", "Y_c"), self.node.output, strict=False))
        T, N, B, H = ("T", steps), ("N", self.directions), ("B", rows), ("H", H)
        first = (B, T, N, H) if self.batch_first else (T, N, B, H)
        if Y := outputs.pop("Y", None):
            self.values.give(Y, Moved.whole(Y, dict(first), dtype))
        last = (B, N, H) if self.batch_first else (N, B, H)
        for name in filter(None, outputs.values()):
            shape = tuple(size for _, size in last)
            self.values.give(name, Hidden(shape, f"{self.operator}"))
