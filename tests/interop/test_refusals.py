"""What does not fit is named, one by one, and what has no equal is refused by name."""

import contextlib

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import lstm_jax
from lstm_jax import interop
from lstm_jax.interop import InteropError, UnsupportedError
from lstm_jax.interop.layout import LAYOUTS
from lstm_jax.interop.weights.stack import read_stack, write_stack
from tests.shapes import D, H


def state(layers=1, H=H, D=D, **changes):
    """A torch state dict of zeros; ``None`` takes a tensor out."""
    found = {}
    for n in range(layers):
        reads = D if n == 0 else H
        found |= {
            f"weight_ih_l{n}": np.zeros((4 * H, reads), np.float32),
            f"weight_hh_l{n}": np.zeros((4 * H, H), np.float32),
            f"bias_ih_l{n}": np.zeros(4 * H, np.float32),
            f"bias_hh_l{n}": np.zeros(4 * H, np.float32),
        }
    found |= changes
    return {name: array for name, array in found.items() if array is not None}


def refused(kind, call, *words):
    with pytest.raises(kind) as raised:
        call()
    for word in words:
        assert word in str(raised.value), str(raised.value)
    assert "\n" not in str(raised.value)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


WRONG = {
    "missing": (
        state(2, weight_hh_l0=None, bias_hh_l1=None),
        ["weight_hh_l0 is missing", "bias_hh_l1 is missing"],
    ),
    "unknown": (
        state(kernel=zeros(2, 2), weight_ih_l0_backward=zeros(2, 2)),
        ["kernel is unknown", "weight_ih_l0_backward is unknown"],
    ),
    "shapes": (
        state(weight_hh_l0=zeros(4 * H, H + 1), bias_ih_l0=zeros(3 * H)),
        [
            f"weight_hh_l0 has shape ({4 * H}, {H + 1}), expected ({4 * H}, {H})",
            f"bias_ih_l0 has shape ({3 * H},), expected ({4 * H},)",
            f"for D={D}, H={H}",
        ],
    ),
    "transposed": (
        state(weight_ih_l0=zeros(D, 4 * H + 1).T),
        [f"weight_ih_l0 has shape ({4 * H + 1}, {D}), expected [4H, D]"],
    ),
    "a layer left out": (
        {n.replace("_l1", "_l2"): a for n, a in state(2).items()},
        ["weight_ih_l1 is missing"],
    ),
    "a far layer": (state(weight_ih_l999999=zeros(2, 2)), ["layer 999999 is named"]),
    "layers that do not meet": (
        state(2, weight_ih_l1=zeros(4 * H, H + 2)),
        [f"layer 1 reads {H + 2} features, but layer 0 returns {H}"],
    ),
    "one way of two": (
        state(weight_ih_l0_reverse=zeros(4 * H, D)),
        ["weight_hh_l0_reverse is missing", "directions of layer 0 differ"][:1],
    ),
    "a cell and layers": (state(weight_ih=zeros(4 * H, D)), ["mixed"]),
    "integers": (
        state(bias_ih_l0=zeros(4 * H, dtype=np.int32)),
        ["bias_ih_l0 does not hold floating-point numbers"],
    ),
    "half a projection": (
        state(weight_hr_l0=zeros(2, H)),
        [f"weight_hh_l0 has shape ({4 * H}, {H}), expected ({4 * H}, 2)"],
    ),
    "nothing": ({}, ["no weights of a layer"]),
    "no array": (state(bias_ih_l0="text"), ["bias_ih_l0 is str, expected an array"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_tensors_are_named(name):
    tensors, words = WRONG[name]
    refused(InteropError, lambda: interop.from_torch(tensors), *words)


def test_names_of_another_layout_are_told():
    keras = {"kernel": zeros(D, 4 * H), "recurrent_kernel": zeros(H, 4 * H)}
    refused(
        InteropError, lambda: interop.from_torch(keras), "The names are those of keras"
    )
    inner = {f"encoder.{name}": array for name, array in state().items()}
    refused(InteropError, lambda: interop.from_torch(inner), "prefix 'encoder.'")


def test_a_gru_is_not_taken_for_an_lstm():
    """By its shapes: nothing is guessed from them."""
    gru = torch.nn.GRU(D, H).state_dict()
    refused(InteropError, lambda: interop.from_torch(gru), "expected [4H, D]")
    assert interop.from_torch(gru, cell="gru")[0].w_x.shape == (D, 3 * H)


def lstm_params(cell=None):
    cell = cell or lstm_jax.LSTMCell(H)
    return cell.init(jax.random.key(0), D)


PEEPHOLE = lstm_jax.PeepholeLSTMCell(H)
UNSUPPORTED = {
    "peepholes in torch": (
        lambda: interop.to_torch((lstm_params(PEEPHOLE),)),
        "PeepholeLSTMParams has peepholes, for which layout torch has no place",
    ),
    "a Mogrifier": (
        lambda: interop.to_torch(lstm_params(lstm_jax.MogrifierLSTMCell(H))),
        "MogrifierLSTMParams has no equal",
    ),
    "a projection in Keras": (
        lambda: interop.to_keras(lstm_params(lstm_jax.LSTMPCell(H, 2))),
        "LSTMPParams has a projection",
    ),
    "a bias of the projection in torch": (
        lambda: interop.to_torch(
            lstm_params(lstm_jax.LSTMPCell(H, 2, projection_bias=True))
        ),
        "a bias of its projection",
    ),
    "a GRU with b_hn in NNX": (
        lambda: interop.to_nnx(
            lstm_params(lstm_jax.GRUCell(H))._replace(b_hn=jnp.ones(H))
        ),
        "GRUParams has a bias b_hn that is not 0",
    ),
    "relu in torch": (
        lambda: interop.from_torch(torch.nn.RNN(D, H, nonlinearity="relu")),
        "nonlinearity 'relu'",
    ),
    "a whole torch model": (
        lambda: interop.from_torch(torch.nn.Linear(D, H)),
        "Linear is not converted",
    ),
    "a gate in NNX": (
        lambda: interop.from_nnx(
            nnx.LSTMCell(D, H, gate_fn=nnx.relu, rngs=nnx.Rngs(0))
        ),
        "another gate_fn than sigmoid",
    ),
    "an NNX RNN cell": (
        lambda: interop.from_nnx(nnx.SimpleCell(D, H, rngs=nnx.Rngs(0))),
        "SimpleCell is not converted",
    ),
    "a GRU in TensorFlow": (
        lambda: interop.to_tf1(lstm_params(lstm_jax.GRUCell(H))),
        "GRUParams is not a cell of kind lstm",
    ),
    "peepholes with input_forget": (
        lambda: interop.from_onnx_arrays(
            zeros(1, 4 * H, D), zeros(1, 4 * H, H), P=zeros(1, 3 * H), cell="cifg"
        ),
        "no cifg cell here has peepholes",
    ),
    "peepholes and a projection": (
        lambda: interop.from_tf1(
            {"kernel": zeros(D + 2, 4 * H), "bias": zeros(4 * H)}
            | {"projection/kernel": zeros(H, 2)}
            | {f"w_{gate}_diag": zeros(H) for gate in "ifo"}
        ),
        "no cell here has all of",
    ),
    "a cell that is not there": (
        lambda: interop.from_equinox(state(), cell="rnn"),
        "'rnn' is not a cell of 'equinox'",
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_has_no_equal_is_refused_by_name(name):
    call, word = UNSUPPORTED[name]
    refused(UnsupportedError, call, word)


def keras_layer(kind, *args, build=True, **options):
    import keras

    layer = getattr(keras.layers, kind)(*args, **options)
    if build:
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            layer.build((None, None, D))
    return layer


def conv_layer(**options):
    import keras

    options = {"padding": "same"} | options
    return keras.layers.ConvLSTM2D(H, 3, **options)


def bidirectional(**options):
    lstm = keras_layer("LSTM", H, build=False)
    return keras_layer("Bidirectional", lstm, **options)


KERAS = {
    "activation": (lambda: keras_layer("LSTM", H, activation="relu"), "'relu'"),
    "gates": (
        lambda: keras_layer("LSTM", H, recurrent_activation="hard_sigmoid"),
        "recurrent_activation='hard_sigmoid', expected 'sigmoid'",
    ),
    "backwards": (lambda: keras_layer("LSTM", H, go_backwards=True), "reverse=True"),
    "another layer": (lambda: keras_layer("Dense", H), "Dense"),
    "padding": (
        lambda: conv_layer(padding="valid"),
        "padding='valid', expected 'same'",
    ),
    "strides": (lambda: conv_layer(strides=2), "strides=(2, 2), expected 1"),
    "dilation": (
        lambda: conv_layer(dilation_rate=2),
        "dilation_rate=(2, 2), expected 1",
    ),
    "gates of a convolution": (
        lambda: conv_layer(recurrent_activation="hard_sigmoid"),
        "recurrent_activation='hard_sigmoid'",
    ),
    "merge": (lambda: bidirectional(merge_mode="sum"), "by 'sum', not 'concat'"),
    "not built": (lambda: keras_layer("LSTM", H, build=False), "is not built"),
}


@pytest.mark.parametrize("name", KERAS)
def test_keras_layers_that_are_refused(name):
    make, word = KERAS[name]
    refused(InteropError, lambda: interop.from_keras(make()), word)


INTO = {
    "sizes": (lambda: torch.nn.LSTM(D + 1, H), ["weight_ih_l0 has shape"]),
    "layers": (lambda: torch.nn.LSTM(D, H, 2), ["weight_ih_l1 is not expected"]),
    "kind": (lambda: torch.nn.GRU(D, H), ["into is gru, but params are lstm"]),
    "bias": (lambda: torch.nn.LSTM(D, H, bias=False), ["no bias_ih_l0", "not 0"]),
}


@pytest.mark.parametrize("name", INTO)
def test_a_module_that_does_not_fit_is_left_alone(name):
    make, words = INTO[name]
    module = make()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    refused(
        InteropError, lambda: interop.to_torch((lstm_params(),), into=module), *words
    )
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_shapes_of_our_own_are_checked():
    ensemble = jax.vmap(lambda k: lstm_jax.init_lstm(k, D, H))(
        jax.random.split(jax.random.key(0), 2)
    )
    refused(InteropError, lambda: interop.to_torch(ensemble), "w_x has shape (2, ")


def two_layers(cell):
    """Random parameters of two layers in two directions."""
    cells = {
        "lstm": lstm_jax.LSTMCell(H),
        "cifg": lstm_jax.CIFGLSTMCell(H),
        "gru": lstm_jax.GRUCell(H),
        "gru_reset_before": lstm_jax.ResetBeforeGRUCell(H),
        "rnn": lstm_jax.RNNCell(H),
        "conv_lstm": lstm_jax.ConvLSTMCell(H, (3, 2)),
    }
    stack = lstm_jax.Stack([cells[cell]] * 2, bidirectional=True)
    shapes = jax.eval_shape(lambda key: stack.init(key, D), jax.random.key(0))
    rng = np.random.default_rng(0)
    draw = lambda a: rng.normal(size=a.shape).astype(np.float32)
    return jax.tree.map(draw, shapes)


@pytest.mark.parametrize("name", [n for n in LAYOUTS if not n.startswith("onnx")])
def test_every_layout_as_a_stack_of_names(name):
    """Two layers in two directions, by their names and back, bit by bit."""
    layout = LAYOUTS[name]
    params = two_layers(layout.cell)
    if name == "nnx.gru":  # it has no such bias
        still = lambda p: p._replace(b_hn=np.zeros_like(p.b_hn))
        params = tuple(lstm_jax.Bidirectional(*map(still, entry)) for entry in params)
    again = read_stack(layout, write_stack(layout, params))
    for got, wanted in zip(*map(jax.tree.leaves, (again, params)), strict=True):
        if layout.forget_bias and got.ndim == 1:
            np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-7)
        else:
            assert np.array_equal(got, wanted)


@pytest.mark.parametrize("two_ways", [False, True])
def test_carries_of_torch(two_ways):
    rng = np.random.default_rng(0)
    h, c = (rng.normal(size=(4, 3, H)).astype(np.float32) for _ in range(2))
    carries = interop.from_carry("torch", (h, c), bidirectional=two_ways)
    one = carries[1].backward if two_ways else carries[3]
    assert np.array_equal(one.h, h[3])
    assert np.array_equal(one.c, c[3])
    for got, wanted in zip(interop.to_carry("torch", carries), (h, c), strict=True):
        assert np.array_equal(got, wanted)


def test_carries_that_do_not_fit():
    h = jnp.zeros((3, 2, H))
    from_carry = interop.from_carry
    refused(InteropError, lambda: from_carry("torch", (h, h, h)), "has 3 arrays")
    for carry in [(h, h), (h, h[:2])]:
        call = lambda carry=carry: from_carry("torch", carry, bidirectional=True)
        refused(InteropError, call, "[layers * 2, ...]")
    carry = lstm_jax.LSTMCarry(h, h)
    refused(InteropError, lambda: interop.to_carry("linen", [carry] * 2), "2 entries")


MIXED = (
    lstm_jax.Bidirectional(lstm_params(), lstm_params()),
    lstm_jax.LSTMCell(H).init(jax.random.key(0), 2 * H),
)
HALVES = (lstm_jax.Bidirectional(lstm_params(), lstm_params(lstm_jax.GRUCell(H))),)
XS = jnp.zeros((3, 2, D))
NOT_THE_FIRST = {
    "stack_of": lambda params: interop.stack_of(params),
    "save_stack": lambda params: interop.save_stack("never", params),
    "to_torch": lambda params: interop.to_torch(params),
    "lstm_stack": lambda params: lstm_jax.lstm_stack(params, None, XS),
    "a stack's parameters": lambda params: lstm_jax.Stack(
        [lstm_jax.LSTMCell(H)] * len(params), bidirectional=len(params) == 1
    )(params, None, XS),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", NOT_THE_FIRST)
def test_the_first_layer_does_not_stand_for_all(name, turned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = NOT_THE_FIRST[name]
    refused(ValueError, lambda: call(MIXED[:: -1 if turned else 1]), "direction")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["stack_of", "save_stack", "to_torch"])
def test_the_first_direction_does_not_stand_for_both(name):
    said = "gru, lstm" if name == "to_torch" else "GRU"
    refused(ValueError, lambda: NOT_THE_FIRST[name](HALVES), said)


def test_states_of_layers_that_differ():
    h = jnp.zeros((2, H))
    lstm, gru = lstm_jax.LSTMCarry(h, h), lstm_jax.GRUCarry(h)
    short = lstm_jax.LSTMCarry(h[:1], h[:1])
    both = lstm_jax.Bidirectional(lstm, lstm)
    for carry in [(lstm, gru), (lstm, both), (both, lstm), (lstm, short), ()]:
        call = lambda carry=carry: interop.to_carry("torch", carry)
        refused(InteropError, call, "expected the same in all layers")


FOREIGN = {
    "long double": (
        lambda: interop.from_torch(state(bias_ih_l0=zeros(4 * H, dtype=np.longdouble))),
        f"bias_ih_l0 has dtype {np.dtype(np.longdouble).name}, expected one of float16",
    ),
    "complex": (
        lambda: interop.from_torch(state(bias_ih_l0=zeros(4 * H, dtype=np.complex64))),
        "bias_ih_l0 has dtype complex64",
    ),
    "float8": (
        lambda: interop.from_torch(
            state(bias_ih_l0=torch.zeros(4 * H).to(torch.float8_e4m3fn))
        ),
        "bias_ih_l0 has dtype float8_e4m3fn, expected one of float16, bfloat16",
    ),
    "torch's meta device": (
        lambda: interop.from_torch(torch.nn.LSTM(D, H, device="meta")),
        "weight_ih_l0 is on torch's meta device, which keeps no numbers",
    ),
    "sparse": (
        lambda: interop.from_torch(state(bias_ih_l0=torch.zeros(4 * H).to_sparse())),
        "bias_ih_l0 is quantised or sparse, expected a dense tensor",
    ),
    "quantised": (
        lambda: interop.from_torch(
            state(
                bias_ih_l0=torch.quantize_per_tensor(zeros_(4 * H), 1, 0, torch.qint8)
            )
        ),
        "call .dequantize() or .to_dense()",
    ),
    "a mapping that is none": (lambda: interop.from_torch([1, 2]), "list is not"),
    "other arrays of Keras": (
        lambda: interop.from_keras([zeros(D, 4 * H)] * 6),
        "source is 6 arrays, expected [kernel, recurrent_kernel, bias]",
    ),
    "text": (lambda: interop.from_keras(["kernel", "bias"]), "str is not"),
    "no module of Haiku": (lambda: interop.from_haiku([zeros(2)]), "expected a dict"),
    "None": (lambda: interop.from_torch(None), "NoneType is not converted"),
    "no layer of haste": (lambda: interop.from_haste(3), "expected a haste layer"),
    "no arrays": (lambda: interop.from_tf1(3), "int is given, expected a dict"),
    "no number": (
        lambda: interop.from_tf1({}, forget_bias="1"),
        "forget_bias is '1', expected a number",
    ),
    "no layers": (lambda: interop.stack_of(3), "params is int, expected one entry"),
    "no layers to torch": (lambda: interop.to_torch(3), "params is int, expected"),
    "no layer": (lambda: interop.to_torch([3]), "int has no equal"),
    "no layers to a folder": (lambda: interop.save_stack("never", 3), "params is int"),
    "no carry": (lambda: interop.to_carry("torch", 3), "carry is int, expected a cell"),
    "no state": (lambda: interop.to_carry("torch", [None]), "of NoneType, expected"),
    "a module that keeps no numbers": (
        lambda: interop.to_torch(
            (lstm_params(),), into=torch.nn.LSTM(D, H, device="meta")
        ),
        "into (LSTM) is on torch's meta device",
    ),
    **{
        f"{name} in a file": (
            lambda a=a: interop.write_tensors("never.safetensors", {"a": a}),
            said,
        )
        for name, a, said in [
            ("text", "text", "a is str, expected an array"),
            ("texts", np.array(["a"]), "a has dtype str"),
            ("objects", np.array([None]), "a holds Python objects"),
            ("long double", np.zeros(2, np.longdouble), "save it as float32"),
        ]
    },
    "a number as a name": (
        lambda: interop.write_tensors("never.npz", {3: zeros(2)}),
        "a tensor is named 3, expected text",
    ),
    "a state of text": (
        lambda: interop.from_carry("keras", ("h", "c")),
        "expected an array",
    ),
    "a state that is None": (lambda: interop.from_carry("torch", None), "is NoneType"),
}


def zeros_(*shape):
    return torch.zeros(*shape)


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation:UserWarning")
@pytest.mark.parametrize("name", FOREIGN)
def test_no_error_of_a_library_reaches_the_user(name):
    call, word = FOREIGN[name]
    refused(InteropError, call, word)


def test_the_advice_for_the_meta_device_works():
    module = torch.nn.LSTM(D, H, device="meta").to_empty(device="cpu")
    module.load_state_dict(torch.nn.LSTM(D, H).state_dict())
    assert interop.from_torch(module)[0].w_x.shape == (D, 4 * H)


def test_a_list_of_weights_of_keras():
    weights = [zeros(D, 4 * H) + 1, zeros(H, 4 * H) + 2, zeros(4 * H) + 3]
    above = [zeros(H, 4 * H) + 4, *weights[1:]]
    for given in ([weights, above], (weights, above)):
        low, high = interop.from_keras(given)
        assert low.w_x.shape == (D, 4 * H)
        assert float(high.w_x[0, 0]) == 4
    both = interop.from_keras(lstm_jax.Bidirectional(weights, weights))
    assert both.backward.w_h.shape == (H, 4 * H)


def test_float64_is_kept_by_x64():
    tensors = {name: a.astype(np.float64) for name, a in state().items()}
    assert interop.from_torch(tensors)[0].w_x.dtype == jnp.float32
    with jax.enable_x64(True):
        assert interop.from_torch(tensors)[0].w_x.dtype == jnp.float64
    bfloat = {name: torch.tensor(a).bfloat16() for name, a in state().items()}
    assert interop.from_torch(bfloat)[0].b.dtype == jnp.bfloat16


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_keras_files(tmp_path):
    """``.keras`` and ``.weights.h5``, both read by Keras."""
    import keras

    with contextlib.ExitStack() as as_keras_likes:
        as_keras_likes.enter_context(jax.numpy_rank_promotion("allow"))
        as_keras_likes.enter_context(jax.numpy_dtype_promotion("standard"))
        layers = [keras.layers.LSTM(H, return_sequences=True) for _ in range(2)]
        model = keras.Sequential([keras.Input((None, D)), *layers])
        params = interop.from_keras(model)
        model.save(tmp_path / "model.keras")
        model.save_weights(tmp_path / "model.weights.h5")
        whole = keras.models.load_model(tmp_path / "model.keras")
        again = keras.models.clone_model(model)
        again.load_weights(tmp_path / "model.weights.h5")
    for read in (whole, again):
        same = jax.tree.map(np.array_equal, interop.from_keras(read), params)
        assert jax.tree.all(same)
