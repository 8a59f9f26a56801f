"""Files of ONNX by onnxruntime and by what the importer makes of them, side by side."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    RuntimeException,
)

import lstm_jax
from lstm_jax.core.layers.bidirectional import Bidirectional
from lstm_jax.interop import InteropError, UnsupportedError, from_onnx, stack_from_onnx
from tests.interop import programs
from tests.interop.onnx_graphs import InvalidGraph

NAMES = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


RUNTIME_ERRORS = (Fail, InvalidArgument, RuntimeException)


class Outcome(NamedTuple):
    """Errors, or the words in which layers and stack were refused."""

    layers: Any
    stack: Any

    @property
    def worst(self):
        return max([e for e in self if isinstance(e, float)], default=0.0)


def random_inputs(inputs, T, B, seed):
    rng, given = np.random.default_rng(seed), {}
    for name, (dtype, shape) in inputs.items():
        shape = [{"T": T, "B": B}.get(axis, axis) for axis in shape]
        if np.dtype(dtype).kind == "i":
            lengths = name.startswith("lengths")
            values = (
                rng.integers(1, T + 1, shape) if lengths else rng.integers(0, 11, shape)
            )
        else:
            values = rng.normal(size=shape)
        given[name] = values.astype(dtype)
    return given


def compare(case, seed=0, stack_of=None):
    """The stack, or where there is none every layer by itself, at all sizes.

    Args:
        case: a `onnx_graphs.Case`.
        seed: of the inputs.
        stack_of: from the bytes of the file to what `stack_from_onnx` returns with
            states, if it should take another way.
    """
    nodes = [n for n in case.model.graph.node if n.op_type in ("LSTM", "GRU", "RNN")]
    session, data = _session(case.model, nodes), case.model.SerializeToString()
    runs = []
    for T, B in case.sizes:
        inputs = random_inputs(case.inputs, T, B, seed)
        try:
            runs.append((inputs, programs.run_session(session, inputs)))
        except RUNTIME_ERRORS:  # Crops leave fewer rows or steps than there are states.
            continue
    if not runs:
        raise InvalidGraph
    try:
        layers = from_onnx(data)
    except InteropError as error:
        return Outcome(str(error), str(error))
    assert len(layers) == len(nodes)
    try:
        by_api = stack_from_onnx(layers, states=True)
        whole = stack_of(data) if stack_of else by_api
    except UnsupportedError as error:
        by_layer = [
            _layer_error(layer, node, inputs, values)
            for inputs, values in runs
            for layer, node in zip(layers, nodes, strict=True)
        ]
        return Outcome(max(by_layer), str(error))
    errors = [_stack_error(whole, layers, nodes, values) for _, values in runs]
    return Outcome(None, max(errors))


def _session(model, nodes):
    """All that goes in and out of the nodes is an output too."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    there = {value.name for value in model.graph.output}
    for node in nodes:
        for name in [*node.input, node.output[0]]:
            if name and name not in there:
                there.add(name)
                lengths = name in node.input[4:5]
                value = helper.make_tensor_value_info(name, 6 if lengths else 1, None)
                model.graph.output.append(value)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except RUNTIME_ERRORS as error:  # Sizes that cannot fit.
        raise InvalidGraph from error


def _named(node, values):
    inputs = dict(zip(NAMES, node.input, strict=False))
    return {key: values[name] for key, name in inputs.items() if name}


def _start(cell, given, named, carry, lengths):
    """Carry and lengths: the file's own, or what the graph was given."""
    for key, where in given.items():
        assert where, key
    states = {key: a for key, a in named.items() if key in given}
    if "sequence_lens" in states:
        assert lengths is None
        lengths = states.pop("sequence_lens")
    if states:
        kind = type(cell.zero_carry((), jnp.float32))
        zeros = np.zeros_like(next(iter(states.values())))
        parts = [states.get(f"initial_{field}", zeros) for field in kind._fields]
        ways = [kind(*(part[n] for part in parts)) for n in range(len(zeros))]
        carry = Bidirectional(*ways) if len(ways) > 1 else ways[0]
    return carry, lengths


def spread(carry, rows):
    """A state that is the same for all rows, for every row."""
    full = lambda a: np.broadcast_to(a, (rows, a.shape[-1]))
    return jax.tree.map(full, carry)


@functools.partial(jax.jit, static_argnums=(0, 5))
def _run(cell, params, carry, xs, lengths, reverse):
    return lstm_jax.unroll(cell, params, carry, xs, lengths=lengths, reverse=reverse)[1]


@functools.partial(jax.jit, static_argnums=0)
def _run_stack(stack, params, carries, xs, lengths):
    return stack(params, carries, xs, lengths=lengths)[1]


def _layer_error(layer, node, inputs, values):
    named, Y = _named(node, values), values[node.output[0]]
    xs = named["X"]
    carry, lengths = _start(layer.cell, layer.given, named, layer.carry, layer.lengths)
    for key, where in layer.given.items():
        name, _, places = where.partition("[")
        index = places.rstrip("]").split(", ") if places else []
        cut = [slice(*(int(n) if n else None for n in p.split(":"))) for p in index]
        np.testing.assert_array_equal(inputs[name][tuple(cut)], named[key])
    two = layer.directions == 2
    ways = zip(
        layer.params if two else [layer.params],
        (spread(carry, xs.shape[1]) or [None] * 2)
        if two
        else [spread(carry, xs.shape[1])],
        [False, True] if two else [layer.reverse],
        strict=True,
    )
    got = [_run(layer.cell, p, c, xs, lengths, r) for p, c, r in ways]
    return _difference(np.stack(got, 1), Y)


def _stack_error(whole, layers, nodes, values):
    stack, params, carries, lengths, given = whole
    named = [_named(node, values) for node in nodes]
    xs, Y = named[0]["X"], values[nodes[-1].output[0]]
    count = len(layers)
    rows = zip(
        stack.cells,
        given or [{}] * count,
        named,
        carries or [None] * count,
        [lengths] * count,
        strict=True,
    )
    starts = [_start(*row) for row in rows]
    carries, lengths = tuple(carry for carry, _ in starts), starts[0][1]
    got = _run_stack(stack, params, carries, xs, lengths)
    T, N, B, H = Y.shape
    return _difference(got, Y.transpose(0, 2, 1, 3).reshape(T, B, N * H))


def _difference(got, want):
    if got.shape != want.shape:
        return float("inf")
    return float(np.abs(got - want).max())
