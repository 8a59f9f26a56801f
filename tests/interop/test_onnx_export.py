"""Exported files against the numbers of onnxruntime, and what is refused by name."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from flax import nnx

import lstm_jax
from lstm_jax import Activation, Activations, LSTMCell, Stack
from lstm_jax.interop import (
    Embed,
    InteropError,
    Layers,
    Linear,
    Program,
    UnsupportedError,
    to_onnx,
)
from lstm_jax.models.language_model import LanguageModel
from tests.interop import programs

NEWEST = onnx.defs.onnx_opset_version()
RUNTIME_NEWEST = 25
"""The newest opset that onnxruntime here reads."""


def small_program(**options):
    return Program([Layers(*programs.two_layers())], **options)


@pytest.mark.parametrize(
    ("seed", "cells"),
    [(0, programs.LSTMS), (4, programs.LSTMS), (2, programs.OTHERS)],
)
def test_onnxruntime_gives_our_numbers(seed, cells):
    """Three sizes are one file; the rest of the random programs are a benchmark's."""
    program = programs.random_program(seed, cells, largest=16)
    model = to_onnx(program)
    session = programs.session_of(model)
    for T, B in programs.SIZES:
        inputs = programs.random_inputs(program, T, B)
        got = programs.run_session(session, inputs)
        want = programs.run_program(program, inputs)
        assert programs.largest_difference(got, want) <= programs.BOUND
    nodes = programs.nodes_of(model)
    recurrent = [name for name in nodes if name in ("LSTM", "GRU", "RNN")]
    assert len(recurrent) == len(program.layers)
    assert not {"Loop", "Scan", "If"} & set(nodes)


@pytest.mark.parametrize("cell", programs.FUNCTIONS, ids=lambda cell: cell.__name__)
def test_other_functions_and_clips(cell):
    stack = Stack([cell(4, programs.FUNCTIONS[cell][0])], bidirectional=True)
    params = programs.stack_params(np.random.default_rng(0), stack, 3)
    program = Program([Layers(stack, jax.tree.map(lambda a: 3 * a, params))])
    inputs = programs.random_inputs(program, 7, 3)
    got = programs.run_session(programs.session_of(to_onnx(program)), inputs)
    want = programs.run_program(program, inputs)
    assert programs.largest_difference(got, want) <= programs.BOUND


def test_every_opset():
    """Both ends of what differs: bidirectional, batch-first, lengths and carry."""
    stack, params = programs.two_layers(bidirectional=True)
    program = Program([Layers(stack, params)], batch_first=True)
    inputs = programs.random_inputs(program, 7, 3)
    want = programs.run_program(program, inputs)
    for opset in range(14, NEWEST + 1):
        model = to_onnx(program, opset=opset)
        assert [o.version for o in model.opset_import] == [opset]
        if opset <= RUNTIME_NEWEST:
            got = programs.run_session(programs.session_of(model), inputs)
            assert programs.largest_difference(got, want) <= programs.BOUND
    for opset in (13, NEWEST + 1):
        with pytest.raises(InteropError, match=f"opset is {opset}, expected 14 to"):
            to_onnx(program, opset=opset)


def test_no_operator_is_there_for_nothing():
    nodes = lambda **options: programs.nodes_of(to_onnx(small_program(**options)))
    bare = ["LSTM", "Squeeze"] * 2
    assert nodes(lengths=False, carry=False) == bare
    assert nodes(carry=False) == bare
    assert nodes(lengths=False) == bare
    turned = ["Transpose", *bare[:3], "Transpose", "Reshape"]
    assert nodes(lengths=False, batch_first=True) == turned


def test_a_row_of_no_steps_keeps_its_carry():
    """Onnxruntime's own node would return zeros."""
    program = small_program()
    inputs = programs.random_inputs(program, 5, 3)
    inputs["lengths"][:] = [0, 2, 5]
    got = programs.run_session(programs.session_of(to_onnx(program)), inputs)
    for name in ("layer0_h", "layer1_c"):
        out = got[f"{name}_out"]
        np.testing.assert_array_equal(out[:, 0], inputs[name][:, 0])
        assert not np.array_equal(out[:, 1], inputs[name][:, 1])
    assert not got["outputs"][:, 0].any()


def test_padding_may_hold_anything():
    program = small_program()
    inputs = programs.random_inputs(program, 5, 3)
    inputs["lengths"][:] = [0, 2, 5]
    session = programs.session_of(to_onnx(program))
    want = programs.run_session(session, inputs)
    inputs["inputs"][2:, 1] = np.nan
    inputs["inputs"][:, 0] = np.inf
    assert programs.largest_difference(programs.run_session(session, inputs), want) == 0


def test_a_stream_in_pieces():
    """Every ``NAME_out`` is fed back as ``NAME``."""
    program = small_program(lengths=False)
    session = programs.session_of(to_onnx(program))
    inputs = programs.random_inputs(program, 6, 2)
    whole = programs.run_session(session, inputs)
    xs, outputs, state = inputs.pop("inputs"), [], inputs
    for piece in np.split(xs, [1, 4]):
        got = programs.run_session(session, {"inputs": piece, **state})
        outputs.append(got["outputs"])
        state = {name: got[f"{name}_out"] for name in state}
    np.testing.assert_allclose(np.concatenate(outputs), whole["outputs"], atol=1e-6)
    for name, last in state.items():
        np.testing.assert_allclose(last, whole[f"{name}_out"], atol=1e-6)


