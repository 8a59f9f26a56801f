"""What training leaves in names and tensors, folded into the plain weights."""

import warnings

import jax
import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations, prune

from lstm_jax.interop import UnsupportedError, from_torch, write_tensors
from lstm_jax.interop.files.weight_file import WeightFile
from lstm_jax.interop.weights.entries import of_arrays
from lstm_jax.interop.weights.fold import plain_name, tidy

WEIGHT = "weight_hh_l0"


def lstm():
    torch.manual_seed(0)
    return torch.nn.LSTM(3, 5)


def with_old_weight_norm(dim):
    module = lstm()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, of its own function
        torch.nn.utils.weight_norm(module, WEIGHT, dim=dim)
    g = getattr(module, f"{WEIGHT}_g")
    g.data = torch.rand(g.shape) + 0.5
    return module


def with_weight_norm(dim=0):
    module = parametrizations.weight_norm(lstm(), WEIGHT, dim=dim)
    g = module.parametrizations[WEIGHT].original0
    g.data = torch.rand(g.shape) + 0.5
    return module


def pruned():
    return prune.l1_unstructured(lstm(), WEIGHT, amount=0.4)


class Dropped(torch.nn.Module):
    """WeightDrop as fastai saves it: the raw weight outside, a used one inside."""

    def __init__(self):
        super().__init__()
        self.module = lstm()
        self.register_parameter(f"{WEIGHT}_raw", getattr(self.module, WEIGHT))
        dropped = torch.nn.functional.dropout(getattr(self, f"{WEIGHT}_raw"), 0.5)
        setattr(self.module, WEIGHT, torch.nn.Parameter(dropped))


TRAINED = {
    "weight_norm of rows, old": lambda: with_old_weight_norm(0),
    "weight_norm of columns, old": lambda: with_old_weight_norm(1),
    "weight_norm of the whole, old": lambda: with_old_weight_norm(None),
    "weight_norm of rows": with_weight_norm,
    "weight_norm of columns": lambda: with_weight_norm(1),
    "pruned": pruned,
}


@pytest.mark.parametrize("name", TRAINED)
def test_a_weight_in_two_tensors(name):
    """It is what torch itself computes with."""
    module = TRAINED[name]()
    module(torch.zeros(1, 1, 3))  # torch makes an old weight anew in a call
    whole = getattr(module, WEIGHT).detach().numpy()
    assert WEIGHT not in module.state_dict()
    (params,) = from_torch(module.state_dict())
    np.testing.assert_allclose(params.w_h.T, whole, rtol=3e-7)
    (params,) = from_torch(module)
    np.testing.assert_allclose(params.w_h.T, whole, rtol=3e-7)


def test_the_fold_is_made_in_float64():
    rng = np.random.default_rng(0)
    v, g = (
        rng.normal(size=(20, 300)).astype("f2"),
        rng.normal(size=(20, 1)).astype("f2"),
    )
    (folded,) = tidy(of_arrays({"weight_hh_l0_v": v, "weight_hh_l0_g": g})).values()
    v, g = v.astype(np.float64), g.astype(np.float64)
    exact = g * v / np.linalg.norm(v, axis=1, keepdims=True)
    assert np.array_equal(folded.read(), exact.astype(np.float16))


def test_the_raw_weight_of_weight_drop(tmp_path):
    wrapped = torch.nn.Sequential(Dropped())
    torch.save(wrapped.state_dict(), tmp_path / "awd.pth")
    assert {"0.module.weight_hh_l0", "0.weight_hh_l0_raw"} <= {*wrapped.state_dict()}
    file = WeightFile(tmp_path / "awd.pth")
    assert file.lines() == ["'0.': torch, LSTM, 1 layer, 3 features, 5 units"]
    assert same(file.read(["0."]).params, from_torch(lstm()))
    assert same(file.read(["0.module."]).params, from_torch(lstm()))


def same(one, other):
    return jax.tree.all(jax.tree.map(np.array_equal, one, other))


NOT_FOLDED = {
    "another shape of g": {"weight_g": np.ones((2, 1)), "weight_v": np.ones((3, 4))},
    "g alone": {"weight_g": np.ones((3, 1))},
    "as many numbers": {"weight_g": np.ones((3, 4)), "weight_v": np.ones((3, 4))},
    "names that would meet": {"module.weight": np.ones(2), "weight": np.zeros(2)},
}


@pytest.mark.parametrize("name", NOT_FOLDED)
def test_what_is_not_exact_is_left_alone(name):
    assert tidy(of_arrays(NOT_FOLDED[name])).keys() == NOT_FOLDED[name].keys()


