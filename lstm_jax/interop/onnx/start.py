"""Reads the initial states and the lengths of a recurrent ONNX node.

Each state is left out, stored in the file, or an input of the graph. A state that the
graph computes, such as the last state of another layer, is refused by name. An unknown
state is never treated as absent.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.core.layers.bidirectional import Bidirectional
from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.onnx.sizes import Size
from lstm_jax.interop.onnx.tracked import Known, Moved
from lstm_jax.interop.onnx.values import Unknown, Values

ADVICE = (
    "Read the cells and weights with from_onnx(..., weights_only=True), or lstm-jax "
    "import --weights-only, and pass what is left out to them yourself."
)


def read_start(inputs: Mapping[str, str], values: Values, layer: Any) -> dict[str, Any]:
    """The fields ``carry``, ``lengths`` and ``given`` of a layer.

    Args:
        inputs: inputs of the node, by their ONNX names.
        layer: everything else that was read from the node.

    Raises:
        InteropError: shapes or dtypes do not match.
        UnsupportedError: the graph computes a state or lengths.
    """
    fields = jax.eval_shape(lambda: layer.cell.zero_carry((), jnp.float32))._fields
    names = [f"initial_{field}" for field in fields]
    found = {
        name: _find(name, inputs[name], values)
        for name in (*names, "sequence_lens")
        if inputs.get(name)
    }
    given = {k: _spell(v) for k, v in found.items() if isinstance(v, Moved | str)}
    lengths = found.pop("sequence_lens", None)
    states = [found.get(name) for name in names]
    parts = {
        name: _rows(name, state, layer)
        for name, state in zip(names, states, strict=True)
        if isinstance(state, Known)
    }
    parts = {name: part for name, part in parts.items() if np.any(part)}
    mixed = [name for name in names if name in given]
    if parts and mixed:
        raise UnsupportedError(
            f"{mixed[0]} is the input {given[mixed[0]]!r} of the graph, but "
            f"{min(parts)} is in the file, expected both in one place. {ADVICE}"
        )
    return {
        "carry": _carry(names, parts, layer) if parts else None,
        "lengths": _lengths(lengths, inputs, values, layer),
        "given": given,
    }


def _find(name, tensor, values):
    """What is known of an input: its numbers, or its place among the graph's inputs."""
    try:
        value = values.value(tensor)
    except Unknown as error:
        if tensor in values.inputs:  # An input without a shape.
            return tensor
        raise _computed(name, str(error)) from error
    if isinstance(value, Known):
        return value
    if isinstance(value, Moved) and value.source in values.inputs:
        return value
    raise _computed(name, f"{tensor!r} {values.origin(tensor)}")


def _computed(name, why):
    return UnsupportedError(
        f"{name} is made while the graph runs: {why}; expected numbers that are in the "
        f"file, or an input of the graph as it is. {ADVICE}"
    )


def _spell(value):
    """An input of the graph with its slice: ``h0[0:1, :]``."""
    if isinstance(value, str) or not value.cuts:
        return value if isinstance(value, str) else value.source
    cut = lambda label: "{}:{}".format(*value.cuts.get(label, ("", "")))
    return f"{value.source}[{', '.join(map(cut, value.sizes))}]"


def _rows(name, state, layer):
    """A state as ``[N, rows, H]``. Equal rows become one row."""
    if layer.batch_first and state.ndim == 3:
        state = state.pick([1, 0, 2])
    N, H = layer.directions, layer.cell.hidden_size
    fits = state.ndim == 3 and (state.shape[0], state.shape[2]) == (N, H)
    if not fits or not jnp.issubdtype(state.array.dtype, jnp.floating):
        shape = ("B", N, "H") if layer.batch_first else (N, "B", H)
        raise InteropError(
            f"{name} has shape {state.shape} and dtype {state.array.dtype}, expected "
            f"floats ({', '.join(map(str, shape))})."
        )
    array = np.broadcast_to(state.array, (N, state.array.shape[1], H))
    alike = array.shape[1] > 0 and (array == array[:, :1]).all()
    return array[:, :1] if alike else array


def _carry(names, parts, layer):
    """A carry of arrays ``[H]`` or ``[B, H]``; a `Bidirectional` for two directions."""
    some = next(iter(parts.values()))
    arrays = [parts.get(name, np.zeros_like(some)) for name in names]
    rows = {array.shape[1] for array in arrays} - {1}
    if len(rows) > 1:
        raise InteropError(
            f"{' and '.join(names)} have {' and '.join(map(str, sorted(rows)))} rows, "
            f"expected the same number."
        )
    shape = (layer.directions, *(rows or {1}), layer.cell.hidden_size)
    arrays = [np.broadcast_to(array, shape) for array in arrays]
    arrays = arrays if rows else [array[:, 0] for array in arrays]
    kind = type(layer.cell.zero_carry((), jnp.float32))
    ways = [kind(*(jnp.asarray(a[n]) for a in arrays)) for n in range(shape[0])]
    return Bidirectional(*ways) if len(ways) == 2 else ways[0]


def _lengths(lengths, inputs, values, layer):
    """Lengths ``[B]``, or ``None`` if every length is all steps, or an input of the
    graph.
    """
    if not isinstance(lengths, Known):
        return None
    steps = values.value(inputs["X"]).shape[1 if layer.batch_first else 0]
    if lengths.ndim != 1 or lengths.array.dtype.kind not in "iO":
        raise InteropError(
            f"sequence_lens has shape {lengths.shape} and dtype {lengths.array.dtype}, "
            f"expected integers [B]."
        )
    numbers = lengths.array.tolist()
    if all(n == steps for n in numbers):
        return None
    if lengths.whole and not any(isinstance(n, Size) for n in numbers):
        return lengths.array
    raise _computed("sequence_lens", f"it is {numbers[0]} for any number of rows")