def test_names_and_shapes():
    stack, params = programs.two_layers(bidirectional=True)
    model = to_onnx(Program([Layers(stack, params)], batch_first=True))
    assert described(model.graph.input) == {
        "inputs": ("B", "T", 3),
        "lengths": ("B",),
        "layer0_h": (2, "B", 4),
        "layer0_c": (2, "B", 4),
        "layer1_h": (2, "B", 4),
        "layer1_c": (2, "B", 4),
    }
    assert [*described(model.graph.output)][1:3] == ["layer0_h_out", "layer0_c_out"]
    assert described(model.graph.output)["outputs"] == ("B", "T", 8)


def described(values):
    dims = lambda value: value.type.tensor_type.shape.dim
    axes = lambda value: tuple(d.dim_param or d.dim_value for d in dims(value))
    return {value.name: axes(value) for value in values}


def test_a_language_model():
    """By its own module, in bfloat16 too, which is exported in float32."""
    make = lambda **kw: LanguageModel(
        9, embed_size=3, hidden_size=4, num_layers=2, rngs=nnx.Rngs(0), **kw
    )
    model = make()
    exported = to_onnx(model.program(lengths=False, carry=False))
    assert programs.nodes_of(exported).count("LSTM") == 2
    session = programs.session_of(exported)
    tokens = np.random.default_rng(0).integers(0, 9, (7, 3)).astype(np.int32)
    got = programs.run_session(session, {"tokens": tokens})
    _, want = model(jnp.asarray(tokens))
    np.testing.assert_allclose(got["logits"], want, atol=programs.BOUND)
    half = make(dtype="bfloat16")
    nnx.update(half, nnx.state(model))
    exported = to_onnx(half.program(lengths=False, carry=False))
    again = programs.run_session(programs.session_of(exported), {"tokens": tokens})
    assert programs.largest_difference(again, got) == 0


def test_layers_that_come_stacked():
    _, params = programs.two_layers()
    stacked = jax.tree.map(lambda *a: np.stack(a), *[params[1]] * 2)
    one = Stack([LSTMCell(4)] * 3, stacked=True)
    by_layer = Program(
        [Layers(Stack([LSTMCell(4)] * 3), [params[0], *[params[1]] * 2])]
    )
    at_once = Program([Layers(one, [params[0], stacked])])
    assert to_onnx(at_once) == to_onnx(by_layer)


def exported(cell, **options):
    stack = Stack([cell], **options)
    params = programs.stack_params(np.random.default_rng(0), stack, 3)
    return to_onnx(Program([Layers(stack, params)]))


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        (lstm_jax.LSTMPCell(4, 2), ["LSTMPCell has no operator", "stablehlo"]),
        (lstm_jax.LayerNormLSTMCell(4), ["LayerNormLSTMCell has no operator"]),
        (lstm_jax.SLSTMCell(4), ["SLSTMCell has no operator"]),
        (lstm_jax.Zoneout(LSTMCell(4), h=0.1), ["Zoneout(h=0.1, c=0.0)"]),
        (LSTMCell(4, Activations(cell_clip=2.0)), ["cell_clip is 2.0"]),
        (LSTMCell(4, Activations(output=jnp.sin)), ["output is", "expected one of"]),
        (lstm_jax.CIFGLSTMCell(4, Activations("relu")), ["gate is 'relu'"]),
        (
            lstm_jax.CIFGLSTMCell(4, Activations(Activation("hard_sigmoid", beta=0.4))),
            ["gate is 'hard_sigmoid'", "beta=0.5"],
        ),
    ],
)
def test_what_onnx_does_not_know_is_named(cell, parts):
    with pytest.raises(UnsupportedError) as error:
        exported(cell)
    assert all(part in str(error.value) for part in parts), error.value


def test_what_is_no_program():
    stack, params = programs.two_layers()
    piece = Layers(stack, params)
    w = np.ones((5, 2), np.float32)
    for pieces, message in [
        ([], "pieces is empty"),
        ([piece, Linear(w)], "piece 1, Linear, reads 5 features, .* returns 4"),
        ([piece, Embed(w)], "piece 1, Embed, reads tokens"),
        ([stack], "piece 0 is Stack, expected"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            Program(pieces)
    with pytest.raises(TypeError, match="w of Linear has dtype float64"):
        Linear(w.astype(np.float64))
    with pytest.raises(ValueError, match="w of Linear has shape"):
        Linear(w[0])
    with pytest.raises(ValueError, match="merge='none'"):
        Layers(Stack([LSTMCell(4)], bidirectional=True, merge="none"), params)
    with pytest.raises(ValueError, match="the name of another value"):
        Program([piece], output="layer0_h")
    with pytest.raises(ValueError, match="inputs are inputs, expected inputs, lengths"):
        Program([piece])({"inputs": jnp.zeros((1, 1, 3))})


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r"lstm-jax\[onnx\]"):
        to_onnx(small_program())


def test_weights_larger_than_a_file_can_be(monkeypatch):
    monkeypatch.setattr("lstm_jax.interop.onnx.exporter.LARGEST", 100)
    with pytest.raises(UnsupportedError, match="the weights take"):
        to_onnx(small_program())
