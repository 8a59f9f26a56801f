"""``lstm-jax export`` and ``import`` of whole models."""

import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import load_file

from lstm_jax import Activations, LSTMCell, Stack
from lstm_jax.cli import main
from lstm_jax.interop import (
    InteropError,
    Layers,
    Program,
    from_onnx,
    load_stack,
    load_stored,
    save_stack,
    stack_from_onnx,
    to_onnx,
)
from tests import tiny
from tests.interop import onnx_files, programs

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module")
def run(optax_promotion, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    args = [*tiny.write(folder), f"run.directory={folder / 'run'}", "train.steps=2"]
    assert main(["train", *args]) == 0
    return folder / "run"


def refused(capsys, *argv):
    capsys.readouterr()
    assert main([*map(str, argv)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("lstm-jax: ")
    assert "Traceback" not in said
    return said


def test_a_trained_run(run, tmp_path, capsys):
    """Both formats, batch-first, give the same logits, fed in two pieces or in one."""
    files = {name: tmp_path / name for name in ("onnx", "stablehlo")}
    for name, path in files.items():
        argv = ["export", run, "--format", name, "--out", path, "--batch-first"]
        assert main([*map(str, argv)]) == 0
    assert "LSTMCell(8) on 4 features, in onnx" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(str(files["onnx"]))
    exported = jax.export.deserialize(files["stablehlo"].read_bytes())
    tokens = np.random.default_rng(0).integers(0, 9, (2, 6)).astype(np.int32)
    zeros = np.zeros((1, 2, 8), np.float32)
    inputs = dict(lengths=np.array([6, 4], np.int32), layer0_h=zeros, layer0_c=zeros)
    whole = programs.run_session(session, inputs | {"tokens": tokens})
    got = {
        k: np.asarray(v) for k, v in exported.call(inputs | {"tokens": tokens}).items()
    }
    assert programs.largest_difference(got, whole) <= programs.BOUND
    state, pieces = inputs, []
    for piece, lengths in [(tokens[:, :3], [3, 3]), (tokens[:, 3:], [3, 1])]:
        state = state | {"tokens": piece, "lengths": np.array(lengths, np.int32)}
        out = programs.run_session(session, state)
        pieces.append(out["logits"])
        state = {k: out.get(f"{k}_out", v) for k, v in state.items()}
    joined = np.concatenate(pieces, axis=1)
    np.testing.assert_allclose(joined, whole["logits"], atol=1e-6)


def test_gradients_come_with_the_weights(run, tmp_path):
    path = tmp_path / "model.jaxexport"
    argv = ["export", run, "--format", "stablehlo", "--gradients", "--out", path]
    assert main([*map(str, argv)]) == 0
    exported = jax.export.deserialize(path.read_bytes())
    assert exported.has_vjp()
    weights = load_file(tmp_path / "model.jaxexport.safetensors")
    assert {"0.table", "1.params.0.w_x", "2.b"} <= weights.keys()


def test_there_and_back(tmp_path, capsys):
    stack = Stack([LSTMCell(4)] * 2, bidirectional=True)
    params = programs.stack_params(np.random.default_rng(0), stack, 3)
    save_stack(tmp_path / "one", params)
    path = tmp_path / "model.onnx"
    argv = ["export", tmp_path / "one", "--format", "onnx", "--opset", "20"]
    assert main([*map(str, argv), "--out", str(path)]) == 0
    assert onnx.load(path).opset_import[0].version == 20
    argv = ["import", path, "--layout", "onnx", "--out", tmp_path / "two"]
    assert main([*map(str, argv)]) == 0
    got, got_params = load_stack(tmp_path / "two")
    assert got == stack
    for g, w in zip(*map(jax.tree.leaves, (got_params, params)), strict=True):
        np.testing.assert_array_equal(g, w)
    argv = ["export", tmp_path / "two", "--format", "onnx", "--out", path]
    assert "already exists" in refused(capsys, *argv)
    said = refused(capsys, *argv[:-1], tmp_path / "old.onnx", "--opset", "9")
    assert "opset is 9" in said


def test_a_folder_keeps_what_the_file_says(tmp_path, capsys):
    """Activations and clips, states and lengths: the folder gives the same numbers."""
    cell = LSTMCell(4, Activations("hard_sigmoid", "relu", clip=0.8))
    stack = Stack([cell] * 2)
    params = programs.stack_params(np.random.default_rng(0), stack, 3)
    path = tmp_path / "model.onnx"
    onnx.save(to_onnx(Program([Layers(stack, params)], lengths=False)), path)
    said = listed(capsys, path)
    line = "onnx, LSTM, 1 layer, 3 features, 4 units, gate=Activation(name='hard_sig"
    assert said.startswith(f"'LSTM': {line}")
    assert said.count("candidate='relu', clip=0.8") == 2
    assert main(["import", str(path), "--out", str(tmp_path / "run")]) == 0
    assert "LSTMCell(4, gate=Activation(name='hard_sig" in capsys.readouterr().out
    (layers, got), xs = load_stack(tmp_path / "run"), jnp.ones((5, 2, 3))
    wanted = stack(params, None, xs)[1]
    np.testing.assert_allclose(layers(got, None, xs)[1], wanted, atol=1e-6)
    argv = ["import", path, "--layout", "onnx", "--out", tmp_path / "other"]
    assert "Pass --prefix with one of: 'LSTM'" in refused(
        capsys, *argv, "--prefix", "a"
    )

    rng = np.random.default_rng(0)
    state = {f"initial_{n}": rng.normal(size=(1, 3, 6)).astype("f4") for n in "hc"}
    arrays = onnx_files.arrays_of() | state
    arrays |= {"sequence_lens": np.array([5, 2, 0], np.int32)}
    model = onnx_files.one_node(arrays=arrays)
    onnx.save(model, path)
    assert main([*map(str, argv)]) == 0
    stored = load_stored(tmp_path / "other")
    assert np.array_equal(stored.carry[0].h, state["initial_h"][0])
    assert stored.lengths.tolist() == [5, 2, 0]
    with pytest.raises(InteropError, match="an initial carry and lengths"):
        load_stack(tmp_path / "other")
    xs = rng.normal(size=(5, 3, stored.params[0].w_x.shape[0])).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    Y = session.run(["Y"], {"X": xs})[0][:, 0]
    ran = stored.stack(stored.params, stored.carry, xs, lengths=stored.lengths)[1]
    np.testing.assert_allclose(ran, Y, atol=1e-6)
    arrays = onnx_files.arrays_of() | {n: np.zeros_like(a) for n, a in state.items()}
    onnx.save(onnx_files.one_node(arrays=arrays), path)
    assert main([*map(str, argv[:-1]), str(tmp_path / "zeros")]) == 0
    assert load_stack(tmp_path / "zeros")[0] == Stack([LSTMCell(6)])
    path.write_bytes(path.read_bytes()[:100])
    assert "is corrupt" in refused(capsys, *argv[:-1], tmp_path / "third")
    assert not (tmp_path / "third").exists()


def test_a_state_in_the_file_and_one_that_is_an_input(tmp_path, capsys):
    """The folder says which input is missing; its carry alone would be wrong."""
    arrays = onnx_files.arrays_of()
    arrays |= {f"initial_{n}": np.full((1, 2, 6), 0.5, "f4") for n in "hc"}
    above = onnx_files.arrays_of(seed=1, in_size=6)
    arrays |= {f"{n}_2": above[n] for n in ("W", "R", "B")} | {"axes": np.array([1])}
    nodes = [
        onnx_files.node(
            names=["X", "W", "R", "B", "initial_h", "initial_c"],
            outputs=["Y_1"],
            hidden_size=6,
        ),
        onnx.helper.make_node("Squeeze", ["Y_1", "axes"], ["X_2"]),
        onnx.helper.make_node(
            "LSTM",
            ["X_2", "W_2", "R_2", "B_2", "", "", "C2"],
            ["Y"],
            name="second",
            hidden_size=6,
        ),
    ]
    model = onnx_files.model_of(nodes, arrays)
    value = onnx.helper.make_tensor_value_info("C2", 1, [1, "B", 6])
    model.graph.input.append(value)
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    assert main(["import", str(path), "--out", str(tmp_path / "run")]) == 0
    stored = load_stored(tmp_path / "run")
    assert stored.given == ({}, {"initial_c": "C2"})
    assert stack_from_onnx(from_onnx(path), states=True).given == stored.given
    with pytest.raises(InteropError, match=r"carry and inputs of its own \(C2\)"):
        load_stack(tmp_path / "run")
    argv = ["export", tmp_path / "run", "--format", "onnx", "--out", tmp_path / "x"]
    assert "not supported yet" in refused(capsys, *argv)
    xs = np.random.default_rng(0).normal(size=(5, 2, 5)).astype(np.float32)
    xs = xs[..., : stored.params[0].w_x.shape[0]]
    state = np.full((1, 2, 6), -1.5, np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    Y = session.run(["Y"], {"X": xs, "C2": state})[0][:, 0]
    low, high = stored.carry
    full = lambda a: jnp.broadcast_to(a, (2, 6))
    carry = (jax.tree.map(full, low), high._replace(h=full(high.h), c=state[0]))
    got = stored.stack(stored.params, carry, xs)[1]
    np.testing.assert_allclose(got, Y, atol=1e-6)
    assert np.abs(stored.stack(stored.params, stored.carry, xs)[1] - Y).max() > 0.1


def test_the_advice_for_files_that_are_refused(tmp_path, capsys):
    """On the command line: a list, a node by its name, and the weights alone."""
    arrays = onnx_files.arrays_of() | {"axes": np.array([1])}
    above = onnx_files.arrays_of(seed=1, in_size=6)
    arrays |= {f"{n}_2": above[n] for n in ("W", "R", "B")}
    make, path = onnx.helper.make_node, tmp_path / "m.onnx"
    nodes = [
        onnx_files.node(outputs=["Y_1"]),
        make("Squeeze", ["Y_1", "axes"], ["s"]),
        make("Relu", ["s"], ["X_2"]),
        make("LSTM", ["X_2", "W_2", "R_2", "B_2"], ["Y"], name="upper"),
    ]
    onnx.save(onnx_files.model_of(nodes, arrays), path)
    argv = ["import", path, "--out", tmp_path / "run"]
    said = refused(capsys, *argv)
    assert "'X_2' is made of 'Y_1', an output of LSTM 'n', by Squeeze, Relu" in said
    assert "--prefix NODE" in said
    assert main([*map(str, argv), "--prefix", "upper"]) == 0
    (params,) = load_stack(tmp_path / "run")[1]
    assert np.array_equal(params.w_x[:, :6].T, above["W"][0, :6])

    nodes = [make("Relu", ["h0"], ["h"])]
    lstm = onnx_files.node(outputs=["Y"])
    lstm.input.extend(["", "h"])
    inputs = ("X", "h0")
    model = onnx_files.model_of([*nodes, lstm], onnx_files.arrays_of(), inputs=inputs)
    onnx.save(model, path)
    argv[-1] = tmp_path / "alone"
    assert "--weights-only" in refused(capsys, *argv)
    said = listed(capsys, path)
    assert said.startswith(
        "'n': onnx, LSTM, 1 layer, 4 features, 6 units; refused: ini"
    )
    assert main([*map(str, argv), "--weights-only"]) == 0
    assert load_stack(tmp_path / "alone")[0] == Stack([LSTMCell(6)])


def listed(capsys, path):
    assert main(["import", str(path), "--list"]) == 0
    return capsys.readouterr().out


def test_without_the_extras(run, tmp_path, capsys, monkeypatch):
    for name, module in [("onnx", "onnx"), ("stablehlo", "flatbuffers")]:
        monkeypatch.setitem(sys.modules, module, None)
        argv = ["export", run, "--format", name, "--out", tmp_path / name]
        assert f"lstm-jax[{name}]" in refused(capsys, *argv)
        assert not (tmp_path / name).exists()
