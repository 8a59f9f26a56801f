"""Files of ONNX that are corrupt, or mean harm: one clear error, and little memory."""

import os
import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import helper

from lstm_jax.interop import InteropError, UnsupportedError, from_onnx
from lstm_jax.interop.onnx.file import DEPTH, FIELDS
from tests.interop import onnx_files
from tests.interop.onnx_files import D, H


def refused(source, *parts, kind=InteropError, **options):
    if isinstance(source, onnx.ModelProto):
        source = onnx_files.data_of(source)
    with pytest.raises(kind) as error:
        from_onnx(source, **options)
    said = str(error.value)
    assert all(part in said for part in parts), said
    assert "\n" not in said
    assert len(said) < 1000


def of_arrays(**changes):
    arrays = onnx_files.arrays_of() | changes
    return onnx_files.one_node(
        arrays={k: a for k, a in arrays.items() if a is not None}
    )


ones = lambda *shape, dtype=np.float32: np.ones(shape, dtype)
one = onnx_files.one_node

NODES = {
    "no such node": (
        lambda: onnx_files.model_of([helper.make_node("Relu", ["X"], ["Y"])], {}),
        "has 0 nodes GRU, LSTM, RNN",
    ),
    "no weights": (lambda: of_arrays(R=None), "n: it has no R"),
    "rank": (lambda: of_arrays(W=ones(4 * H, D)), "W has shape (24, 4), expected"),
    "units": (lambda: of_arrays(R=ones(1, 4 * H, 5)), "W has shape", "of 5 units"),
    "bias": (
        lambda: of_arrays(B=ones(1, 4 * H)),
        "B has shape (1, 24), expected (1, 48",
    ),
    "peepholes": (lambda: of_arrays(P=ones(1, 4)), "P has shape (1, 4)"),
    "scalar": (lambda: of_arrays(R=np.float32(1)), "expected"),
    "empty": (lambda: of_arrays(W=ones(1, 4 * H, 0)), "W has shape (1, 24, 0)"),
    "integers": (
        lambda: of_arrays(W=ones(1, 4 * H, D, dtype=np.int64)),
        "W has dtype int64",
    ),
    "directions": (lambda: one(direction="bidirectional"), "expected (2, 24, 4)"),
    "direction": (lambda: one(direction="up"), "direction is 'up', expected one of"),
    "hidden_size": (lambda: one(hidden_size=7), "hidden_size is 7, but R is for 6"),
    "attribute": (lambda: one(projection=3), "an attribute 'projection', expected"),
    "type": (lambda: one(hidden_size="six"), "hidden_size is 'six', expected int"),
    "layout": (lambda: one(layout=2), "layout is 2, expected 0 or 1"),
    "clip": (lambda: one(clip=-1.0), "clip is -1.0, expected a positive number"),
    "activation": (lambda: one(activations=["Tan"] * 3), "has 'Tan', expected one of"),
    "activations": (lambda: one(activations=["Tanh"]), "has 1 names, expected 3"),
    "numbers": (
        lambda: one(activations=["Tanh"] * 3, activation_alpha=[1.0]),
        "have more numbers than",
    ),
    "no numbers": (
        lambda: one(activations=["Sigmoid", "ScaledTanh", "Tanh"]),
        "ScaledTanh has no alpha or beta",
    ),
    "state": (
        lambda: of_arrays(initial_h=ones(2, 3, H)),
        "initial_h has shape (2, 3, 6)",
    ),
    "lengths": (
        lambda: of_arrays(sequence_lens=ones(3)),
        "sequence_lens has shape (3,) and dtype float32",
    ),
}


@pytest.mark.parametrize("name", NODES)
def test_a_node_that_contradicts_itself(name):
    make, *parts = NODES[name]
    refused(make(), *parts)