class Twice(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def with_twice(*names):
    module = lstm()
    for name in names:
        torch.nn.utils.parametrize.register_parametrization(module, name, Twice())
    return module


def both_norms():
    module = parametrizations.weight_norm(lstm(), WEIGHT)
    return parametrizations.spectral_norm(module, WEIGHT)


def with_old_spectral_norm():
    return torch.nn.utils.spectral_norm(lstm(), WEIGHT)


BIASES = ("bias_ih_l0", "bias_hh_l0")
PARAMETRISED = {
    "own, of the biases": lambda: with_twice(*BIASES),
    "own, of a weight": lambda: with_twice(WEIGHT),
    "own, of everything": lambda: with_twice(*BIASES, WEIGHT, "weight_ih_l0"),
    "orthogonal": lambda: parametrizations.orthogonal(lstm(), WEIGHT),
    "spectral_norm": lambda: parametrizations.spectral_norm(lstm(), WEIGHT),
    "spectral_norm, old": with_old_spectral_norm,
    "spectral_norm of weight_norm": both_norms,
}


@pytest.mark.parametrize("name", PARAMETRISED)
def test_what_is_not_folded_is_refused_by_name(tmp_path, name):
    """It is not absent, least of all a bias; and the advice works."""
    module = torch.nn.ModuleDict({"rnn": PARAMETRISED[name]()})
    torch.save(module.state_dict(), tmp_path / "m.pt")
    file = WeightFile(tmp_path / "m.pt")
    (line,) = file.lines()
    assert line.startswith("'rnn.': torch, LSTM, 1 layer, 3 features, 5 units")
    assert "; refused: rnn." in line
    assert "is parametrised in a way that is not folded" in line
    with pytest.raises(UnsupportedError, match="remove_spectral_norm"):
        file.read(["rnn."])
    with pytest.raises(UnsupportedError, match="not folded"):
        from_torch(module["rnn"])
    if name == "spectral_norm, old":
        torch.nn.utils.remove_spectral_norm(module["rnn"], WEIGHT)
    for weight in [*getattr(module["rnn"], "parametrizations", ())]:
        torch.nn.utils.parametrize.remove_parametrizations(module["rnn"], weight)
    assert len(from_torch(module["rnn"])) == 1


def pruned_bias():
    return prune.l1_unstructured(lstm(), "bias_ih_l0", amount=0.4)


def biases(norm, **options):
    module = lstm()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, of its own function
        for name in BIASES:
            module = norm(module, name, **options)
    return module


@pytest.mark.parametrize(
    "make",
    [
        lambda: biases(parametrizations.weight_norm),
        lambda: biases(torch.nn.utils.weight_norm, dim=None),
        lambda: biases(prune.random_unstructured, amount=0.3),
        pruned_bias,
    ],
)
def test_a_bias_in_two_tensors(make):
    module = make()
    module(torch.zeros(1, 1, 3))
    whole = sum(getattr(module, name).detach().numpy() for name in BIASES)
    (params,) = from_torch(module.state_dict())
    assert np.any(params.b)
    np.testing.assert_allclose(params.b, whole, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "name",
    [
        "module.lstm.w",
        "_orig_mod.module.lstm.w",
        "state_dict.lstm.w",
        "lstm/w:0",
        "lstm.module.w",
        "model_weights/lstm/w",
        "lstm.w.value",
    ],
)
def test_names_without_wrappers(name):
    assert plain_name(name) == "lstm.w"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_a_compiled_and_a_parallel_module(tmp_path):
    wrapped = torch.compile(torch.nn.Sequential(lstm()))
    state = {f"module.{name}": a for name, a in wrapped.state_dict().items()}
    assert all(name.startswith("module._orig_mod.0.") for name in state)
    torch.save(state, tmp_path / "model.bin")
    file = WeightFile(tmp_path / "model.bin")
    assert file.lines() == ["'0.': torch, LSTM, 1 layer, 3 features, 5 units"]
    for prefix in ("0.", "module._orig_mod.0."):
        assert same(file.read([prefix]).params, from_torch(lstm()))


def test_a_checkpoint_of_tensorflow(tmp_path):
    """As ``np.savez`` writes it: ``:0``, slots of Adam, texts beside the numbers."""
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(8, 20)).astype("f4"), rng.normal(size=20).astype("f4")
    scope = "encoder/basic_lstm_cell"
    slots = {"": w, "/Adam": w + 1, "/Adam_1": w + 2, "/Momentum": w + 3}
    tensors = {f"{scope}/kernel{slot}:0": a for slot, a in slots.items()}
    tensors |= {f"{scope}/bias{slot}:0": b for slot in ("", "/Adam", "/Adam_1")}
    tensors |= {f"Adam/v/{scope}/kernel": w, f"Adam/v/{scope}/bias": b}
    tensors |= {f"optimizer/{scope}/kernel": w, f"optimizer/{scope}/bias": b}
    tensors |= {"beta1_power": np.float32(1), "global_step": np.int64(3)}
    np.savez(tmp_path / "weights.npz", _GRAPH=np.array(b"text", object), **tensors)
    file = WeightFile(tmp_path / "weights.npz")
    assert file.lines() == [
        "'encoder.basic_lstm_cell.': tf1, LSTM, 1 layer, 3 features, 5 units"
    ]
    weights = file.read(["encoder/basic_lstm_cell/"])
    assert np.array_equal(weights.params[0].w_x[:, :5], w[:3, :5])
    assert np.array_equal(weights.params[0].b[5:10], b[10:15] + 1)


def test_two_biases_of_cudnn(tmp_path):
    """CuDNNLSTM of Keras 2, put into the words of its own converter to LSTM."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    stored = {"kernel": draw(3, 20), "recurrent_kernel": draw(5, 20), "bias": draw(40)}
    write_tensors(tmp_path / "w.npz", stored)
    file = WeightFile(tmp_path / "w.npz")
    assert file.lines() == ["'': keras.cudnn, LSTM, 1 layer, 3 features, 5 units"]
    (params,) = file.read().params
    # keras/engine/saving.py of Keras 2, _convert_rnn_weights
    gates = lambda kernels, f: np.hstack([f(k) for k in np.hsplit(kernels, 4)])
    kernel = gates(stored["kernel"], lambda k: k.T.reshape(k.shape, order="F"))
    recurrent = gates(stored["recurrent_kernel"], lambda k: k.T)
    bias = np.sum(np.split(stored["bias"], 2, axis=0), axis=0)
    order = lambda a: np.split(a, 4, axis=-1)  # i, f, c, o in both
    assert np.array_equal(params.w_x, np.concatenate(order(kernel), axis=-1))
    assert np.array_equal(params.w_h, np.concatenate(order(recurrent), axis=-1))
    assert np.array_equal(params.b, bias)
