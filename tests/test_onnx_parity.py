"""The numbers of onnxruntime's LSTM: peepholes and coupled gates, in float32.

ONNX has the gates in the order i, o, f, c, peepholes in the order i, o, f, and two
biases. With ``input_forget=1`` its forget gate is ``1 - i``.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

import lstm_jax
from tests import cells, reference
from tests.core.test_cell_oracles import cifg_step, peephole_step
from tests.shapes import B, H, T

WAYS = ["forward", "reverse", "bidirectional"]
CASES = 20
"""Random weights, states, inputs and lengths for every kind and direction."""


@functools.cache
def session(way, input_forget):
    names = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
    kinds = dict.fromkeys(names, onnx.TensorProto.FLOAT)
    kinds["sequence_lens"] = onnx.TensorProto.INT32
    node = onnx.helper.make_node(
        "LSTM",
        names,
        ["Y", "Y_h", "Y_c"],
        hidden_size=H,
        direction=way,
        input_forget=input_forget,
    )
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "lstm",
        [value(name, kind, None) for name, kind in kinds.items()],
        [value(name, onnx.TensorProto.FLOAT, None) for name in node.output],
    )
    opset = [onnx.helper.make_opsetid("", 21)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=providers)


def gates(a):
    """Ours, i f g o on the last axis, as ONNX has them, i o f c on the first."""
    i, f, g, o = np.split(np.asarray(a), 4, axis=-1)
    return np.concatenate([i, o, f, g], axis=-1).T


def peephole(params):
    P = np.concatenate([params.p_i, params.p_o, params.p_f])
    return gates(params.w_x), gates(params.w_h), gates(params.b), P


def cifg(params):
    """Its input gate is ``1 - f``: the sign turns. It ignores a forget gate."""

    def wide(a):
        f, g, o = np.split(np.asarray(a), 3, axis=-1)
        return gates(np.concatenate([-f, np.ones_like(f), g, o], axis=-1))

    zero = np.zeros(3 * H, np.float32)
    return wide(params.w_x), wide(params.w_h), wide(params.b), zero


KINDS = {
    "peephole": (lstm_jax.PeepholeLSTMCell(H), peephole_step, peephole),
    "cifg": (lstm_jax.CIFGLSTMCell(H), cifg_step, cifg),
}


def theirs(kind, way, directions, lengths, xs):
    """``carries`` by direction, and outputs of all of them side by side."""
    W, R, b, P = (
        np.stack(part)
        for part in zip(*(KINDS[kind][2](at.params) for at in directions), strict=True)
    )
    Y, Y_h, Y_c = session(way, kind == "cifg").run(
        None,
        dict(
            X=xs,
            W=W,
            R=R,
            B=np.concatenate([b, np.zeros_like(b)], axis=-1),
            sequence_lens=lengths,
            initial_h=np.stack([at.carry.h for at in directions]),
            initial_c=np.stack([at.carry.c for at in directions]),
            P=P,
        ),
    )
    return list(zip(Y_h, Y_c, strict=True)), np.moveaxis(Y, 1, -2).reshape(T, B, -1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_as_close_to_float64_as_onnxruntime(kind, way):
    cell, step, _ = KINDS[kind]
    backwards = {"forward": [False], "reverse": [True]}.get(way, [False, True])

    @jax.jit
    def ours(directions, lengths, xs):
        carries, hs = zip(
            *(
                cells.unroll(
                    cell, at.params, at.carry, xs, lengths=lengths, reverse=reverse
                )
                for at, reverse in zip(directions, backwards, strict=True)
            ),
            strict=True,
        )
        return [tuple(carry) for carry in carries], jnp.concatenate(hs, axis=-1)

    for seed in range(CASES):
        lengths = np.random.default_rng(seed).integers(1, T + 1, B, dtype=np.int32)
        directions = [
            cells.make_case(cell, jnp.float32, seed=10 * seed + 5 * n)
            for n in range(len(backwards))
        ]
        xs = np.asarray(directions[0].xs)
        carries, outputs = zip(
            *(
                reference.forward(
                    step,
                    at.params,
                    at.carry,
                    xs,
                    mask=cells.length_mask(lengths),
                    reverse=reverse,
                )
                for at, reverse in zip(directions, backwards, strict=True)
            ),
            strict=True,
        )
        exact = list(carries), np.concatenate(outputs, axis=-1)
        figures = (
            ours(directions, lengths, xs),
            theirs(kind, way, directions, lengths, xs),
        )
        leaves = jax.tree.leaves
        mine, peer = (
            max(
                np.abs(got - want).max()
                for got, want in zip(leaves(figure), leaves(exact), strict=True)
            )
            for figure in figures
        )
        assert peer < 1e-5, "the conversion is wrong"
        assert mine <= max(2e-6, 2 * peer)
