"""``lstm-jax export`` and ``import`` of whole models."""

import json
import sys

import jax
import jax.export
import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import load_file

from lstm_jax import Activations, LSTMCell, Stack, Zoneout
from lstm_jax.cli import main
from lstm_jax.interop import (
    InteropError,
    UnsupportedError,
    from_onnx,
    load_stack,
    read_tensors,
    save_stack,
    write_tensors,
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
    capsys.readouterr()
    assert main([*map(str, argv)]) == 0
    assert "LSTM: initial_h = layer0_h" in capsys.readouterr().out
    got, got_params = load_stack(tmp_path / "two")
    assert got == stack
    for g, w in zip(*map(jax.tree.leaves, (got_params, params)), strict=True):
        np.testing.assert_array_equal(g, w)
    argv = ["export", tmp_path / "two", "--format", "onnx", "--out", path]
    assert "is there already" in refused(capsys, *argv)
    said = refused(capsys, *argv[:-1], tmp_path / "old.onnx", "--opset", "9")
    assert "opset is 9" in said


KEPT = {
    "activations": (
        {},
        dict(
            activations=["HardSigmoid", "Relu", "Affine"] * 2,
            activation_alpha=[0.3, 1.5] * 2,
            activation_beta=[0.4, 0.1] * 2,
            clip=0.7,
        ),
    ),
    "default numbers": ({}, dict(activations=["HardSigmoid", "Relu", "Tanh"] * 2)),
    "a state for all rows": ({"initial_c": np.ones((2, 3, 6), np.float32)}, {}),
    "a state for each row": (
        {"initial_h": np.arange(36, dtype=np.float32).reshape(2, 3, 6) / 36},
        {},
    ),
    "lengths": ({"sequence_lens": np.array([5, 1, 3], np.int32)}, {}),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_an_import_keeps(name, tmp_path, capsys):
    """The model that is loaded computes what the file does."""
    arrays, attributes = KEPT[name]
    model = onnx_files.one_node(
        arrays=onnx_files.arrays_of(directions=2) | arrays,
        direction="bidirectional",
        **attributes,
    )
    path, run = tmp_path / "model.onnx", tmp_path / "run"
    onnx.save(model, path)
    argv = ["import", path, "--layout", "onnx", "--out", run]
    assert main([*map(str, argv)]) == 0
    stack, params, carries, lengths = load_stack(run, states=True)
    xs = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    (want,) = programs.session_of(model).run(["Y"], {"X": xs})
    got = stack(params, carries, xs, lengths=lengths)[1]
    want = want.transpose(0, 2, 1, 3).reshape(5, 3, 12)
    np.testing.assert_allclose(got, want, atol=programs.BOUND)
    if arrays:
        with pytest.raises(UnsupportedError, match="initial states or lengths"):
            load_stack(run)
        argv = ["export", run, "--format", "npz", "--out", tmp_path / "a.npz"]
        assert "initial states or lengths" in refused(capsys, *argv)
    else:
        assert load_stack(run)[0] == stack
        argv = ["export", run, "--format", "npz", "--out", tmp_path / "a.npz"]
        assert "use --format onnx" in refused(capsys, *argv)
        argv = ["export", run, "--format", "onnx", "--out", tmp_path / "again.onnx"]
        assert main([*map(str, argv)]) == 0
        (again,) = from_onnx(tmp_path / "again.onnx")
        assert again.cell.activations.clip == stack.cells[0].activations.clip


def test_a_folder_that_was_edited(tmp_path):
    """What it says of activations and states is not trusted."""
    stack = Stack([LSTMCell(4, Activations("relu", clip=0.5))])
    params = programs.stack_params(np.random.default_rng(0), stack, 3)
    run = tmp_path / "run"
    save_stack(run, params, cells=stack.cells, carries=stack.initial_carry(3))
    assert load_stack(run, states=True)[0] == stack
    facts = json.loads((run / "stack.json").read_text())
    tensors = read_tensors(run / "weights.safetensors")
    for wrong in ({"gate": {"name": "wise"}}, {"gate": "relu"}, {"clip": -1}, [1]):
        facts["layers"][0]["activations"] = wrong
        (run / "stack.json").write_text(json.dumps(facts))
        with pytest.raises(InteropError, match="activations in stack"):
            load_stack(run, states=True)
    facts["layers"][0].pop("activations")
    (run / "stack.json").write_text(json.dumps(facts))
    for changes, part in [
        ({"0.carry.c": None}, "0.carry has 0.carry.h alone"),
        ({"0.carry.c": np.zeros(5, np.float32)}, "0.carry.c has shape"),
        ({"0.carry.x": np.zeros(4, np.float32)}, "0.carry.x is unknown"),
        ({"lengths": np.zeros(3, np.float32)}, "lengths has shape"),
    ]:
        changed = {k: a for k, a in (tensors | changes).items() if a is not None}
        (run / "weights.safetensors").unlink()
        write_tensors(run / "weights.safetensors", changed)
        with pytest.raises(InteropError, match=part):
            load_stack(run, states=True)


def test_functions_that_a_folder_cannot_keep(tmp_path):
    stack = Stack([LSTMCell(4, Activations(np.tanh))])
    params = programs.stack_params(np.random.default_rng(0), stack, 3)
    with pytest.raises(UnsupportedError, match="a function that cannot be stored"):
        save_stack(tmp_path / "run", params, cells=stack.cells)
    with pytest.raises(UnsupportedError, match="cannot be stored; expected LSTMCell"):
        save_stack(tmp_path / "run", params, cells=[Zoneout(LSTMCell(4), 0.1)])


def test_what_an_import_refuses(tmp_path, capsys):
    path, out = tmp_path / "model.onnx", tmp_path / "run"
    onnx.save(onnx_files.one_node(), path)
    argv = ["import", path, "--layout", "onnx", "--out", out]
    assert "--prefix" in refused(capsys, *argv, "--prefix", "a")
    said = refused(capsys, *argv, "--limit", "1000")
    assert "expected 1,000 at most" in said
    assert "--limit of lstm-jax import" in said
    argv[3] = "torch"
    assert "--limit is for --layout onnx" in refused(capsys, *argv, "--limit", "9")
    argv[3] = "onnx"
    path.write_bytes(path.read_bytes()[:100])
    assert "is damaged" in refused(capsys, *argv)
    assert not out.exists()
    onnx.save(onnx_files.one_node(), path)
    assert main([*map(str, argv), "--limit", "100000"]) == 0


def test_without_the_extras(run, tmp_path, capsys, monkeypatch):
    for name, module in [("onnx", "onnx"), ("stablehlo", "flatbuffers")]:
        monkeypatch.setitem(sys.modules, module, None)
        argv = ["export", run, "--format", name, "--out", tmp_path / name]
        assert f"lstm-jax[{name}]" in refused(capsys, *argv)
        assert not (tmp_path / name).exists()
