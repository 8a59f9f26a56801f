"""ONNX for `benchmarks.fuzz_readers`: valid files, and changes that still parse.

Half of the time, bytes are corrupted as in any file. Otherwise the message is parsed, a
few of its fields are changed using the descriptors of protobuf, and the message is
written again as valid protobuf.
"""

import random
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
from onnx import helper, numpy_helper

from lstm_jax import LSTMCell, Stack
from lstm_jax.interop import (
    Embed,
    Layers,
    Linear,
    Program,
    UnsupportedError,
    from_onnx,
    stack_from_onnx,
    to_onnx,
)
from tests.interop.onnx_graphs import random_case

NUMBERS = [0, 1, -1, 2, 3, 4, 7, 255, 2**31 - 1, -(2**31), 2**40, 2**62, -(2**63)]
FLOATS = [0.0, -1.0, 0.5, float("inf"), float("-inf"), float("nan"), 1e38]
TEXTS = ["", "X", "W", "Y", "LSTM", "GRU", "RNN", "Concat", "Reshape", "Gather"]
TEXTS += ["Slice", "Constant", "direction", "activations", "HardSigmoid", "../x"]


def seeds(folder: Path) -> list[bytes]:
    """A program, single nodes with everything, moved weights, and random graphs."""
    (folder / "weights.bin").write_bytes(bytes(4 * 24 * 3))
    cases = [case for case in map(random_case, range(16)) if case.clear]
    random = [case.model.SerializeToString() for case in cases]
    made = [_program(), _everything("LSTM"), _everything("GRU"), _moved(), _beside()]
    return made + random


def read(path: Path) -> Any:
    """What ``lstm-jax import`` does."""
    layers = from_onnx(path)
    try:
        return stack_from_onnx(layers, states=True)
    except UnsupportedError:
        return layers


def _program():
    stack = Stack([LSTMCell(3)] * 2, bidirectional=True)
    recurrent = Layers(stack, stack.init(jax.random.key(0), 2))
    ones = lambda *shape: np.ones(shape, np.float32)
    program = Program([Embed(ones(5, 2)), recurrent, Linear(ones(6, 5))])
    return to_onnx(program).SerializeToString()


GATES = {"LSTM": 4, "GRU": 3}


def _arrays(operator, H=3, D=2, directions=2):
    n, ones = GATES[operator], lambda *s: np.full((directions, *s), 0.5, np.float32)
    arrays = {"W": ones(n * H, D), "R": ones(n * H, H), "B": ones(2 * n * H)}
    arrays |= {"sequence_lens": np.array([4, 2], np.int32), "initial_h": ones(2, H)}
    if operator == "LSTM":
        arrays |= {"initial_c": ones(2, H), "P": ones(3 * H)}
    return arrays


def _model(nodes, tensors):
    value = lambda name: helper.make_tensor_value_info(name, 1, None)
    graph = helper.make_graph(nodes, "g", [value("X")], [value("Y")], tensors)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _everything(operator):
    arrays = _arrays(operator)
    functions = ["HardSigmoid", "Elu", "Tanh"][: GATES[operator] - 1] * 2
    node = helper.make_node(
        operator,
        ["X", *arrays],
        ["Y"],
        direction="bidirectional",
        activations=functions,
        activation_alpha=[0.3, 0.5] * 2,
        activation_beta=[0.4] * 2,
        clip=1.0,
        hidden_size=3,
    )
    tensors = [numpy_helper.from_array(a, name) for name, a in arrays.items()]
    return _model([node], tensors).SerializeToString()


