"""The numbers of onnxruntime's LSTM, GRU and RNN, in float32.

ONNX has the gates of an LSTM in the order i, o, f, c, its peepholes in the order i, o,
f, and the gates of a GRU in the order z, r, h; there are two biases. With
``input_forget=1`` its forget gate is ``1 - i``.

``clip`` of onnxruntime bounds what the functions f and g are applied to, peepholes
included, and nothing else: neither the cell state nor what h is applied to, although
ONNX says that it "is applied to the input of activations", nor, with
``linear_before_reset=1``, the product before it is reset. That is `Activations.clip`;
``cell_clip`` has no counterpart here.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

import lstm_jax
from lstm_jax import Activation, Activations
from tests import cells, reference
from tests.core.test_cell_oracles import (
    cifg_step,
    gru_step,
    peephole_step,
    reset_before_gru_step,
)


def lstm_gates(a):
    i, f, g, o = np.split(np.asarray(a), 4, axis=-1)
    return np.concatenate([i, o, f, g], axis=-1).T


def cifg_gates(a):
    """Its input gate is ``1 - f``: the sign turns. It ignores a forget gate."""
    f, g, o = np.split(np.asarray(a), 3, axis=-1)
    return lstm_gates(np.concatenate([-f, np.ones_like(f), g, o], axis=-1))


def gru_gates(a):
    r, z, n = np.split(np.asarray(a), 3, axis=-1)
    return np.concatenate([z, r, n], axis=-1).T


def rnn_gates(a):
    return np.asarray(a).T


def with_gates(reorder):
    return lambda p: dict(W=reorder(p.w_x), R=reorder(p.w_h), B=two(reorder(p.b)))


def two(b, b_h=None):
    return np.concatenate([b, np.zeros_like(b) if b_h is None else b_h])


def peephole(p):
    P = np.concatenate([p.p_i, p.p_o, p.p_f])
    return with_gates(lstm_gates)(p) | dict(P=P)


def gru(p):
    b_h = np.concatenate([np.zeros(2 * len(p.b_hn), np.float32), p.b_hn])
    return with_gates(gru_gates)(p) | dict(B=two(gru_gates(p.b), b_h))


def reset_before_gru(p):
    w_h = np.concatenate([p.w_h, p.w_hn], axis=-1)
    return with_gates(gru_gates)(p._replace(w_h=w_h))


class Kind(NamedTuple):
    """One of our cells as a node of ONNX."""

    operator: str
    attributes: dict
    cell: type
    step: object
    convert: object
    functions: tuple = ("gate", "candidate", "output")


GRU = ("gate", "candidate")
KINDS = {
    "lstm": Kind(
        "LSTM", {}, lstm_jax.LSTMCell, reference.lstm_step, with_gates(lstm_gates)
    ),
    "peephole": Kind("LSTM", {}, lstm_jax.PeepholeLSTMCell, peephole_step, peephole),
    "cifg": Kind(
        "LSTM",
        dict(input_forget=1),
        lstm_jax.CIFGLSTMCell,
        cifg_step,
        with_gates(cifg_gates),
    ),
    "gru": Kind(
        "GRU", dict(linear_before_reset=1), lstm_jax.GRUCell, gru_step, gru, GRU
    ),
    "gru, reset before": Kind(
        "GRU",
        {},
        lstm_jax.ResetBeforeGRUCell,
        reset_before_gru_step,
        reset_before_gru,
        GRU,
    ),
    "rnn": Kind(
        "RNN",
        {},
        lstm_jax.RNNCell,
        reference.rnn_step,
        with_gates(rnn_gates),
        ("candidate",),
    ),
}


class Functions(NamedTuple):
    """Names, or names with alpha and beta: all the functions of ONNX are here. A gate
    is odd around 1/2, so that ``1 - i`` is a gate too, with the sign turned."""

    gate: tuple = ("sigmoid",)
    candidate: tuple = ("tanh",)
    output: tuple = ("tanh",)
    clip: float | None = None


FUNCTIONS = {
    "textbook": Functions(),
    "textbook, clipped": Functions(clip=0.7),
    "hard": Functions(("hard_sigmoid",), ("softsign",), ("softsign",)),
    "scaled": Functions(
        ("hard_sigmoid", 0.3, 0.5), ("scaled_tanh", 1.5, 0.6), ("affine", 0.5, 0.1)
    ),
    "leaky": Functions(("sigmoid",), ("leaky_relu",), ("elu",), clip=2.0),
    "soft": Functions(("sigmoid",), ("softplus",), ("sigmoid",), clip=1.5),
    "thresholded": Functions(("sigmoid",), ("thresholded_relu", 0.3), ("relu",), 1.0),
}
SHAPES = [(64, 3, 4, 5), (21, 2, 3, 16)]
"""``(T, B, D, H)``, in turns: onnxruntime has other loops for a multiple of 8."""

WAYS = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
CASES = 6
"""Random weights, states, inputs and lengths for every kind and set of functions."""


def activations_of(kind, functions):
    """Ours, and numpy's."""
    made = lambda name, *numbers: Activation(name, *numbers) if numbers else name
    numpys = lambda name, *numbers: lambda z: reference.ACTIVATIONS[name](z, *numbers)
    given = {field: getattr(functions, field) for field in kind.functions}
    ours = {field: made(*function) for field, function in given.items()}
    theirs = {field: numpys(*function) for field, function in given.items()}
    return (
        Activations(**ours, clip=functions.clip),
        reference.Functions(**theirs, clip=functions.clip or np.inf),
    )


