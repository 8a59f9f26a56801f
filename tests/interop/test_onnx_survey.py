"""Recurrent layers that are not read are found, and named with their place."""

import numpy as np
import onnx.inliner
import pytest
import torch
from onnx import helper, numpy_helper

from lstm_jax.interop import (
    InteropError,
    UnsupportedError,
    from_onnx,
    from_onnx_arrays,
)
from tests.interop import onnx_files
from tests.interop.onnx_files import H


def lstm(**options):
    return onnx_files.node(hidden_size=H, **options)


def body(nodes, inputs=(), outputs=("Y",)):
    value = lambda name: helper.make_tensor_value_info(name, 1, None)
    return helper.make_graph(
        nodes, "body", [*map(value, inputs)], [*map(value, outputs)]
    )


def model_of(*nodes, **more):
    return onnx_files.model_of(
        [*nodes], onnx_files.arrays_of() | more, inputs=["X", "c"]
    )


def of_if():
    branch = lambda: body([lstm()])
    return model_of(
        helper.make_node(
            "If", ["c"], ["Y"], "which", then_branch=branch(), else_branch=branch()
        )
    )


def of_loop():
    inner = body([lstm()], ["i", "go", "x"], ["go", "Y"])
    return model_of(
        helper.make_node("Loop", ["", "c", "X"], ["Y"], "steps", body=inner)
    )


def of_scan_in_if():
    scan = helper.make_node(
        "Scan", ["X"], ["Y"], "inner", num_scan_inputs=1, body=body([lstm()], ["X"])
    )
    empty = body([helper.make_node("Identity", ["X"], ["Y"])])
    return model_of(
        helper.make_node(
            "If", ["c"], ["Y"], "outer", then_branch=body([scan]), else_branch=empty
        )
    )


def of_function():
    function = helper.make_function(
        "my.own",
        "Layer",
        ["X", "W", "R", "B"],
        ["Y"],
        [lstm()],
        [helper.make_opsetid("", 17)],
    )
    call = helper.make_node("Layer", ["X", "W", "R", "B"], ["Y"], domain="my.own")
    model = onnx_files.model_of([call], onnx_files.arrays_of())
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("my.own", 1))
    return model


def of_quantised():
    node = helper.make_node(
        "DynamicQuantizeLSTM", ["X", "W", "R"], ["Y"], "q", domain="com.microsoft"
    )
    return model_of(node)


FOUND = {
    "If": (of_if, "LSTM 'n' in the body of If 'which'"),
    "Loop": (of_loop, "LSTM 'n' in the body of Loop 'steps'"),
    "Scan in If": (
        of_scan_in_if,
        "LSTM 'n' in the body of Scan 'inner' in the body of If 'outer'",
    ),
    "function": (of_function, "LSTM 'n' in the function 'my.own.Layer'"),
    "quantised": (of_quantised, "com.microsoft.DynamicQuantizeLSTM 'q'"),
}


@pytest.mark.parametrize("name", FOUND)
def test_where_they_are(name):
    make, part = FOUND[name]
    with pytest.raises(UnsupportedError) as error:
        from_onnx(make().SerializeToString())
    assert part in str(error.value)
    advice = {"quantised": "before quantisation", "function": "inline_local_functions"}
    assert advice.get(name, "from_onnx_arrays(W, R, B)") in str(error.value)


def test_one_that_is_read_does_not_hide_one_that_is_not():
    model = of_if()
    model.graph.node.append(lstm(outputs=["Y_2"]))
    with pytest.raises(UnsupportedError, match="in the body of If 'which'"):
        from_onnx(model.SerializeToString())


def test_the_advice_for_functions():
    inlined = onnx.inliner.inline_local_functions(of_function())
    (layer,) = from_onnx(inlined.SerializeToString())
    (want,) = from_onnx(onnx_files.data_of(onnx_files.one_node()))
    np.testing.assert_array_equal(layer.params.w_h, want.params.w_h)


