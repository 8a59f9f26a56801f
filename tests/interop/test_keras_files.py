"""``.keras`` and ``.h5`` by command, without Keras, against what Keras itself reads."""

import contextlib
import json
import sys
import zipfile

import h5py
import jax
import numpy as np
import pytest

from lstm_jax import Bidirectional
from lstm_jax.interop import InteropError, UnsupportedError, from_keras, read_tensors
from lstm_jax.interop.files.weight_file import WeightFile

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"  # Keras's own
)


@contextlib.contextmanager
def as_keras_likes():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def model():
    """One of each kind, trained a step for the slots of the optimizer."""
    import keras

    keras.utils.clear_session()  # names count the layers made before
    layers = keras.layers
    options = dict(return_sequences=True)
    with as_keras_likes():
        model = keras.Sequential(
            [
                keras.Input((None, 3)),
                layers.LSTM(5, name="low", **options),
                layers.Bidirectional(layers.GRU(4, **options), merge_mode="sum"),
                layers.RNN([layers.LSTMCell(3), layers.LSTMCell(2)], **options),
                layers.SimpleRNN(2, name="lstm", **options),
                layers.Dense(1),
            ]
        )
        model.compile("adam", "mse", run_eagerly=False)
        xs = np.zeros((2, 4, 3), np.float32)
        model.fit(xs, np.zeros((2, 4, 1), np.float32), verbose=0)
        rng = np.random.default_rng(0)
        draw = lambda w: rng.normal(size=w.shape).astype(np.float32)
        model.set_weights([*map(draw, model.get_weights())])
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    with as_keras_likes():
        for name in ("m.keras", "m.h5"):
            model.save(folder / name)
        model.save_weights(folder / "m.weights.h5")
    return folder


PREFIXES = {
    "m.keras": [
        "layers.lstm.",
        "layers.bidirectional.",
        "layers.rnn.cell.cells.lstm_cell.",
        "layers.rnn.cell.cells.lstm_cell_1.",
        "layers.simple_rnn.",
    ],
    "m.h5": [
        "low.sequential.low.lstm_cell.",
        "bidirectional.sequential.bidirectional.",
        "rnn.sequential.rnn.stacked_rnn_cells.lstm_cell.",
        "rnn.sequential.rnn.stacked_rnn_cells.lstm_cell_1.",
        "lstm.sequential.lstm.simple_rnn_cell.",
    ],
}
PREFIXES["m.weights.h5"] = PREFIXES["m.keras"]
LAYERS = [
    "keras, LSTM, 1 layer, 3 features, 5 units",
    "keras.gru, GRU, 1 layer, 2 directions, 5 features, 4 units",
    "keras, LSTM, 1 layer, 4 features, 3 units",
    "keras, LSTM, 1 layer, 3 features, 2 units",
    "keras.rnn, RNN, 1 layer, 2 features, 2 units",
]


@pytest.mark.parametrize("name", PREFIXES)
def test_every_layer_is_listed_and_read(model, folder, name, monkeypatch):
    low, both, rnn, plain, _ = model.layers
    wanted = [from_keras(low), from_keras(both, merge="sum")]
    wanted += [*from_keras(rnn), from_keras(plain)]
    monkeypatch.setitem(sys.modules, "keras", None)  # none of it is needed
    file = WeightFile(folder / name)
    lines = {line.partition(" (layer")[0] for line in file.lines()}
    pairs = [*zip(PREFIXES[name], LAYERS, strict=True)]
    assert lines == {f"{prefix!r}: {said}" for prefix, said in pairs}
    for prefix, params in zip(PREFIXES[name], wanted, strict=True):
        (read,) = file.read([prefix]).params
        assert jax.tree.all(jax.tree.map(np.array_equal, read, params)), prefix
    cells = file.read(PREFIXES[name][2:4]).params
    assert jax.tree.all(jax.tree.map(np.array_equal, cells, tuple(wanted[2:4])))


def test_the_layers_have_the_names_that_keras_gives_them(folder):
    low, *_ = sorted(WeightFile(folder / "m.keras").lines())[1:]
    assert low.startswith("'layers.lstm.'")
    assert low.endswith("(layer 'low')")


def test_the_merge_is_what_the_file_says(folder):
    for name in ("m.keras", "m.h5"):
        file, prefix = WeightFile(folder / name), PREFIXES[name][1]
        assert file.read([prefix]).merge == "sum"
        assert isinstance(file.read([prefix], merge="sum").params[0], Bidirectional)
        with pytest.raises(InteropError, match="merge is 'concat', but the file says"):
            file.read([prefix], merge="concat")