def attributes_of(kind, functions, way):
    """Theirs: names in big letters, the numbers of all functions in one list."""
    given = [getattr(functions, field) for field in kind.functions] * len(WAYS[way])
    names = ["".join(map(str.title, name.split("_"))) for name, *_ in given]
    attributes = dict(direction=way, activations=names) | kind.attributes
    for n, numbers in enumerate(["activation_alpha", "activation_beta"], start=1):
        if values := [function[n] for function in given if len(function) > n]:
            attributes[numbers] = values
    if functions.clip:
        attributes["clip"] = functions.clip
    return attributes


def run_onnx(operator, attributes, inputs, outputs, hidden_size):
    """One node, made and run; inputs that are not given are left out of it."""
    names = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
    names = names if operator == "LSTM" else names[:6]
    node = onnx.helper.make_node(
        operator,
        [name if name in inputs else "" for name in names],
        outputs,
        hidden_size=hidden_size,
        **attributes,
    )
    kind = lambda a: onnx.helper.np_dtype_to_tensor_dtype(a.dtype)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "node",
        [value(name, kind(array), None) for name, array in inputs.items()],
        [value(name, onnx.TensorProto.FLOAT, None) for name in outputs],
    )
    opset = [onnx.helper.make_opsetid("", 21)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)


class Case(NamedTuple):
    """Random numbers, in float32, one entry a direction; ``None`` is left out."""

    params: list
    carries: list | None
    lengths: np.ndarray | None
    xs: np.ndarray


def draw(cell, directions, shape, seed):
    """Weights U(-1/sqrt(H), 1/sqrt(H)), biases U(-1, 1)."""
    (T, B, D, H), rng = shape, np.random.default_rng(seed)
    uniform = lambda scale, shape: rng.uniform(-scale, scale, shape).astype(np.float32)
    params = jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0))
    scale = {name: 1.0 if name[0] == "b" else H**-0.5 for name in params._fields}
    weights = lambda: type(params)(
        *(uniform(scale[name], p.shape) for name, p in params._asdict().items())
    )
    carry = cell.zero_carry((B,), jnp.float32)
    state = lambda: jax.tree.map(lambda x: uniform(1.0, x.shape), carry)
    lengths = rng.integers(1, T + 1, B, dtype=np.int32)
    return Case(
        params=[weights() for _ in range(directions)],
        carries=[state() for _ in range(directions)] if rng.random() < 0.7 else None,
        lengths=lengths if rng.random() < 0.7 else None,
        xs=rng.normal(size=(T, B, D)).astype(np.float32),
    )


def theirs(kind, attributes, case, carry):
    """Final carries by direction, and outputs of all of them side by side."""
    inputs = [kind.convert(params) for params in case.params]
    if case.carries:
        for given, state in zip(inputs, case.carries, strict=True):
            given |= {
                f"initial_{field}": part for field, part in state._asdict().items()
            }
    inputs = {name: np.stack([given[name] for given in inputs]) for name in inputs[0]}
    inputs["X"] = case.xs
    if case.lengths is not None:
        inputs["sequence_lens"] = case.lengths
    names = ["Y", *(f"Y_{field}" for field in carry._fields)]
    hidden_size = carry.h.shape[-1]
    Y, *final = run_onnx(kind.operator, attributes, inputs, names, hidden_size)
    T, B, _ = case.xs.shape
    return list(zip(*final, strict=True)), np.moveaxis(Y, 1, -2).reshape(T, B, -1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def one_way(cell, reverse, params, carry, xs, lengths):
    return lstm_jax.unroll(cell, params, carry, xs, lengths=lengths, reverse=reverse)


def both_ways(run, case, carry, backwards):
    """``run(params, carry, lengths, reverse)`` of every direction, side by side."""
    T, B, _ = case.xs.shape
    lengths = np.full(B, T, np.int32) if case.lengths is None else case.lengths
    zeros = [jax.tree.map(np.asarray, carry)] * len(backwards)
    carries, hs = zip(
        *map(
            functools.partial(run, lengths),
            case.params,
            case.carries or zeros,
            backwards,
        ),
        strict=True,
    )
    return list(map(tuple, carries)), np.concatenate(hs, axis=-1)


@pytest.mark.parametrize("functions", FUNCTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_as_close_to_float64_as_onnxruntime(kind, functions):
    number = [*FUNCTIONS].index(functions) * len(KINDS) + [*KINDS].index(kind)
    kind, functions = KINDS[kind], FUNCTIONS[functions]
    activations, in_numpy = activations_of(kind, functions)
    shape = SHAPES[number % len(SHAPES)]
    cell = kind.cell(shape[-1], activations)
    carry = cell.zero_carry((shape[1],), jnp.float32)
    for seed in range(CASES):
        way, backwards = [*WAYS.items()][seed % len(WAYS)]
        case = draw(cell, len(backwards), shape, 100 * number + seed)

        def ours(lengths, params, carry, reverse, xs=case.xs):
            return one_way(cell, reverse, params, carry, xs, lengths)

        def oracle(lengths, params, carry, reverse, xs=case.xs):
            return reference.forward(
                functools.partial(kind.step, act=in_numpy),
                params,
                carry,
                xs,
                mask=cells.length_mask(lengths, len(xs)),
                reverse=reverse,
            )

        exact = both_ways(oracle, case, carry, backwards)
        mine = cells.largest_error(both_ways(ours, case, carry, backwards), exact)
        attributes = attributes_of(kind, functions, way)
        peer = cells.largest_error(theirs(kind, attributes, case, carry), exact)
        assert peer < 1e-5, "the conversion is wrong"
        assert mine <= max(2e-6, 2 * peer)
