"""Initial states and lengths of imported nodes: known, an input, or refused by name."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from lstm_jax import GRUCell
from lstm_jax.interop import (
    InteropError,
    UnsupportedError,
    from_onnx,
    stack_from_onnx,
)
from tests.interop import onnx_files
from tests.interop.onnx_files import B, D, H, T
from tests.interop.onnx_graphs import Case, case_with
from tests.interop.onnx_runs import compare
from tests.interop.programs import BOUND, session_of


def one_layer(nodes=(), states=("h", "h"), inputs=(), lengths="", **arrays):
    """An LSTM whose states and lengths are these values."""
    names = ["X", "W", "R", "B", lengths, *states]
    lstm = helper.make_node("LSTM", names, ["Y"], name="lstm", hidden_size=H)
    value = lambda name, dtype, *shape: helper.make_tensor_value_info(
        name, dtype, shape
    )
    arrays = onnx_files.arrays_of() | arrays
    graph = helper.make_graph(
        [*nodes, lstm],
        "g",
        [value("X", 1, "T", "B", D), *(value(*i) for i in inputs)],
        [helper.make_tensor_value_info("Y", 1, None)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def expanded(param="p", out="h"):
    """A learned parameter ``[1, 1, H]``, for every row."""
    make = helper.make_node
    return [
        make("Shape", ["X"], ["rows"], start=1, end=2),
        make("Concat", ["one", "rows", "units"], ["shape"], axis=0),
        make("Expand", [param, "shape"], [out]),
    ]


PARAMS = {
    "p": np.linspace(-1, 1, H, dtype=np.float32).reshape(1, 1, H),
    "one": np.array([1]),
    "units": np.array([H]),
}


def test_a_learned_state_is_the_same_for_every_row():
    model = one_layer(expanded(), **PARAMS)
    (layer,) = from_onnx(onnx_files.data_of(model))
    for field in layer.carry:
        np.testing.assert_array_equal(field, PARAMS["p"][0, 0])
    stack, params, carries, lengths, _ = stack_from_onnx([layer], states=True)
    assert lengths is None
    for rows in (1, 5):
        xs = np.random.default_rng(0).normal(size=(T, rows, D)).astype(np.float32)
        (want,) = session_of(model).run(["Y"], {"X": xs})
        got = stack(params, carries, xs)[1]
        np.testing.assert_allclose(got, want[:, 0], atol=BOUND)


def test_a_stack_does_not_drop_what_it_begins_with():
    """The advice of the error works."""
    layers = from_onnx(onnx_files.data_of(one_layer(expanded(), **PARAMS)))
    with pytest.raises(UnsupportedError, match=r"lstm has an initial carry.*states=T"):
        stack_from_onnx(layers)
    lengths = {"sequence_lens": np.array([5, 1, 3], np.int32)}
    arrays = onnx_files.arrays_of() | lengths
    layers = from_onnx(onnx_files.data_of(onnx_files.one_node(arrays=arrays)))
    with pytest.raises(UnsupportedError, match="n has lengths, and"):
        stack_from_onnx(layers)
    stored = stack_from_onnx(layers, states=True)
    assert stored.carry is None
    np.testing.assert_array_equal(stored.lengths, lengths["sequence_lens"])


def test_zeros_of_any_kind_are_no_state():
    zeros = {**PARAMS, "p": np.zeros((1, 1, H), np.float32)}
    for model in (
        one_layer(expanded(), **zeros),
        one_layer(h=np.zeros((1, B, H), np.float32)),
        case_with("zeros").model,
    ):
        layers = from_onnx(onnx_files.data_of(model))
        assert [layer.carry for layer in layers] == [None] * len(layers)


def make(operator, *names, **attributes):
    *inputs, output = names
    return helper.make_node(operator, inputs, [output], name="maker", **attributes)


ROWS = ("h0", 1, 1, "B", H)
MADE = {
    "of a parameter": (
        [*expanded(out="e"), make("Tanh", "e", "h")],
        dict(PARAMS),
        "initial_h is made while the graph runs: 'h' comes out of Tanh",
    ),
    "of an input": (
        [make("Neg", "h0", "h")],
        dict(inputs=[ROWS]),
        "'h' depends on 'h0', an input of the graph",
    ),
    "by an operator of somebody": (
        [helper.make_node("Wise", ["X"], ["h"], domain="my.own")],
        {},
        "'h' comes out of Wise",
    ),
    "here and there": (
        [],
        dict(states=("p", "h0"), inputs=[ROWS], p=np.ones((1, B, H), np.float32)),
        "initial_c is the input 'h0' of the graph, but initial_h is in the file",
    ),
    "lengths": (
        [make("Sub", "n", "one_", "m")],
        dict(
            states=(),
            lengths="m",
            inputs=[("n", 6, "B")],
            one_=np.array([1], np.int32),
        ),
        "sequence_lens is made while the graph runs: 'm' depends on 'n'",
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_a_start_that_is_made_is_not_taken_for_absent(name):
    """And the advice of the error works."""
    nodes, options, part = MADE[name]
    data = onnx_files.data_of(one_layer(nodes, **options))
    with pytest.raises(UnsupportedError) as error:
        from_onnx(data)
    assert str(error.value).startswith("lstm: ")
    assert part in str(error.value)
    assert "from_onnx(..., weights_only=True)" in str(error.value)
    (layer,) = from_onnx(data, weights_only=True)
    (want,) = from_onnx(onnx_files.data_of(onnx_files.one_node()))
    np.testing.assert_array_equal(layer.params.w_h, want.params.w_h)
    assert layer.carry is None


def test_inputs_of_the_graph_are_named():
    cut = [make("Slice", "all", "start", "end", "h")]
    cut.append(make("Cast", "long", "short", to=6))
    model = one_layer(
        cut,
        states=("h", "c0"),
        lengths="short",
        inputs=[("all", 1, 4, "B", H), ("c0", 1, 1, "B", H), ("long", 7, "B")],
        start=np.array([2]),
        end=np.array([3]),
    )
    (layer,) = from_onnx(onnx_files.data_of(model))
    assert (layer.carry, layer.lengths) == (None, None)
    assert layer.given == {
        "initial_h": "all[2:3, :, :]",
        "initial_c": "c0",
        "sequence_lens": "long",
    }


def test_rows_that_contradict_each_other():
    h, c = np.ones((2, 1, 3, H), np.float32) * np.arange(3).reshape(3, 1)
    model = one_layer(states=("h", "c"), h=h, c=np.float32(c[:, :2]))
    with pytest.raises(InteropError, match="initial_h and initial_c have 2 and 3 rows"):
        from_onnx(onnx_files.data_of(model))


def test_layers_with_lengths_of_their_own():
    """A stack has one for all of its layers."""
    case = case_with("lengths as an input")
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    first, second = [n for n in model.graph.node if n.op_type == "LSTM"]
    (value,) = [v for v in model.graph.input if v.name == first.input[4]]
    other = onnx.ValueInfoProto.FromString(value.SerializeToString())
    other.name = second.input[4] = "lengths_of_more"
    model.graph.input.append(other)
    inputs = {**case.inputs, "lengths_of_more": case.inputs[value.name]}
    outcome = compare(Case(model, case.sizes, inputs, (), True))
    assert "have lengths that differ" in outcome.stack


def test_what_a_gru_begins_with():
    arrays = onnx_files.arrays_of("GRU") | {"initial_h": np.ones((1, B, H), "f4")}
    model = onnx_files.one_node("GRU", arrays, linear_before_reset=1)
    (layer,) = from_onnx(onnx_files.data_of(model))
    assert layer.cell == GRUCell(H)
    np.testing.assert_array_equal(layer.carry.h, np.ones(H))
    stored = stack_from_onnx([layer], states=True)
    xs = np.random.default_rng(0).normal(size=(T, B, D)).astype(np.float32)
    (want,) = session_of(model).run(["Y"], {"X": xs})
    got = stored.stack(stored.params, stored.carry, xs)[1]
    np.testing.assert_allclose(got, want[:, 0], atol=BOUND)
    without = stored.stack(stored.params, None, xs)[1]
    assert np.abs(without - want[:, 0]).max() > 0.1
