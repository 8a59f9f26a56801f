"""Random programs, for the tests of the exports and for `benchmarks.onnx_export`."""

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime

from lstm_jax import (
    Activation,
    Activations,
    CIFGLSTMCell,
    GRUCell,
    LSTMCell,
    PeepholeLSTMCell,
    RecurrentDropout,
    ResetBeforeGRUCell,
    RNNCell,
    Stack,
)
from lstm_jax.interop import Embed, Layers, Linear, Program

SIZES = [(1, 1), (7, 3), (34, 8)]
"""``(T, B)`` at which one and the same file is run."""

BOUND = 5e-6
"""Largest difference between onnxruntime and this package."""

LSTMS = (LSTMCell, PeepholeLSTMCell, CIFGLSTMCell)
OTHERS = (GRUCell, ResetBeforeGRUCell, RNNCell)
SCALED = Activation("scaled_tanh", 1.5, 0.6)
FUNCTIONS = {
    LSTMCell: [
        Activations("hard_sigmoid", "softsign", SCALED, clip=0.8),
        Activations(Activation("hard_sigmoid", 0.3), "elu", "tanh"),
    ],
    PeepholeLSTMCell: [Activations("sigmoid", SCALED, "softsign", clip=2.0)],
    CIFGLSTMCell: [Activations("hard_sigmoid", "tanh", SCALED, clip=1.0)],
    GRUCell: [Activations("hard_sigmoid", "softsign", clip=0.7)],
    ResetBeforeGRUCell: [Activations("sigmoid", SCALED)],
    RNNCell: [Activations(candidate="softsign", clip=1.5)],
}


def uniform(rng, tree, hidden_size):
    """``tree`` with weights and biases U(-1/sqrt(H), 1/sqrt(H))."""
    draw = lambda a: rng.uniform(-1, 1, a.shape).astype(np.float32) * hidden_size**-0.5
    return jax.tree.map(lambda a: draw(a).astype(np.float32), tree)


def stack_params(rng, stack, in_size):
    shapes = jax.eval_shape(lambda key: stack.init(key, in_size), jax.random.key(0))
    units = max(cell.hidden_size for cell in stack.cells)
    return uniform(rng, shapes, units)


def random_stack(rng, cells=LSTMS, largest=128):
    layers, kind = int(rng.integers(1, 4)), rng.choice(np.array(cells, object))
    skip = rng.choice(np.array([None, None, "residual", "dense"], object))
    sizes = [int(n) for n in rng.integers(1, largest + 1, layers)]
    sizes = sizes[:1] * layers if skip == "residual" else sizes
    options = [Activations(), *FUNCTIONS[kind]]
    activations = options[rng.integers(len(options)) if rng.random() < 0.4 else 0]
    bidirectional = bool(rng.random() < 0.4)
    merges = ["sum", "mean", "mul"] if skip == "residual" else ["concat", "concat"]
    stack = Stack(
        [kind(size, activations) for size in sizes],
        bidirectional=bidirectional,
        merge=str(rng.choice([*merges, "mean"])),
        skip=skip,
        dropout=0.1,
    )
    if rng.random() < 0.2:
        dropped = RecurrentDropout(stack.cells[0], 0.1)
        stack = Stack([dropped, *stack.cells[1:]], bidirectional, stack.merge, skip)
    return stack


def random_program(seed, cells=LSTMS, largest=128):
    """A stack, in half of the cases between an embedding and a linear layer."""
    rng = np.random.default_rng(seed)
    stack, in_size = random_stack(rng, cells, largest), int(rng.integers(1, largest))
    pieces = [Layers(stack, stack_params(rng, stack, in_size))]
    if rng.random() < 0.5:
        out = pieces[0].out_size
        table = rng.normal(size=(11, in_size)).astype(np.float32)
        w, b = uniform(rng, (np.zeros((out, 5)), np.zeros(5)), out)
        pieces = [Embed(table), *pieces, Linear(w, b if rng.random() < 0.5 else None)]
    flags = [bool(flag) for flag in rng.integers(0, 2, 3)]
    return Program(pieces, *flags)


def random_inputs(program, T, B, seed=0):
    """Inputs of these sizes; of three rows or more one has no steps, one has all."""
    rng, inputs = np.random.default_rng(seed), {}
    for name, dtype, axes in program.inputs:
        shape = [{"T": T, "B": B}.get(axis, axis) for axis in axes]
        if name == "lengths":
            values = rng.integers(1, T + 1, shape)
            values[: B // 3] = 0
            values[B // 3] = T
        elif dtype == "int32":
            values = rng.integers(0, 11, shape)
        else:
            values = rng.normal(size=shape)
        inputs[name] = values.astype(dtype)
    return inputs


def session_of(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_session(session, inputs):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def run_program(program, inputs):
    run = jax.jit(lambda inputs: program(inputs, implementation="scan"))
    outputs = run({name: jnp.asarray(a) for name, a in inputs.items()})
    return {name: np.asarray(a) for name, a in outputs.items()}


def largest_difference(got, want):
    assert got.keys() == want.keys()
    assert all(got[name].shape == want[name].shape for name in want)
    return max(float(np.abs(got[name] - want[name]).max()) for name in want)


def two_layers(cell=LSTMCell, **options):
    """Small enough that its inputs and outputs can be told apart at a glance."""
    stack = Stack([cell(4)] * 2, **options)
    return stack, stack_params(np.random.default_rng(0), stack, 3)


def nodes_of(model):
    return [node.op_type for node in model.graph.node]
