"""Layers found in files by names and shapes, and prefixes that name them."""

import jax
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lstm_jax.cli import main
from lstm_jax.interop import (
    LAYOUTS,
    InteropError,
    from_torch,
    load_stack,
    write_tensors,
)
from lstm_jax.interop.files.weight_file import WeightFile
from lstm_jax.interop.weights.find import find_layers
from lstm_jax.interop.weights.stack import write_stack
from tests.interop import test_refusals as layouts
from tests.shapes import D, H


class Model(torch.nn.Module):
    """Every way in which torch's modules lie in a model."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(9, 3)
        self.encoder = torch.nn.Module()
        self.encoder.lstm = torch.nn.LSTM(3, 5, 2, bidirectional=True)
        self.low = torch.nn.LSTM(3, 5, 2)
        self.high = torch.nn.LSTM(5, 4)
        self.rnns = torch.nn.ModuleList([torch.nn.LSTM(3, 5), torch.nn.LSTM(5, 4)])
        self.cells = torch.nn.ModuleList(
            [torch.nn.LSTMCell(3, 5), torch.nn.Dropout(), torch.nn.LSTMCell(5, 4)]
        )
        self.fwd, self.bwd = torch.nn.LSTM(3, 5), torch.nn.LSTM(3, 5)
        self.gru = torch.nn.GRU(3, 5)
        self.head = torch.nn.Linear(4, 9)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Model()


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(model.state_dict(), path)
    return path


LINES = [
    "'bwd.': torch, LSTM, 1 layer, 3 features, 5 units",
    "'cells.0.': torch, LSTM, 1 layer, 3 features, 5 units",
    "'cells.2.': torch, LSTM, 1 layer, 5 features, 4 units",
    "'encoder.lstm.': torch, LSTM, 2 layers, 2 directions, 3 features, 5 units",
    "'fwd.': torch, LSTM, 1 layer, 3 features, 5 units",
    "'gru.': torch.gru, GRU, 1 layer, 3 features, 5 units",
    "'high.': torch, LSTM, 1 layer, 5 features, 4 units",
    "'low.': torch, LSTM, 2 layers, 3 features, 5 units",
    "'rnns.0.': torch, LSTM, 1 layer, 3 features, 5 units",
    "'rnns.1.': torch, LSTM, 1 layer, 5 features, 4 units",
]


def run(capsys, *argv, status=0):
    assert main([*map(str, argv)]) == status
    said = capsys.readouterr()
    return said.err if status else said.out


def same(one, other):
    return jax.tree.all(jax.tree.map(np.array_equal, one, other))


def test_a_list_of_every_layer(path, capsys):
    assert run(capsys, "import", path, "--list").splitlines() == LINES


CHOICES = {
    "several layers in one module": (["low."], lambda m: from_torch(m.low)),
    "one module on another": (
        ["low.", "high."],
        lambda m: (*from_torch(m.low), *from_torch(m.high)),
    ),
    "a ModuleList": (
        ["rnns.*."],
        lambda m: (*from_torch(m.rnns[0]), *from_torch(m.rnns[1])),
    ),
    "cells with something between": (
        ["cells.*."],
        lambda m: (from_torch(m.cells[0]), from_torch(m.cells[2])),
    ),
    "cells by their prefixes": (
        ["cells.0.", "cells.2."],
        lambda m: (from_torch(m.cells[0]), from_torch(m.cells[2])),
    ),
    "two directions": (["encoder.lstm."], lambda m: from_torch(m.encoder.lstm)),
    "a GRU": (["gru."], lambda m: from_torch(m.gru)),
}


@pytest.mark.parametrize("name", CHOICES)
def test_prefixes(model, path, tmp_path, capsys, name):
    prefixes, wanted = CHOICES[name]
    argv = [word for prefix in prefixes for word in ("--prefix", prefix)]
    run(capsys, "import", path, *argv, "--out", tmp_path / "run")
    assert same(load_stack(tmp_path / "run")[1], wanted(model))
    layout = "torch.gru" if name == "a GRU" else "torch"
    named = ["--layout", layout, "--out", tmp_path / "named"]
    run(capsys, "import", path, *argv, *named)
    assert same(load_stack(tmp_path / "named")[1], wanted(model))


def test_a_prefix_for_each_direction(model, path, tmp_path, capsys):
    out = ["--out", tmp_path / "run"]
    said = run(capsys, "import", path, "--prefix", "fwd.,bwd.", *out)
    assert "in two directions" in said
    assert "left alone: 51 other tensors (embed.weight, encoder." in said
    stack, ((forward, backward),) = load_stack(tmp_path / "run")
    assert stack.bidirectional
    assert same((forward, backward), (*from_torch(model.fwd), *from_torch(model.bwd)))


NOWHERE = {
    "no prefix": ([], "no layer at prefix '' in"),
    "a wrong prefix": (["--prefix", "lstm."], "no layer at prefix 'lstm.' in"),
    "half of one": (["--prefix", "enc"], "no layer at prefix 'enc' in"),
    "another layout": (
        ["--prefix", "low.", "--layout", "keras"],
        "no layer of layout keras at prefix 'low.' in",
    ),
}


@pytest.mark.parametrize("name", NOWHERE)
def test_a_wrong_prefix_ends_with_the_list(path, tmp_path, capsys, name):
    argv, word = NOWHERE[name]
    said = run(capsys, "import", path, *argv, "--out", tmp_path / "run", status=2)
    assert word in said
    start = ". Found: " if "layout" in said else ". Pass --prefix with one of: "
    assert f"model.pt{start}{'; '.join(LINES[:8])}; and 2 more (lstm-jax" in said
    assert len(said.splitlines()) == 1


def test_a_prefix_without_its_dot(path, tmp_path, capsys):
    """And the advice works."""
    argv = ["import", path, "--out", tmp_path / "run", "--prefix"]
    assert "pass --prefix low." in run(capsys, *argv, "low", status=2)
    run(capsys, *argv, "low.")


WRONG = {
    "layers that do not meet": (
        ["--prefix", "high.", "--prefix", "low."],
        "layer 1 reads 3 features, but layer 0 returns 4",
    ),
    "directions that differ": (["--prefix", "low.,high."], "names 2 and 1 layers"),
    "three directions": (["--prefix", "fwd.,bwd.,low."], "expected FORWARD,BACKWARD"),
    "two of two": (["--prefix", "encoder.lstm.,encoder.lstm."], "in two directions"),
    "one and two": (
        ["--prefix", "encoder.lstm.", "--prefix", "high."],
        "some layers have one direction and some two",
    ),
    "two stars": (["--prefix", "*.*."], "more than one *"),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_fault_comes_without_the_list(path, tmp_path, capsys, name):
    argv, word = WRONG[name]
    said = run(capsys, "import", path, *argv, "--out", tmp_path / "run", status=2)
    assert word in said
    assert "model.pt" in said
    assert LINES[0] not in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def arrays(name):
    """Two layers of a layout by their names."""
    layout = LAYOUTS[name]
    params = layouts.two_layers(layout.cell)
    if name == "nnx.gru":
        zero = lambda p: p._replace(b_hn=np.zeros_like(p.b_hn))
        params = tuple(type(e)(*map(zero, e)) for e in params)
    return write_stack(layout, params)


@pytest.mark.parametrize("name", [n for n in LAYOUTS if not n.startswith("onnx")])
def test_every_layout_is_found(name):
    """By itself, or with the others that its tensors fit and that read differently."""
    tensors = {f"a.lstm.{n}": a.shape for n, a in arrays(name).items()}
    tensors["a.head.kernel"] = (H, 2)
    (found,) = find_layers(tensors)
    assert (found.prefix, found.directions) == ("a.lstm.", 2)
    assert [(s["D"], s["H"]) for s in found.sizes] == [(D, H), (2 * H, H)]
    twins = {"jax_rnn": "torch", "tf1.block_cell": "tf1", "tf1.block": "haiku"}
    assert twins.get(name, name) in found.layouts
    different = {
        ("keras", "haste"),
        ("haiku", "tf1.block_v2"),
        ("lstm_jax.cifg", "lstm_jax"),
    }
    if len(found.layouts) > 1:
        assert found.layouts in different


def test_a_dense_layer_is_not_taken_for_a_layer():
    """It has the names and shapes of TensorFlow's cell, but not its path."""
    shapes = {"a.kernel": (D + H, 4 * H), "a.bias": (4 * H,)}
    assert not find_layers(shapes)
    (found,) = find_layers(shapes, ["tf1"])
    assert found.sizes[0]["D"] == D


