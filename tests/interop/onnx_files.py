"""ONNX files made node by node, for the tests of the importer."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

T, B, D, H = 5, 3, 4, 6
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def arrays_of(operator="LSTM", directions=1, seed=0, in_size=D):
    rng, n = np.random.default_rng(seed), GATES[operator]
    draw = lambda *shape: rng.uniform(-1, 1, shape).astype(np.float32) * H**-0.5
    return {
        "W": draw(directions, n * H, in_size).astype(np.float32),
        "R": draw(directions, n * H, H).astype(np.float32),
        "B": draw(directions, 2 * n * H).astype(np.float32),
    }


INPUTS = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]


def node(operator="LSTM", names=("X", "W", "R", "B"), outputs=("Y",), **attributes):
    inputs = [name if name in names else "" for name in INPUTS]
    while inputs and not inputs[-1]:
        inputs.pop()
    return helper.make_node(operator, inputs, [*outputs], name="n", **attributes)


def model_of(nodes, arrays, opset=17, outputs=("Y",), inputs=("X",)):
    value = lambda name: helper.make_tensor_value_info(name, 1, None)
    graph = helper.make_graph(
        nodes,
        "g",
        [value(name) for name in inputs],
        [value(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def one_node(operator="LSTM", arrays=None, directions=1, **attributes):
    """A file with one node, all of whose inputs but ``X`` are in the file."""
    arrays = arrays or arrays_of(operator, directions)
    attributes = {"hidden_size": H} | attributes
    return model_of([node(operator, ("X", *arrays), **attributes)], arrays)


def data_of(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString()
