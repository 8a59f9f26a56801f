"""Files of whole models: read where that is safe and exact, or refused with a route."""

import json
import warnings

import jax
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lstm_jax.interop import InteropError, UnsupportedError, from_torch, read_tensors
from lstm_jax.interop.files.weight_file import WeightFile

LINE = "'lstm.': torch, LSTM, 1 layer, 3 features, 5 units"


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = torch.nn.LSTM(3, 5), torch.nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model()


def same(one, other):
    return jax.tree.all(jax.tree.map(np.array_equal, one, other))


def read(path, model):
    file = WeightFile(path)
    assert file.lines() == [LINE]
    return same(file.read(["lstm."]).params, from_torch(model.lstm))


def lightning(model):
    """What ``Trainer.save_checkpoint`` puts into a file."""
    model(torch.zeros(1, 1, 3)).sum().backward()
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.step()
    progress = {"total": {"ready": 3, "completed": 3}, "current": {"ready": 3}}
    return {
        "epoch": 1,
        "global_step": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": model.state_dict(),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": progress}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_path": ""}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"hidden_size": 5, "betas": (0.9, 0.999)},
    }


def test_a_checkpoint_of_lightning(model, tmp_path):
    torch.save(lightning(model), tmp_path / "last.ckpt")
    assert read(tmp_path / "last.ckpt", model)
    names = read_tensors(tmp_path / "last.ckpt", "state_dict.lstm.")
    assert from_torch(names)[0].w_x.shape == (3, 20)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards(model, tmp_path, kind):
    name = "pytorch_model" if kind == "bin" else "model"
    write = torch.save if kind == "bin" else save_file
    files, where = {}, {}
    for n, (key, value) in enumerate(model.state_dict().items()):
        file = f"{name}-{n % 2 + 1:05}-of-00002.{kind}"
        files.setdefault(file, {})[key] = value
        where[key] = file
    for file, tensors in files.items():
        write(tensors, tmp_path / file)
    index = tmp_path / f"{name}.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    assert read(index, model)
    assert read_tensors(index, "lstm.").keys() == model.lstm.state_dict().keys()


SHARDS = {
    "another folder": ({"a": "../model.safetensors"}, "expected a .safetensors file"),
    "another kind": ({"a": "model.bin"}, "expected a .safetensors file"),
    "gone": ({"a": "gone.safetensors"}, "cannot be read"),
    "another name": ({"b": "model.safetensors"}, "has no b, which the index names"),
    "no names": ([1], "corrupt"),
}


@pytest.mark.parametrize("name", SHARDS)
def test_an_index_that_is_wrong(tmp_path, name):
    where, said = SHARDS[name]
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    with pytest.raises(InteropError, match=said):
        read_tensors(index)


def refusal(path, kind=InteropError):
    with pytest.raises(kind) as raised:
        read_tensors(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_torchscript_and_its_route(model, tmp_path):
    old, new = tmp_path / "old.pt", tmp_path / "new.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(model).save(old)
        assert "torch.save(torch.jit.load(PATH).state_dict(), NEW)" in refusal(old)
        torch.save(torch.jit.load(old).state_dict(), new)
    assert read(new, model)


def test_a_file_older_than_torch_1_6_and_its_route(model, tmp_path):
    old, new = tmp_path / "old.pt", tmp_path / "new.pt"
    torch.save(model.state_dict(), old, _use_new_zipfile_serialization=False)
    route = "torch.save(torch.load(PATH, weights_only=True), NEW)"
    assert route in refusal(old)
    torch.save(torch.load(old, weights_only=True), new)
    assert read(new, model)


def test_a_pickled_module_and_its_route(model, tmp_path):
    old, new = tmp_path / "old.pt", tmp_path / "new.pt"
    torch.save(model, old)
    assert "torch.load(PATH, weights_only=False) has the object" in refusal(old)
    torch.save(torch.load(old, weights_only=False).state_dict(), new)
    assert read(new, model)


def test_a_quantised_module_is_refused_by_its_name(model, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of its own quantiser
        quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.LSTM})
        torch.save(quantised.state_dict(), tmp_path / "model.pt")
        linear = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
        torch.save(linear.state_dict(), tmp_path / "linear.pt")
    for name in ("model.pt", "linear.pt"):
        said = refusal(tmp_path / name, UnsupportedError)
        assert "_packed_params" in said
        assert "before it was quantised" in said
    with pytest.raises(UnsupportedError, match="LSTM is a quantised module"):
        from_torch(quantised.lstm)
    assert from_torch(model.lstm)[0].w_x.shape == (3, 20)


def test_dtypes_that_are_not_read_are_refused_alone(model, tmp_path):
    """By name, and only when they are asked for."""
    half = model.lstm.weight_hh_l0.to(torch.float8_e4m3fn).detach()
    save_file({"a": torch.ones(2), "b": half}, tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", a=np.ones(2), b=np.ones(2, np.longdouble))
    for path, dtype in [("w.safetensors", "F8_E4M3"), ("w.npz", np.longdouble)]:
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
        assert f"b has dtype {name}" in refusal(tmp_path / path, UnsupportedError)
        assert read_tensors(tmp_path / path, "a").keys() == {""}


def test_float8_in_a_state_dict_and_its_route(model, tmp_path):
    old, new = tmp_path / "old.pt", tmp_path / "new.pt"
    whole = {k: v.to(torch.bfloat16) for k, v in model.state_dict().items()}
    half = {k: v.to(torch.float8_e5m2) for k, v in whole.items()}
    torch.save(half, old)
    said = refusal(old, UnsupportedError)
    assert "dtype float8_e5m2" in said
    assert "torch.save({k: v.float() for k, v in torch.load(PATH).items()}" in said
    torch.save({k: v.float() for k, v in torch.load(old).items()}, new)
    assert WeightFile(new).lines() == [LINE]


def test_a_checkpoint_of_tensorflow_has_a_route(tmp_path):
    for name in ("model.ckpt.index", "model.ckpt-10.data-00000-of-00001"):
        assert "tf.train.load_checkpoint(PATH)" in refusal(tmp_path / name)