def test_what_fits_two_layouts_is_refused_until_one_is_named(tmp_path, capsys):
    tensors = {n: a for n, a in arrays("keras").items() if n.startswith("0.forward.")}
    path = tmp_path / "weights.npz"
    write_tensors(path, {n.replace("0.forward.", "a."): a for n, a in tensors.items()})
    assert "keras or haste" in run(capsys, "import", path, "--list")
    argv = ["import", path, "--prefix", "a.", "--out", tmp_path / "run"]
    said = run(capsys, *argv, status=2)
    assert "fit the layouts keras and haste" in said
    assert "--layout" in said
    run(capsys, *argv, "--layout", "haste")
    (params,) = load_stack(tmp_path / "run")[1]
    kernel = tensors["0.forward.kernel"]
    assert np.array_equal(params.w_x[:, H : 2 * H], kernel[:, 2 * H : 3 * H])


def test_unknown_tensors_in_the_module_itself_are_no_others(tmp_path):
    tensors = {f"lstm.{name}": a for name, a in layouts.state().items()}
    tensors |= {"lstm.h0": np.zeros(H), "lstm.norm.weight": np.zeros(H)}
    write_tensors(tmp_path / "model.npz", tensors)
    file = WeightFile(tmp_path / "model.npz")
    assert file.lines() == [
        f"'lstm.': torch, LSTM, 1 layer, {D} features, {H} units; refused: beside them "
        f"h0, unknown to the layout"
    ]
    with pytest.raises(InteropError, match="h0 is unknown"):
        file.read(["lstm."])