def test_two_merges_are_two_runs(tmp_path):
    import keras

    make = lambda merge: keras.layers.Bidirectional(
        keras.layers.LSTM(3, return_sequences=True), merge_mode=merge
    )
    with as_keras_likes():
        layers = [keras.Input((None, 3)), make("sum"), make("ave")]
        keras.Sequential(layers).save(tmp_path / "m.keras")
    file = WeightFile(tmp_path / "m.keras")
    low, high = [line.split("'")[1] for line in file.lines()]
    assert all(", joined by " in line for line in file.lines())
    with pytest.raises(InteropError, match="one merge; import these layers as 2 runs"):
        file.read([low, high])
    assert {file.read([low]).merge, file.read([high]).merge} == {"sum", "mean"}


def saved(folder, make, ending):
    import keras

    with as_keras_likes():
        given = make(keras.layers)
        model = keras.Sequential([keras.Input((None, 3)), *given])
        model.save(folder / f"model.{ending}")
    return WeightFile(folder / f"model.{ending}")


OTHERS = {
    "activation": lambda k: [k.LSTM(5, activation="relu")],
    "recurrent_activation": lambda k: [k.GRU(5, recurrent_activation="hard_sigmoid")],
    "go_backwards": lambda k: [k.LSTM(5, go_backwards=True)],
    "recurrent_activation='relu'": lambda k: [
        k.Bidirectional(k.LSTM(5, recurrent_activation="relu"))
    ],
    "activation='elu'": lambda k: [
        k.RNN([k.LSTMCell(5), k.GRUCell(4, activation="elu")])
    ],
}


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("name", OTHERS)
def test_layers_that_are_not_as_ours_are_refused(tmp_path, name, ending):
    file = saved(tmp_path, OTHERS[name], ending)
    refused = [line for line in file.lines() if "; refused: " in line]
    assert refused
    assert all(name in line for line in refused)
    prefix = refused[0].split("'")[1]
    with pytest.raises(UnsupportedError, match=name):
        file.read([prefix])


def test_only_the_layer_itself_is_refused(tmp_path):
    """Its name in the file is that of another one's class."""
    make = lambda k: [
        k.LSTM(5, return_sequences=True, activation="relu", name="a"),
        k.LSTM(4, name="lstm"),
    ]
    for ending, bad, good in [
        ("keras", "layers.lstm.", "layers.lstm_1."),
        ("h5", "a.sequential.a.lstm_cell.", "lstm.sequential.lstm.lstm_cell."),
    ]:
        file = saved(tmp_path, make, ending)
        names = [line.split("'")[1] for line in file.lines()]
        bad, good = (
            next(n for n in names if n.startswith(p.partition("sequential")[0]))
            for p in (bad, good)
        )
        assert file.read([good]).params[0].w_h.shape == (4, 16)
        with pytest.raises(UnsupportedError, match="relu"):
            file.read([bad])


def test_without_names_nothing_is_guessed(tmp_path):
    """Older files of Keras 3 do not say which variables are which layer's."""
    saved(tmp_path, OTHERS["activation"], "keras")
    path = tmp_path / "old.keras"
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as new,
        zipfile.ZipFile(path, "w") as old,
    ):
        (tmp_path / "w.h5").write_bytes(new.read("model.weights.h5"))
        with h5py.File(tmp_path / "w.h5", "a") as file:
            file.visititems(lambda _, one: one.attrs.pop("name", None) and None)
        old.writestr("config.json", new.read("config.json"))
        old.write(tmp_path / "w.h5", "model.weights.h5")
    with pytest.raises(UnsupportedError, match="relu"):
        WeightFile(path).read(["layers.lstm."])


def test_code_in_a_file_is_not_run(tmp_path):
    import keras

    with as_keras_likes():
        layers = [keras.layers.Lambda(lambda x: x), keras.layers.LSTM(5)]
        model = keras.Sequential([keras.Input((None, 3)), *layers])
        model.save(tmp_path / "m.keras")
        with pytest.raises(ValueError, match="safe_mode"):
            keras.models.load_model(tmp_path / "m.keras")
    (line,) = WeightFile(tmp_path / "m.keras").lines()
    assert line.startswith("'layers.lstm.'")


def hostile(path, change):
    with h5py.File(path, "w") as file:
        change(file)