def test_the_advice_for_bodies():
    """Weights out of the file, by hand."""
    tensors = {t.name: numpy_helper.to_array(t) for t in of_if().graph.initializer}
    params = from_onnx_arrays(*(tensors[name] for name in "WRB"))
    (want,) = from_onnx(onnx_files.data_of(onnx_files.one_node()))
    np.testing.assert_array_equal(params.w_h, want.params.w_h)


def test_a_function_in_the_place_of_an_operator():
    model = onnx_files.one_node()
    function = of_function().functions[0]
    function.domain, function.name = "", "LSTM"
    model.functions.append(function)
    with pytest.raises(UnsupportedError, match="takes the place of ONNX's own LSTM"):
        from_onnx(model.SerializeToString())


def steps(count, prefix=""):
    """A GRU's operators, as exporters write them out."""
    make = helper.make_node
    nodes = []
    for n in range(count):
        name = lambda what, n=n: f"{prefix}{what}{n}"
        nodes.append(make("MatMul", ["X", "W"], [name("product")]))
        nodes.append(make("Sigmoid", [name("product")], [name("gate")]))
        nodes.append(make("Tanh", [name("gate")], [name("candidate")]))
    return nodes


def test_written_out_in_operators():
    unrolled = model_of(*steps(5))
    loop = helper.make_node(
        "Loop",
        ["", "c", "X"],
        ["Y"],
        "cell_loop",
        body=body(steps(1), ["i", "go"], ["go"]),
    )
    plain = model_of(helper.make_node("Relu", ["X"], ["Y"]))
    for model, part in [
        (
            unrolled,
            "5 Sigmoid, 5 Tanh, 5 MatMul in the graph, which may be a recurrent",
        ),
        (model_of(loop), "1 Sigmoid, 1 Tanh, 1 MatMul in the body of Loop 'cell_loop'"),
        (plain, "has 0 nodes GRU, LSTM, RNN, expected 1 to 1000."),
    ]:
        with pytest.raises(InteropError) as error:
            from_onnx(model.SerializeToString())
        assert part in str(error.value)
    assert "may be" not in str(error.value)


def test_weights_that_are_quantised():
    arrays = onnx_files.arrays_of()
    arrays["q"] = np.zeros(arrays.pop("W").shape, np.int8)
    arrays |= {"scale": np.float32(0.1), "zero": np.int8(0)}
    unpack = helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["W"])
    model = onnx_files.model_of([unpack, lstm()], arrays)
    with pytest.raises(UnsupportedError) as error:
        from_onnx(model.SerializeToString())
    assert "'W' is quantised (DequantizeLinear)" in str(error.value)
    assert "before quantisation" in str(error.value)


@pytest.mark.parametrize("opset", [1, 6])
@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_old_opsets(operator, opset):
    """The operators mean the same since the first: these are the words of ONNX."""
    arrays = onnx_files.arrays_of(operator)
    node = onnx_files.node(operator, hidden_size=H, output_sequence=1)
    (got,) = from_onnx(onnx_files.data_of(onnx_files.model_of([node], arrays, opset)))
    (want,) = from_onnx(onnx_files.data_of(onnx_files.one_node(operator, arrays)))
    assert got.cell == want.cell
    np.testing.assert_array_equal(got.params.w_x, want.params.w_x)
    with pytest.raises(InteropError, match="an attribute 'output_sequence'"):
        from_onnx(onnx_files.data_of(onnx_files.model_of([node], arrays, opset=7)))


