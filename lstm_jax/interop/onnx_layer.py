"""One recurrent node of ONNX as a cell and its parameters."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.core.bidirectional import Bidirectional
from lstm_jax.core.cell import Cell
from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.onnx_arrays import from_onnx_arrays
from lstm_jax.interop.onnx_nodes import cell_of
from lstm_jax.interop.onnx_values import Unknown, Values, attributes_of

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
        name: of the node, or of its first output.
        cell, params: what `lstm_jax.unroll` takes; the parameters of two directions are
            a `lstm_jax.Bidirectional`.
        reverse: it runs from the last step to the first.
        batch_first: its ``X`` is ``[B, T, D]`` (``layout=1``).
        carry: the initial state where the file holds it, ``[B, H]`` each; ``None`` if
            it is zeros or an input of the graph.
        lengths: likewise, ``[B]``.
        below: the name of the layer whose whole output it reads, and nothing else.
    """

    name: str
    cell: Cell
    params: Any
    reverse: bool = False
    batch_first: bool = False
    carry: Any = None
    lengths: np.ndarray | None = None
    below: str | None = None

    @property
    def directions(self) -> int:
        return 2 if isinstance(self.params, Bidirectional) else 1


class NodeReader:
    """One node while it is read; everything in it may be wrong."""

    def __init__(self, node, values: Values):
        self.node, self.values, self.operator = node, values, node.op_type
        self.attributes = self._attributes()
        count = 8 if self.operator == "LSTM" else 6
        if len(node.input) > count:
            raise InteropError(
                f"it has {len(node.input)} inputs, expected {count} at most."
            )
        self.inputs = dict(zip(INPUTS, node.input, strict=False))
        self.direction = self.attributes.get("direction", "forward").lower()
        if self.direction not in DIRECTIONS:
            raise InteropError(
                f"direction is {self.direction!r}, expected one of "
                f"{', '.join(DIRECTIONS)}."
            )
        self.directions = DIRECTIONS[self.direction]

    def _attributes(self) -> Mapping[str, Any]:
        attributes, types = attributes_of(self.node), ATTRIBUTES[self.operator]
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

    def layer(self, name: str, lower: Mapping[str, OnnxLayer]) -> OnnxLayer:
        """The layer, where ``lower`` has those before it by the name of their ``Y``.

        Raises:
            InteropError: the node contradicts itself.
            UnsupportedError: none of our cells is like it.
            Unknown: a weight is not in the file.
        """
        arrays = self._weights()
        H, peepholes = arrays["R"].shape[2], "P" in arrays
        kind, cell = cell_of(
            self.operator, self.attributes, H, self.directions, peepholes
        )
        given: list[Any] = [arrays.get(key) for key in "WRBP"]
        return OnnxLayer(
            name=name,
            cell=cell,
            params=from_onnx_arrays(*given, cell=kind.layout),
            reverse=self.direction == "reverse",
            batch_first=self.batch_first,
            carry=self._carry(cell),
            lengths=self._lengths(),
            below=self._below(lower),
        )

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

    def _known(self, name):
        """An input where it is in the file, and whether the graph makes it."""
        given = self.inputs.get(name)
        try:
            return (self.values.of(given) if given else None), False
        except Unknown:
            return None, True

    def _carry(self, cell):
        zero = jax.eval_shape(lambda: cell.zero_carry((), jnp.float32))
        known = [self._known(f"initial_{field}") for field in zero._fields]
        parts: list[Any] = [value for value, _ in known]
        if any(made for _, made in known) or all(part is None for part in parts):
            return None
        some = next(part for part in parts if part is not None)
        N, H = self.directions, cell.hidden_size
        for n, part in enumerate(parts):
            parts[n] = part = np.zeros_like(some) if part is None else part
            rows = part.shape[not self.batch_first] if part.ndim == 3 else 0
            shape = (rows, N, H) if self.batch_first else (N, rows, H)
            if part.shape != shape or part.dtype.kind == "i":
                raise InteropError(
                    f"initial_{zero._fields[n]} has shape {part.shape} and dtype "
                    f"{part.dtype}, expected floats {str(shape).replace('0', 'B')}."
                )
        if self.batch_first:
            parts = [part.swapaxes(0, 1) for part in parts]
        ways = [type(zero)(*(jnp.asarray(p[way]) for p in parts)) for way in range(N)]
        return Bidirectional(*ways) if N == 2 else ways[0]

    def _lengths(self):
        lengths, _ = self._known("sequence_lens")
        if lengths is not None and (lengths.ndim != 1 or lengths.dtype.kind != "i"):
            raise InteropError(
                f"sequence_lens has shape {lengths.shape} and dtype {lengths.dtype}, "
                f"expected integers [B]."
            )
        return lengths

    def _below(self, lower):
        """The layer whose outputs, and nothing else, arrive as ``X``.

        Numbers that count the outputs of the other are sent through whatever stands
        between, with two steps and three rows.
        """
        X = self.inputs.get("X", "")
        Y = self.values.first_of(lower.keys(), behind=X)
        if Y is None:
            return None
        other = lower[Y]
        N, H, T, B = other.directions, other.cell.hidden_size, 2, 3
        count = np.arange(T * N * B * H).reshape(T, N, B, H)
        expected = count.transpose(0, 2, 1, 3).reshape(T, B, N * H)
        expected = expected.swapaxes(0, 1) if self.batch_first else expected
        given = count.transpose(2, 0, 1, 3) if other.batch_first else count
        try:
            arriving = self.values.given({Y: given}).of(X)
        except Unknown:
            return None
        return other.name if np.array_equal(arriving, expected) else None