def own_classes():
    """Models whose layers compute what their names and shapes do not say."""
    import keras

    layers = keras.layers
    register = keras.saving.register_keras_serializable("Package")

    @register
    class MyLSTM(layers.LSTM):
        pass

    @register
    class Cell(layers.LSTMCell):
        def call(self, *args, **options):
            return super().call(*args, **options)

    @register
    class Block(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.rnn = layers.LSTM(4, activation="relu", return_sequences=True)

        def build(self, shape):
            self.rnn.build(shape)
            self.built = True

        def call(self, x):
            return self.rnn(x)

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.a = layers.LSTM(4, activation="relu")

        def call(self, x):
            return self.a(x)

    first, named = keras.Input((None, 3)), dict(name="lstm", return_sequences=True)
    model = Model()
    model(np.zeros((1, 2, 3), np.float32))
    sequential = lambda *given: keras.Sequential([first, *given])
    return {
        "a class of Keras's name": sequential(register(type("LSTM", (MyLSTM,), {}))(4)),
        "a subclass": sequential(MyLSTM(4, activation="relu")),
        "a cell": sequential(layers.RNN(Cell(4))),
        "a cell of two": sequential(layers.RNN([layers.LSTMCell(3), Cell(4)])),
        "two directions": sequential(layers.Bidirectional(MyLSTM(4))),
        "a layer with one inside": sequential(Block()),
        "the same with a twin": sequential(Block(name="b"), layers.LSTM(5, **named)),
        "a model": model,
    }


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_own_classes_are_refused_until_the_user_names_the_layout(tmp_path, ending):
    """They may compute anything."""
    with as_keras_likes():
        for name, model in own_classes().items():
            model.save(tmp_path / f"{name}.{ending}")
            file = WeightFile(tmp_path / f"{name}.{ending}")
            lines = [line for line in file.lines() if " 4 units" in line]
            assert lines, name
            for line in lines:
                assert "; refused: the file does not say what" in line, name
                prefix = line.split("'")[1]
                with pytest.raises(UnsupportedError, match="--layout keras"):
                    file.read([prefix])
                assert len(file.read([prefix], "keras").params) == 1
            others = [line for line in file.lines() if " 5 units" in line]
            assert not any("refused" in line for line in others), name


def test_features_in_front_of_the_axes_of_space_are_refused(tmp_path):
    import keras

    layer = keras.layers.ConvLSTM2D(
        4, 3, padding="same", data_format="channels_first", name="conv"
    )
    with as_keras_likes():
        model = keras.Sequential([keras.Input((None, 3, 6, 6)), layer])
        model.save(tmp_path / "m.keras")
    file = WeightFile(tmp_path / "m.keras")
    (line,) = file.lines()
    assert "data_format='channels_first', expected 'channels_last'" in line
    with pytest.raises(UnsupportedError, match="channels_first"):
        file.read(["layers.conv_lstm2d."])
    with pytest.raises(UnsupportedError, match="channels_first"):
        from_keras(layer)


def test_two_layers_of_one_name(tmp_path):
    """Which of them is meant, the description does not say."""
    import keras

    options = dict(name="lstm", return_sequences=True)
    with as_keras_likes():
        inner = keras.Sequential(
            [keras.Input((None, 5)), keras.layers.LSTM(4, activation="relu", **options)]
        )
        layers = [keras.Input((None, 3)), keras.layers.LSTM(5, **options), inner]
        keras.Sequential(layers).save(tmp_path / "m.keras")
    for line in WeightFile(tmp_path / "m.keras").lines():
        assert "refused: one of the layers named 'lstm' has activation='relu'" in line


HOSTILE = {
    "external": lambda f: f.create_dataset(
        "w", (2,), "f4", external=[("/etc/hostname", 0, 8)]
    ),
    "huge": lambda f: f.create_dataset("w", (10**12,), "f4", chunks=(10**6,)),
    "text": lambda f: f.create_dataset("w", data="text"),
    "circle": lambda f: f.create_group("a").__setitem__("b", f["a"]),
    "description": lambda f: f.attrs.__setitem__("model_config", "{"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path, name):
    hostile(tmp_path / "w.h5", HOSTILE[name])
    with pytest.raises(InteropError):
        read_tensors(tmp_path / "w.h5")


def test_links_are_not_followed(tmp_path):
    hostile(tmp_path / "other.h5", lambda f: f.create_dataset("w", data=np.ones(2)))

    def link(file):
        file["soft"] = h5py.SoftLink("/gone")
        file["other"] = h5py.ExternalLink("other.h5", "/w")

    hostile(tmp_path / "w.h5", link)
    assert read_tensors(tmp_path / "w.h5") == {}


def test_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "w.h5").write_bytes(b"")
    with pytest.raises(InteropError, match="needs h5py; pip install h5py"):
        read_tensors(tmp_path / "w.h5")


def test_a_file_that_is_none(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({}))
    (tmp_path / "w.h5").write_bytes(b"no h5")
    for name in ("w.keras", "w.h5"):
        with pytest.raises(InteropError, match=r"corrupt|cannot be read"):
            read_tensors(tmp_path / name)
