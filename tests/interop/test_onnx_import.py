"""Recurrent nodes of ONNX files as cells, against onnxruntime and against torch."""

import io
import warnings

import jax
import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

import lstm_jax
from lstm_jax import Activation, Activations, LSTMCell, Stack
from lstm_jax.core.layers.bidirectional import Bidirectional
from lstm_jax.interop import (
    Layers,
    Program,
    UnsupportedError,
    from_onnx,
    from_torch,
    stack_from_onnx,
    to_onnx,
)
from tests.interop import onnx_files, programs
from tests.interop.onnx_files import B, D, H, T


def assert_equal(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for g, w in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        np.testing.assert_array_equal(g, w)


@pytest.mark.parametrize("seed", range(12))
def test_what_was_exported_comes_back(seed):
    """Cells, activations and parameters, to the last bit."""
    rng = np.random.default_rng(seed)
    kinds = (*programs.LSTMS, *programs.OTHERS)
    kind = kinds[seed % 6]
    activations = [Activations(), *programs.FUNCTIONS[kind]][seed // 6]
    cells = [kind(int(n), activations) for n in rng.integers(1, 9, 2)]
    stack = Stack(cells, bidirectional=bool(seed % 4 > 1))
    params = programs.stack_params(rng, stack, 3)
    flags = [bool(flag) for flag in rng.integers(0, 2, 3)]
    model = to_onnx(Program([Layers(stack, params)], *flags))
    layers = from_onnx(onnx_files.data_of(model))
    got, got_params = stack_from_onnx(layers)
    assert got == stack or activations != Activations(), (
        "defaults are written as numbers"
    )
    assert_equal(got_params, params)
    again = to_onnx(Program([Layers(got, got_params)], *flags))
    assert again == model


def run_ours(layer, xs):
    """A node by our own means: outputs ``[T, N, B, H]``."""
    xs = xs.swapaxes(0, 1) if layer.batch_first else xs
    options = {} if layer.lengths is None else {"lengths": layer.lengths}
    ways = layer.params if layer.directions == 2 else [layer.params]
    carries = layer.carry if layer.directions == 2 else [layer.carry]
    backwards = [False, True] if layer.directions == 2 else [layer.reverse]
    outputs = [
        lstm_jax.unroll(layer.cell, p, c, xs, reverse=r, **options)[1]
        for p, c, r in zip(ways, carries or [None] * 2, backwards, strict=False)
    ]
    return np.stack(outputs, axis=1)


def run_theirs(model, xs):
    return programs.session_of(model).run(["Y"], {"X": xs})[0]


STATES = np.random.default_rng(1).normal(size=(2, 2, B, H)).astype(np.float32)
CASES = {
    "reverse": ("LSTM", 1, dict(direction="reverse"), {}),
    "all constants": (
        "LSTM",
        2,
        dict(direction="bidirectional", clip=0.5, hidden_size=H),
        {
            "P": np.linspace(-1, 1, 2 * 3 * H, dtype=np.float32).reshape(2, 3 * H),
            "initial_h": STATES[0],
            "initial_c": STATES[1],
            "sequence_lens": np.array([5, 1, 3], np.int32),
        },
    ),
    "one state": ("LSTM", 1, {}, {"initial_c": STATES[0][:1]}),
    "coupled": ("LSTM", 1, dict(input_forget=1), {}),
    "numbers of functions": (
        "LSTM",
        1,
        dict(
            activations=["HardSigmoid", "SCALEDTANH", "affine"],
            activation_alpha=[0.3, 1.5, 0.5],
            activation_beta=[0.4, 0.6, 0.1],
        ),
        {},
    ),
    "gru": ("GRU", 2, dict(direction="bidirectional", linear_before_reset=1), {}),
    "gru, reset before": ("GRU", 1, {}, {"initial_h": STATES[0][:1]}),
    "rnn": ("RNN", 1, dict(activations=["Relu"], direction="reverse"), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_of_onnxruntime(name):
    operator, directions, attributes, more = CASES[name]
    arrays = onnx_files.arrays_of(operator, directions) | more
    model = onnx_files.one_node(operator, arrays, **attributes)
    (layer,) = from_onnx(onnx_files.data_of(model))
    xs = np.random.default_rng(2).normal(size=(T, B, D)).astype(np.float32)
    np.testing.assert_allclose(run_ours(layer, xs), run_theirs(model, xs), atol=2e-6)


def test_layout_1():
    """Onnxruntime refuses it, so the same node with its axes turned is the witness."""
    arrays = onnx_files.arrays_of() | {"initial_h": STATES[0][:1]}
    turned = arrays | {"initial_h": STATES[0][:1].swapaxes(0, 1)}
    (want,) = from_onnx(onnx_files.data_of(onnx_files.one_node(arrays=arrays)))
    model = onnx_files.one_node(arrays=turned, layout=1)
    (got,) = from_onnx(onnx_files.data_of(model))
    assert (got.batch_first, want.batch_first) == (True, False)
    assert_equal((got.params, got.carry), (want.params, want.carry))


def test_no_bias():
    arrays = onnx_files.arrays_of()
    arrays.pop("B")
    (layer,) = from_onnx(onnx_files.data_of(onnx_files.one_node(arrays=arrays)))
    assert not np.any(layer.params.b)


def test_weights_behind_constants_and_operators_that_move_them():
    """As exporters leave them that fold nothing."""
    arrays = onnx_files.arrays_of()
    (want,) = from_onnx(onnx_files.data_of(onnx_files.one_node(arrays=arrays)))
    W, R, Bias = arrays.values()
    make = helper.make_node
    constant = lambda name, a: make(
        "Constant", [], [name], value=numpy_helper.from_array(np.asarray(a), name)
    )
    nodes = [
        constant("B", Bias),
        constant("zero", [0]),
        constant("half", [2 * H]),
        constant("end", [2**63 - 1]),
        constant("shape", [1, 4 * H, -1]),
        make("Slice", ["w_t", "zero", "half", "one"], ["first"]),
        make("Slice", ["w_t", "half", "end", "one"], ["second"]),
        make("Concat", ["first", "second"], ["joined"], axis=1),
        make("Transpose", ["joined"], ["w"], perm=[1, 0]),
        make("Unsqueeze", ["w", "zero"], ["w_1"]),
        make("Identity", ["w_1"], ["W"]),
        make("Reshape", ["r", "shape"], ["R"]),
        onnx_files.node(),
    ]
    left = {"w_t": W[0].T.copy(), "r": R[0], "one": np.array([1])}
    (got,) = from_onnx(onnx_files.data_of(onnx_files.model_of(nodes, left)))
    assert_equal(got.params, want.params)


def test_weights_beside_the_file(tmp_path):
    model = onnx_files.one_node()
    onnx.save_model(
        model,
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    (got,) = from_onnx(tmp_path / "model.onnx")
    (want,) = from_onnx(onnx_files.data_of(onnx_files.one_node()))
    assert_equal(got.params, want.params)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_torch_exports(bidirectional):
    module = torch.nn.LSTM(
        D, H, num_layers=2, bidirectional=bidirectional, batch_first=True
    )
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), (torch.zeros(1, T, D),), file, dynamo=False, opset_version=17
        )
    layers = from_onnx(file.getvalue())
    stack, params = stack_from_onnx(layers)
    assert stack == Stack([LSTMCell(H)] * 2, bidirectional=bidirectional)
    assert_equal(params, from_torch(module))


def two_nodes(between, second="LSTM", **attributes):
    """A bidirectional node, what stands behind it, and another."""
    arrays = onnx_files.arrays_of(directions=2)
    above = onnx_files.arrays_of(second, 1, seed=1, in_size=2 * H)
    arrays |= {f"{name}_2": array for name, array in above.items()}
    arrays |= {"shape": np.array([0, 0, -1]), "one": np.array([1])}
    nodes = [
        onnx_files.node(direction="bidirectional", outputs=["Y_1"]),
        *between,
        helper.make_node(second, ["X_2", "W_2", "R_2", "B_2"], ["Y"], **attributes),
    ]
    return from_onnx(onnx_files.data_of(onnx_files.model_of(nodes, arrays)))


def test_what_stands_between_two_layers():
    """The upper one reads the lower one if the numbers arrive where they should."""
    turn = helper.make_node("Transpose", ["Y_1"], ["t"], perm=[0, 2, 1, 3])
    join = helper.make_node("Reshape", ["t", "shape"], ["X_2"])
    assert [layer.below for layer in two_nodes([turn, join])] == [None, "n"]
    other = helper.make_node("Transpose", ["Y_1"], ["t"], perm=[0, 2, 3, 1])
    assert two_nodes([other, join])[1].below is None, "units of both ways are mixed"
    straight = helper.make_node("Reshape", ["Y_1", "shape"], ["X_2"])
    assert two_nodes([straight])[1].below is None, "rows are mixed"
    relu = helper.make_node("Relu", ["X_2_"], ["X_2"])
    join = helper.make_node("Reshape", ["t", "shape"], ["X_2_"])
    layers = two_nodes([turn, join, relu])
    with pytest.raises(
        UnsupportedError, match="does not read the outputs of n as they"
    ):
        stack_from_onnx(layers)


def test_layers_that_are_no_stack():
    turn = helper.make_node("Transpose", ["Y_1"], ["t"], perm=[0, 2, 1, 3])
    join = helper.make_node("Reshape", ["t", "shape"], ["X_2"])
    with pytest.raises(UnsupportedError, match="some layers have one direction"):
        stack_from_onnx(two_nodes([turn, join]))
    with pytest.raises(UnsupportedError, match="runs in reverse alone"):
        stack_from_onnx(two_nodes([turn, join], direction="reverse"))


def test_a_gru_too():
    model = onnx_files.one_node("GRU", directions=2, direction="bidirectional")
    (layer,) = from_onnx(onnx_files.data_of(model))
    assert isinstance(layer.cell, lstm_jax.ResetBeforeGRUCell)
    assert isinstance(layer.params, Bidirectional)


def test_activations_are_those_of_onnx():
    """A number that is left out is the default of the function."""
    model = onnx_files.one_node(
        activations=["HardSigmoid", "Elu", "Tanh"], activation_alpha=[0.25]
    )
    (layer,) = from_onnx(onnx_files.data_of(model))
    assert layer.cell.activations == Activations(
        Activation("hard_sigmoid", 0.25), "elu", "tanh"
    )


def test_names_that_are_taken():
    """The name of one layer is never that of another, which a third one reads."""
    arrays = onnx_files.arrays_of(in_size=H)
    lstm = lambda x, y, name: helper.make_node("LSTM", [x, "W", "R"], [y], name)
    squeeze = lambda x, y: helper.make_node("Squeeze", [x, "axes"], [y])
    nodes = [
        *(lstm("X", "first", "second"), squeeze("first", "x_1")),
        *(lstm("x_1", "second", "second"), squeeze("first", "x_2")),
        lstm("x_2", "third", "second"),
    ]
    arrays |= {"axes": np.array([1])}
    model = onnx_files.model_of(nodes, arrays, outputs=["third"])
    layers = from_onnx(onnx_files.data_of(model))
    assert [layer.name for layer in layers] == ["second", "second_1", "third"]
    assert [layer.below for layer in layers] == [None, "second", "second"]
    with pytest.raises(UnsupportedError, match="third does not read the outputs of"):
        stack_from_onnx(layers)


BETWEEN = {
    "a type that we do not have": [helper.make_node("Cast", ["x"], ["X_2"], to=12)],
    "a type of an old opset": [helper.make_node("Cast", ["x"], ["X_2"], to="FLOAT")],
    "text": [
        helper.make_node("Constant", [], ["s"], value_string="a"),
        helper.make_node("Add", ["x", "s"], ["X_2"]),
    ],
    "an attribute that is a graph": [
        helper.make_node("Identity", ["x"], ["X_2"], body=onnx.GraphProto())
    ],
    "a tensor of bytes": [
        helper.make_node(
            "Constant", [], ["s"], value=numpy_helper.from_array(np.uint8(1))
        ),
        helper.make_node("Mul", ["x", "s"], ["X_2"]),
    ],
    "nothing to divide by": [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Sub", ["s", "s"], ["zero"]),
        helper.make_node("Div", ["s", "zero"], ["shape"]),
        helper.make_node("Reshape", ["x", "shape"], ["X_2"]),
    ],
}


@pytest.mark.parametrize("name", BETWEEN)
def test_what_we_cannot_follow_is_no_reason_to_read_nothing(name):
    """The layers are there one by one."""
    above = onnx_files.arrays_of(in_size=H)
    arrays = onnx_files.arrays_of() | {"W_2": above["W"], "R_2": above["R"]}
    nodes = [
        onnx_files.node(outputs=["Y_1"]),
        helper.make_node("Squeeze", ["Y_1", "axes"], ["x"]),
        *BETWEEN[name],
        helper.make_node("LSTM", ["X_2", "W_2", "R_2"], ["Y"], name="second"),
    ]
    arrays |= {"axes": np.array([1])}
    layers = from_onnx(onnx_files.data_of(onnx_files.model_of(nodes, arrays)))
    assert [layer.below for layer in layers] == [None, None]
