"""``lstm-jax import`` and ``export``: there and back, one line for what is wrong."""

import json

import jax
import numpy as np
import pytest
import torch

from lstm_jax import Activations, LSTMCell, Stack
from lstm_jax.cli import main
from lstm_jax.interop import (
    from_torch,
    load_stack,
    read_tensors,
    save_stack,
    write_tensors,
)
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of a torch model, in a file of each kind."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    model = torch.nn.LSTM(3, 5, 2, bidirectional=True)
    state = {f"lstm.{k}": v.numpy() for k, v in model.state_dict().items()}
    state["head.weight"] = np.ones((2, 2), np.float32)
    for ending in ("safetensors", "npz", "pt"):
        write_tensors(folder / f"model.{ending}", state)
    return folder, from_torch(model)


def done(capsys, *argv):
    assert main([*map(str, argv)]) == 0
    return capsys.readouterr().out


def refused(capsys, *argv):
    assert main([*map(str, argv)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("lstm-jax: ")
    assert len(said.splitlines()) == 1
    return said


def same(one, other):
    return jax.tree.all(jax.tree.map(np.array_equal, one, other))


@pytest.mark.parametrize("ending", ["safetensors", "npz", "pt"])
def test_in_and_out(folder, tmp_path, capsys, ending):
    weights, params = folder
    run, file = tmp_path / "run", tmp_path / f"out.{ending}"
    add = ["--layout", "torch", "--prefix", "lstm."]
    said = done(capsys, "import", weights / f"model.{ending}", *add, "--out", run)
    assert "LSTMCell(5), LSTMCell(5) in two directions on 3 features" in said
    stack, read = load_stack(run)
    assert stack.bidirectional
    assert same(read, params)
    facts = json.loads((run / "stack.json").read_text())
    assert facts["origin"] == {
        "file": f"model.{ending}",
        "layout": "torch",
        "prefix": ["lstm."],
    }
    done(capsys, "export", run, "--format", ending, *add, "--out", file)
    assert same(from_torch(read_tensors(file, "lstm.")), params)


def test_through_every_layout(folder, tmp_path, capsys):
    """From torch's names to those of others and back."""
    weights, params = folder
    run = tmp_path / "run"
    options = ["--layout", "torch", "--prefix", "lstm.", "--out", run]
    done(capsys, "import", weights / "model.npz", *options)
    for layout in ("keras", "linen", "haiku", "equinox", "lstm_jax"):
        file, again = tmp_path / f"{layout}.npz", tmp_path / layout
        add = ["--layout", layout, "--out"]
        done(capsys, "export", run, "--format", "npz", *add, file)
        done(capsys, "import", file, *add, again)
        for got, wanted in zip(
            *map(jax.tree.leaves, (load_stack(again)[1], params)), strict=True
        ):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-7)


def test_layers_by_their_prefixes(tmp_path, capsys):
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    tensors = {
        "low/linear/w": draw(8, 20),
        "low/linear/b": draw(20),
        "high/linear/w": draw(9, 16),
        "high/linear/b": draw(16),
    }
    write_tensors(tmp_path / "haiku.npz", tensors)
    prefixes = ["--prefix", "low/linear/", "--prefix", "high/linear/"]
    options = ["--layout", "haiku", "--out", tmp_path / "run", *prefixes]
    done(capsys, "import", tmp_path / "haiku.npz", *options)
    stack, params = load_stack(tmp_path / "run")
    assert [cell.hidden_size for cell in stack.cells] == [5, 4]
    assert np.array_equal(params[1].w_x[:, :4], tensors["high/linear/w"][:5, :4])


def test_a_trained_run(tmp_path, capsys):
    run = tmp_path / "run"
    config = [*tiny.write(tmp_path), f"run.directory={run}", "train.steps=2"]
    assert main(["train", *config]) == 0
    capsys.readouterr()
    file = tmp_path / "lstm.safetensors"
    options = ["--format", "safetensors", "--layout", "torch", "--out", file]
    assert "LSTMCell(8)" in done(capsys, "export", run, *options)
    (params,) = from_torch(read_tensors(file))
    trained = read_tensors(run / "model.safetensors", "lstm.weights.forward.0.")
    assert np.array_equal(params.w_h, trained["w_h.value"])
    assert np.array_equal(params.b, trained["b.value"])
    said = done(capsys, "import", run / "model.safetensors", "--list")
    assert "'lstm.weights.forward.': lstm_jax, LSTM, 1 layer, 4 features" in said


def test_nothing_is_overwritten(folder, tmp_path, capsys):
    weights, _ = folder
    file = weights / "model.npz"
    add = ["--layout", "torch", "--prefix", "lstm.", "--out"]
    before = file.read_bytes()
    (tmp_path / "there").mkdir()
    assert "already exists" in refused(capsys, "import", file, *add, tmp_path / "there")
    run = tmp_path / "run"
    done(capsys, "import", file, *add, run)
    assert "already exists" in refused(capsys, "import", file, *add, run)
    said = refused(capsys, "export", run, "--format", "npz", "--out", file)
    assert "already exists" in said
    assert file.read_bytes() == before
    assert not [*(tmp_path / "there").iterdir()]


def test_what_is_wrong_is_said_in_a_line(folder, tmp_path, capsys):
    weights, _ = folder
    out = ["--out", tmp_path / "run"]

    def wrong(name, *options):
        return refused(capsys, "import", weights / name, *out, *options)

    said = wrong("model.npz", "--layout", "torch")
    assert "no layer of layout torch at prefix ''" in said
    assert "with one of: 'lstm.': torch, LSTM, 2 layers, 2 directions" in said
    assert "at prefix 'nothing.'" in wrong(
        *("model.npz", "--layout", "torch", "--prefix", "lstm.", "--prefix", "nothing.")
    )
    assert "Found: 'lstm.': torch, LSTM" in wrong(
        "model.npz", "--layout", "keras", "--prefix", "lstm."
    )
    assert "or .onnx (in Python: lstm_jax.interop.from_onnx)" in wrong("model.tflite")
    assert "import without --layout" in wrong("model.onnx", "--layout", "keras")
    assert "--weights-only are for" in wrong("model.npz", "--weights-only")
    assert "No such file" in wrong("gone.npz", "--layout", "torch")
    assert not (tmp_path / "run").exists()
    done(
        capsys,
        *("import", weights / "model.npz", *out),
        *("--layout", "torch", "--prefix", "lstm."),
    )
    said = refused(
        capsys, *("export", tmp_path / "run", "--format", "npz", "--out", "a.pt")
    )
    assert "ends in .npz" in said
    said = refused(
        capsys, *("export", weights, "--format", "npz", "--out", tmp_path / "a.npz")
    )
    assert "is not a run" in said
    with pytest.raises(SystemExit) as raised:
        main(["import", "a.npz", "--layout", "tflite", "--out", "b"])
    assert raised.value.code == 2
    assert "invalid choice: 'tflite'" in capsys.readouterr().err
    assert "--out is missing" in refused(capsys, "import", weights / "model.npz")


def test_what_weights_do_not_say_is_not_exported(tmp_path, capsys):
    """Activations and states have no place in a file of weights."""
    cells = [LSTMCell(4, Activations("hard_sigmoid"))]
    params = Stack(cells).init(jax.random.key(0), 3)
    save_stack(tmp_path / "run", params, cells=cells)
    out = ["--format", "npz", "--out", tmp_path / "w.npz"]
    for layout in ("torch", "keras"):
        argv = ["export", tmp_path / "run", *out, "--layout", layout]
        said = refused(capsys, *argv)
        assert "hard_sigmoid" in said
        assert "--format stablehlo keeps all of it, and --layout lstm_jax" in said
    said = done(capsys, "export", tmp_path / "run", *out)
    assert "LSTMCell(4, gate='hard_sigmoid') on 3 features" in said
    file = ["--format", "stablehlo", "--out", tmp_path / "m.jaxexport"]
    assert "gate='hard_sigmoid'" in done(capsys, "export", tmp_path / "run", *file)
    carry = Stack(cells).initial_carry(3)
    save_stack(tmp_path / "begun", params, carry=carry)
    out = ["--format", "npz", "--out", tmp_path / "b.npz"]
    said = refused(capsys, "export", tmp_path / "begun", *out)
    assert "not supported yet; lstm_jax.interop.load_stored returns them" in said
    assert not (tmp_path / "b.npz").exists()