@pytest.mark.parametrize("is_test", [0, 1])
def test_dropout_of_an_old_opset(is_test):
    """It was in training unless told otherwise."""
    nodes = [
        onnx_files.node(hidden_size=H, outputs=["Y_1"]),
        helper.make_node("Squeeze", ["Y_1"], ["x"], axes=[1]),
        helper.make_node("Dropout", ["x"], ["X_2"], is_test=is_test),
        helper.make_node("LSTM", ["X_2", "W_2", "R_2"], ["Y"], name="second"),
    ]
    above = onnx_files.arrays_of(in_size=H)
    arrays = onnx_files.arrays_of() | {"W_2": above["W"], "R_2": above["R"]}
    layers = from_onnx(onnx_files.data_of(onnx_files.model_of(nodes, arrays, opset=6)))
    assert layers[1].below == ("n" if is_test else None)


@pytest.mark.parametrize("training", [False, True])
def test_dropout_with_a_boolean(training):
    nodes = [
        onnx_files.node(hidden_size=H, outputs=["Y_1"]),
        helper.make_node("Squeeze", ["Y_1", "axes"], ["x"]),
        helper.make_node("Dropout", ["x", "ratio", "training"], ["X_2"]),
        helper.make_node("LSTM", ["X_2", "W_2", "R_2"], ["Y"], name="second"),
    ]
    above = onnx_files.arrays_of(in_size=H)
    arrays = onnx_files.arrays_of() | {"W_2": above["W"], "R_2": above["R"]}
    arrays |= {"ratio": np.float32(0.3), "training": np.array(training)}
    arrays |= {"axes": np.array([1])}
    layers = from_onnx(onnx_files.data_of(onnx_files.model_of(nodes, arrays)))
    assert layers[1].below == (None if training else "n")


def test_the_opset_is_not_said():
    """And the advice works."""
    model = onnx_files.one_node()
    del model.opset_import[:]
    with pytest.raises(InteropError, match=r"model.opset_import.add\(domain='', ve"):
        from_onnx(model.SerializeToString())
    model.opset_import.add(domain="", version=17)
    assert from_onnx(model.SerializeToString())


def test_floats_of_16_bits_as_integers():
    """There they are numbers of up to three bytes, more than four million of them."""
    rng = np.random.default_rng(0)
    W = rng.normal(size=(1, 4 * H, 2**16 * 3)).astype(np.float16)
    arrays = onnx_files.arrays_of(in_size=2**16 * 3)
    half = {name: a.astype(np.float16) for name, a in arrays.items()} | {"W": W}
    model = onnx_files.one_node(arrays=half)
    (tensor,) = [t for t in model.graph.initializer if t.name == "W"]
    tensor.ClearField("raw_data")
    tensor.int32_data.extend(W.view(np.uint16).ravel().tolist())
    assert len(tensor.SerializeToString()) > 2**22
    (layer,) = from_onnx(model.SerializeToString())
    np.testing.assert_array_equal(np.sort(layer.params.w_x, 1), np.sort(W[0].T, 1))
    with pytest.raises(InteropError, match=r"limit= of from_onnx, --limit of lstm-jax"):
        from_onnx(model.SerializeToString(), limit=2**22)


@pytest.mark.filterwarnings("ignore")  # torch's own, of its exporter
@pytest.mark.parametrize("layers", [1, 2])
def test_a_network_of_relu_that_torch_writes_out(layers):
    """Its default exporter does; a stack of dense layers is none."""
    module = torch.nn.RNN(3, 5, layers, nonlinearity="relu").eval()
    program = torch.onnx.export(module, (torch.zeros(4, 2, 3),), dynamo=True)
    said = r"Relu, .* MatMul in the graph, which may be a recurrent layer written out"
    with pytest.raises(InteropError, match=said):
        from_onnx(program.model_proto.SerializeToString())
    dense = [torch.nn.Linear(3, 3), torch.nn.ReLU()] * 4
    program = torch.onnx.export(
        torch.nn.Sequential(*dense).eval(), (torch.zeros(4, 2, 3),), dynamo=True
    )
    with pytest.raises(InteropError, match="has 0 nodes") as raised:
        from_onnx(program.model_proto.SerializeToString())
    assert "written out" not in str(raised.value)