def fits(module, tmp_path, name="model.pt"):
    torch.save(torch.nn.ModuleDict({"rnn": module}).state_dict(), tmp_path / name)
    return WeightFile(tmp_path / name)


@pytest.mark.parametrize("lost", ["bias_{}_l1", "bias_{}_l0_reverse"])
def test_a_bias_in_some_layers_alone_is_not_all_of_them(tmp_path, lost):
    """So a file is that lacks what lies in another one."""
    state = torch.nn.LSTM(3, 5, 2, bidirectional=True).state_dict()
    for way in ("ih", "hh"):
        del state[lost.format(way)]
    torch.save({f"rnn.{name}": a for name, a in state.items()}, tmp_path / "m.pt")
    file = WeightFile(tmp_path / "m.pt")
    missing = lost.format("hh")
    assert f"; refused: {missing} is missing, though there is a bias" in file.lines()[0]
    with pytest.raises(InteropError, match=f"{missing} is missing"):
        file.read(["rnn."])
    with pytest.raises(InteropError, match=f"{missing} is missing"):
        from_torch(state)


def test_a_bias_in_one_direction_alone(tmp_path):
    pair = {"f": torch.nn.LSTM(3, 5), "b": torch.nn.LSTM(3, 5, bias=False)}
    file = fits(torch.nn.ModuleDict(pair), tmp_path)
    with pytest.raises(InteropError, match="one direction has tensors, such as a bias"):
        file.read(["rnn.f.,rnn.b."])
    assert len(file.read(["rnn.f."]).params) == 1


@pytest.mark.parametrize("name", ["model-00001-of-00002", "m_1-of-2", "m.01-of-02"])
def test_one_part_of_a_model_is_not_the_model(tmp_path, name):
    """Here the other part has the biases."""
    file = fits(torch.nn.LSTM(3, 5, bias=False), tmp_path, f"{name}.pt")
    with pytest.raises(InteropError, match=r"one of 2 parts .* m\w*\.pt\.index\.json"):
        file.read(["rnn."])
    with pytest.raises(InteropError, match="one of 2 parts"):
        file.lines()
    whole = fits(torch.nn.LSTM(3, 5), tmp_path, "model-00001-of-00001.pt")
    assert len(whole.read(["rnn."]).params) == 1


ODD = {
    "float8": lambda a: torch.tensor(a).to(torch.float8_e4m3fn),
    "int8": lambda a: torch.tensor(a).to(torch.int8),
    "complex64": lambda a: torch.tensor(a).to(torch.complex64),
}


@pytest.mark.parametrize("dtype", ODD)
def test_a_dtype_that_is_not_read_is_not_taken_for_absent(tmp_path, dtype):
    module = {"lstm." + name: ODD[dtype](a) for name, a in layouts.state().items()}
    paths = [tmp_path / "m.safetensors"]
    save_file(module, paths[0])
    if dtype != "float8":
        np.savez(tmp_path / "m.npz", **{n: a.numpy() for n, a in module.items()})
        paths += [tmp_path / "m.npz"]
    for path in paths:
        (line,) = WeightFile(path).lines()
        assert line.startswith(f"'lstm.': torch, LSTM, 1 layer, {D} features, {H} ")
        assert "; refused: lstm.bias_hh_l0 has dtype " in line
        with pytest.raises(InteropError, match="has dtype"):
            WeightFile(path).read(["lstm."])


def test_a_module_called_optimizer(tmp_path):
    """A learned optimiser is a model; a copy of a weight is a slot of one."""
    state = layouts.state()
    tensors = {f"optimizer.lstm.{name}": a for name, a in state.items()}
    write_tensors(tmp_path / "learned.npz", tensors)
    (line,) = WeightFile(tmp_path / "learned.npz").lines()
    assert line.startswith("'optimizer.lstm.': torch, LSTM")
    for model, copy in [("lstm.", "optimizer.m.lstm."), ("model.a.", "opt_state.0.a.")]:
        tensors = {model + name: a for name, a in state.items()}
        tensors |= {copy + name: a for name, a in state.items()}
        path = tmp_path / f"{model}npz"
        write_tensors(path, tensors)
        (line,) = WeightFile(path).lines()
        assert line.startswith(f"'{model}'")