def _moved():
    """Weights behind operators, and numbers that are not raw bytes."""
    arrays, make = _arrays("LSTM", directions=1), helper.make_node
    nodes = [
        make("Constant", [], ["zero"], value_ints=[0]),
        make("Constant", [], ["half"], value_ints=[6]),
        make("Constant", [], ["end"], value=helper.make_tensor("e", 7, [1], [99])),
        make("Slice", ["w", "zero", "half", "zero"], ["one"]),
        make("Slice", ["w", "half", "end", "zero"], ["other"]),
        make("Concat", ["one", "other"], ["joined"], axis=0),
        make("Unsqueeze", ["joined", "zero"], ["W"]),
        make("Reshape", ["r", "shape"], ["r_1"]),
        make("Transpose", ["r_1"], ["R"], perm=[0, 2, 1]),
        make("Gather", ["b", "zero"], ["B"], axis=0),
        make("LSTM", ["X", "W", "R", "B"], ["Y_1"], name="first", hidden_size=3),
        make("Shape", ["Y_1"], ["s"]),
        make("Squeeze", ["Y_1", "half_1"], ["X_2"]),
        make("LSTM", ["X_2", "R_2", "R_2"], ["Y"], name="second"),
    ]
    of = numpy_helper.from_array
    tensors = [
        helper.make_tensor("w", 1, [12, 2], arrays["W"].ravel().tolist()),
        of(arrays["R"].astype(np.float16), "r"),
        helper.make_tensor("b", 16, [1, 24], [0.5] * 24),
        of(np.array([1, 3, -1]), "shape"),
        of(np.array([1]), "half_1"),
        of(arrays["R"], "R_2"),
    ]
    return _model(nodes, tensors).SerializeToString()


def _beside():
    """Weights in another file."""
    model = onnx.ModelProto.FromString(_everything("LSTM"))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in dict(location="weights.bin", offset="0", length="192").items():
        tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


# Damage


def damage(rng: random.Random, files: list[bytes], by_bytes: Any) -> bytes:
    """``by_bytes(rng, files)`` or a message with other fields."""
    if rng.random() < 0.5:
        return by_bytes(rng, files)
    model = onnx.ModelProto.FromString(rng.choice(files))
    for _ in range(rng.choice([1, 1, 2, 4])):
        message = rng.choice([*_messages(model)])
        field = rng.choice(message.DESCRIPTOR.fields)
        _damage_field(rng, message, field)
    return model.SerializeToString()


def _messages(message):
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if _repeated(field) else [value]:
                yield from _messages(inner)


def _repeated(field):
    return field.is_repeated if hasattr(field, "is_repeated") else field.label == 3


def _damage_field(rng, message, field):
    if rng.random() < 0.1:
        message.ClearField(field.name)
    elif not _repeated(field):
        if field.message_type is None:
            setattr(message, field.name, _value(rng, field))
    else:
        _damage_list(rng, getattr(message, field.name), field)


def _damage_list(rng, values, field):
    """One more, one less, or one in the place of another."""
    at = rng.randrange(len(values)) if values else None
    more = rng.choice([1, 1, 2, 100])
    match rng.randrange(3):
        case 0 if at is not None:
            del values[at]
        case 1 if at is not None:
            other = values[rng.randrange(len(values))]
            if field.message_type is not None:
                values[at].CopyFrom(other)
            else:
                values[at] = _value(rng, field)
        case _ if field.message_type is None:
            values.extend(_value(rng, field) for _ in range(more))
        case _ if at is not None:
            values.extend([values[at]] * more)


def _value(rng, field):
    """A number or a text that the field can have."""
    match field.cpp_type:
        case field.CPPTYPE_STRING:
            text = rng.choice(TEXTS) * rng.choice([1, 1, 1, 1000])
            return text.encode() if field.type == field.TYPE_BYTES else text
        case field.CPPTYPE_FLOAT | field.CPPTYPE_DOUBLE:
            return rng.choice(FLOATS)
        case field.CPPTYPE_ENUM:
            return rng.choice(field.enum_type.values).number
        case field.CPPTYPE_INT32:
            return rng.choice([n for n in NUMBERS if -(2**31) <= n < 2**31])
        case field.CPPTYPE_UINT64 | field.CPPTYPE_UINT32:
            return rng.choice([n for n in NUMBERS if 0 <= n < 2**32])
    return rng.choice(NUMBERS)