UNSUPPORTED = {
    "peepholes, coupled": (
        lambda: onnx_files.one_node(
            arrays=onnx_files.arrays_of() | {"P": ones(1, 3 * H)}, input_forget=1
        ),
        "input_forget and P",
    ),
    "two sets of functions": (
        lambda: one(
            directions=2,
            direction="bidirectional",
            activations=["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Relu", "Tanh"],
        ),
        "activations differ between the two directions",
    ),
    "coupled otherwise": (
        lambda: one(input_forget=1, activations=["Relu", "Tanh", "Tanh"]),
        "gate is 'relu' in CIFGLSTMCell",
    ),
    "float64": (
        lambda: of_arrays(W=ones(1, 4 * H, D, dtype=np.float64)),
        "W is float64",
    ),
    "strings": (lambda: of_arrays(W=np.full((1, 4 * H, D), "a")), "data type 8"),
    "an input": (
        lambda: onnx_files.model_of(
            [onnx_files.node()],
            {k: a for k, a in onnx_files.arrays_of().items() if k != "W"},
            inputs=["X", "W"],
        ),
        "'W' is an input of the graph, expected a weight that is in the file",
    ),
    "computed": (
        lambda: onnx_files.model_of(
            [helper.make_node("Tanh", ["w"], ["W"]), onnx_files.node()],
            {("w" if k == "W" else k): a for k, a in onnx_files.arrays_of().items()},
        ),
        "'W' comes out of Tanh",
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_we_do_not_have_is_named(name):
    make, *parts = UNSUPPORTED[name]
    refused(make(), *parts, kind=UnsupportedError)


def test_a_circle():
    nodes = [
        helper.make_node("Identity", ["b"], ["a"], name="first"),
        helper.make_node("Identity", ["a"], ["b"]),
        onnx_files.node(),
    ]
    model = onnx_files.model_of(nodes, onnx_files.arrays_of())
    refused(model, "first reads 'b', which nothing before it makes")


def test_names_that_are_there_twice():
    twice = onnx_files.one_node()
    twice.graph.initializer.append(twice.graph.initializer[0])
    refused(twice, "initializer 'W' appears twice")
    model = onnx_files.one_node()
    model.graph.node.append(helper.make_node("Relu", ["X"], ["Y"]))
    refused(model, "output 'Y' appears twice")
    model = onnx_files.one_node(clip=1.0)
    model.graph.node[0].attribute.append(model.graph.node[0].attribute[0])
    refused(model, "attribute", "appears twice")


def test_dims_that_are_not_there():
    for dims, part in [
        ([1, 4 * H, 2**40], "has dims"),
        ([2**30, 2**30, 2**30], "limit"),
        ([1, 4 * H, -1], "has dims"),
        ([1] * 70, "has dims"),
        ([1, 4 * H, D + 1], "has 384 bytes, expected 480"),
    ]:
        model = onnx_files.one_node()
        model.graph.initializer[0].dims[:] = dims
        refused(model, part)
        raw = model.graph.initializer[0].raw_data
        model.graph.initializer[0].ClearField("raw_data")
        model.graph.initializer[0].float_data.extend(np.frombuffer(raw, np.float32))
        refused(model, part)


def test_cut_short_at_every_byte():
    data = onnx_files.data_of(onnx_files.one_node())
    for end in range(0, len(data), 7):
        refused(data[:end])


def test_a_name_that_is_no_text():
    data = onnx_files.data_of(onnx_files.one_node())
    assert b"\x0a\x01W" in data
    refused(data.replace(b"\x0a\x01W", b"\x0a\x01\xff"), "is not text")


def test_no_file(tmp_path):
    (tmp_path / "text.onnx").write_text("this is no model at all")
    (tmp_path / "empty.onnx").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.onnx")
    refused(tmp_path / "none.onnx", "none.onnx is not a file")
    refused(tmp_path / "pipe.onnx", "is not a file")
    refused(tmp_path, "is not a file")
    refused(tmp_path / "text.onnx", "text.onnx is corrupt or not an ONNX file")
    refused(tmp_path / "empty.onnx", "is empty")
    refused(tmp_path / "text.onnx", "23 bytes, expected 10 at most", limit=10)


@pytest.mark.parametrize("operator", ["Gather", "Reshape", "Slice", "Shape"])
def test_an_operator_without_what_it_moves(operator):
    arrays = onnx_files.arrays_of()
    del arrays["W"]
    rest = [] if operator == "Shape" else ["one"] * (2 if operator == "Slice" else 1)
    moves = helper.make_node(operator, ["", *rest], ["W"])
    lstm = onnx_files.node(hidden_size=H)
    known = arrays | {"one": np.ones(1, np.int64)}
    refused(
        onnx_files.model_of([moves, lstm], known), f"{operator} of 'W' is malformed"
    )


def external(tmp_path, **entries):
    model = onnx_files.one_node()
    tensor = model.graph.initializer[0]
    (tmp_path / "inside").mkdir(exist_ok=True)
    (tmp_path / "weights.bin").write_bytes(tensor.raw_data)
    (tmp_path / "inside" / "weights.bin").write_bytes(tensor.raw_data)
    link = tmp_path / "inside" / "link.bin"
    if not link.is_symlink():
        link.symlink_to(tmp_path / "weights.bin")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    path = tmp_path / "inside" / "model.onnx"
    path.write_bytes(onnx_files.data_of(model))
    return path


def test_weights_outside_of_the_folder(tmp_path):
    outside = "expected a file in the folder of the model"
    assert from_onnx(external(tmp_path, location="weights.bin"))
    refused(external(tmp_path, location="../weights.bin"), outside)
    refused(external(tmp_path, location=str(tmp_path / "weights.bin")), outside)
    refused(external(tmp_path, location="link.bin"), outside)
    refused(external(tmp_path, location="/dev/zero"), outside)
    refused(external(tmp_path, location="weights.bin", offset="-4"), outside)
    refused(external(tmp_path, location="none.bin"), outside)
    refused(external(tmp_path, location=""), outside)
    refused(external(tmp_path, location="a\0b"), "cannot be read")
    refused(external(tmp_path, location="weights.bin", offset="4"), "has 380 bytes")
    refused(external(tmp_path, location="weights.bin", offset="x"), "cannot be read")
    data = external(tmp_path, location="weights.bin").read_bytes()
    refused(data, "lies in another file, 'weights.bin'")


def varint(n):
    return bytes([n & 127 | 128]) + varint(n >> 7) if n > 127 else bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


GRAPH, NODE, ATTRIBUTE, SUBGRAPH, INITIALIZER, INT64_DATA = 7, 1, 5, 6, 5, 7


def nested(depth):
    data = b""
    for _ in range(depth):
        data = field(NODE, field(ATTRIBUTE, field(SUBGRAPH, data)))
    return field(GRAPH, data)


def shared_weights(count):
    """Many nodes with the same large weights."""
    arrays = onnx_files.arrays_of() | {"W": ones(1, 4 * H, 2**15)}
    nodes = [onnx_files.node(outputs=[f"Y{n}"]) for n in range(count)]
    return onnx_files.data_of(onnx_files.model_of(nodes, arrays, outputs=["Y0"]))


def doubled(times):
    """Weights that double themselves again and again."""
    nodes = [
        helper.make_node("Concat", [f"w{n}"] * 2, [f"w{n + 1}"], axis=2)
        for n in range(times)
    ]
    nodes.append(helper.make_node("Identity", [f"w{times}"], ["W"]))
    arrays = onnx_files.arrays_of()
    arrays["w0"] = arrays.pop("W")
    return onnx_files.data_of(onnx_files.model_of([*nodes, onnx_files.node()], arrays))


BOMBS = {
    "empty nodes": (lambda: field(GRAPH, field(NODE, b"") * FIELDS), "more than"),
    "nested graphs": (lambda: nested(DEPTH), "deep in each other"),
    "packed integers": (
        lambda: field(GRAPH, field(INITIALIZER, field(INT64_DATA, b"\0" * 2**23))),
        "bytes of integers outside",
    ),
    "shared weights": (
        lambda: shared_weights(200),
        "larger than three times the limit",
    ),
    "doubling": (lambda: doubled(40), "larger than three times the limit"),
    "nodes": (lambda: shared_weights(1001), "has 1001 nodes"),
    "a long name": (lambda: one(**{"a" * 2**20: 1}), "an attribute 'aaa"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_that_would_fill_the_machine(name):
    make, part = BOMBS[name]
    source, limit = make(), 2**24
    tracemalloc.start()
    try:
        refused(source, part, limit=limit)
        assert tracemalloc.get_traced_memory()[1] < 8 * limit
    finally:
        tracemalloc.stop()
