"""Forecasting, from a file to forecasts."""

import csv
import dataclasses
import datetime
import json
import tomllib

import jax
import numpy as np
import pytest

import lstm_jax
from lstm_jax.cli import main
from lstm_jax.data.baselines import naive2
from lstm_jax.data.panel import read_panel
from lstm_jax.data.text import DataError
from lstm_jax.interop import to_stablehlo
from lstm_jax.models.forecast.window import Window
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.tasks.forecast_standard import standard_of
from lstm_jax.training.run_errors import RunError
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")

STEPS, NAMES = 120, ("a", "b", "c")
CONFIG = """
task = "forecasting"
[data]
path = "{path}"
time = "date"
target = ["a", "b", "c"]
train_steps = 80
valid_steps = 20
test_steps = 20
[model]
context = 16
horizon = 4
segment = 4
hidden_size = 8
output_dropout = 0.1
[optimizer]
learning_rate = 0.02
[train]
epochs = 3
batch_size = 32
block = 4
evaluate_every = 5
checkpoint_every = 3
"""


def values(seed=0):
    """A daily cycle with noise; the levels and spreads of the series differ."""
    rng, t = np.random.default_rng(seed), np.arange(STEPS)
    waves = [np.sin(2 * np.pi * (t / 24 + n / 3)) for n in range(3)]
    noisy = np.stack(waves, axis=1) + 0.1 * rng.normal(size=(STEPS, 3))
    return noisy * [1.0, 20.0, 0.3] + [0.0, 500.0, -7.0]


def write_csv(path, data, names=NAMES, first=0):
    start = datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=first)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["date", *names])
        for n, row in enumerate(data):
            cells = ["" if np.isnan(v) else repr(float(v)) for v in row]
            rows.writerow([start + datetime.timedelta(hours=n), *cells])
    return path


def config(folder, data, *overrides):
    path = write_csv(folder / "data.csv", data)
    (folder / "forecast.toml").write_text(CONFIG.format(path=path))
    return folder / "forecast.toml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forecasting")
    path = config(folder, values())
    assert main(["train", str(path), f"run.directory={folder / 'run'}"]) == 0
    return folder


def task_of(folder, data, *overrides):
    path = config(folder, data)
    return make_task(read_config(tomllib.loads(path.read_text()), overrides))


def test_it_learns_and_says_how_well(trained, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(trained / "run")]) == 0
    out = capsys.readouterr().out
    result = json.loads((trained / "run" / "result-test.json").read_text())
    assert result["mse"] < result["naive_mse"]
    assert f"MSE {result['mse']:.4f}" in out
    assert "seasonal naive: MSE" in out


def test_metrics_of_every_window_by_hand(trained):
    """One window at a time, on the scale of the train split; MASE on that of all steps
    before the split."""
    run = lstm_jax.load_run(trained / "run")
    data = values()
    mean, std = data[:80].mean(axis=0), data[:80].std(axis=0)
    scaled = (data - mean) / std
    squares, absolute, scaled_errors, percent = [], [], [], []
    for n in range(3):
        seasonal = np.abs(data[24:100, n] - data[:76, n]).mean()
        for cut in range(100, 120 - 4 + 1):
            y = scaled[cut - 16 : cut, n : n + 1].astype(np.float32)
            forecast = run.model(Window(y, series=np.array([n])))[:, 0, 0]
            error = scaled[cut : cut + 4, n] - forecast
            squares.append((error**2).mean())
            absolute.append(np.abs(error).mean())
            natural = np.asarray(forecast) * std[n] + mean[n]
            truth = data[cut : cut + 4, n]
            scaled_errors.append(np.abs(truth - natural).mean() / seasonal)
            sizes = np.abs(truth) + np.abs(natural)
            percent.append((200 * np.abs(truth - natural) / sizes).mean())
    found = run.evaluate("test")
    assert len(squares) == 3 * 17
    assert found["mse"] == pytest.approx(np.mean(squares), rel=1e-5)
    assert found["mae"] == pytest.approx(np.mean(absolute), rel=1e-5)
    assert found["loss"] == pytest.approx(np.mean(absolute), rel=1e-5)
    assert found["mase"] == pytest.approx(np.mean(scaled_errors), rel=1e-5)
    assert found["smape"] == pytest.approx(np.mean(percent), rel=1e-4)


def test_owa_of_windows_that_are_some_steps_apart(tmp_path):
    data = values() + np.array([3.0, 0.0, 20.0])  # Naive2 needs values above 0
    keys = "evaluation.owa=true", "evaluation.step=6"
    task = task_of(tmp_path, data, *keys)
    found = task.evaluate(task.init(jax.random.key(0)), "test")
    cuts, smapes, mases = (104, 110, 116), [], []
    for n in range(3):
        scale = np.abs(data[24:100, n] - data[:76, n]).mean()
        for cut in cuts:
            truth, made = data[cut : cut + 4, n], naive2(data[:cut, n], 24, 4)
            smapes.append((200 * abs(truth - made) / (abs(truth) + abs(made))).mean())
            mases.append(abs(truth - made).mean() / scale)
    parts = found["smape"] / np.mean(smapes), found["mase"] / np.mean(mases)
    assert found["owa"] == pytest.approx(np.mean(parts), rel=1e-6)
    task = task_of(tmp_path, values(), *keys)
    with pytest.raises(DataError, match=r"the series a: .*above 0"):
        task.batches()
    data[110, 0] = np.nan
    with pytest.raises(DataError, match=r"the series a: .*missing"):
        task_of(tmp_path, data, *keys).batches()
    data[-4:] = np.nan
    with pytest.raises(DataError, match=r"evaluation\.step=24 steps apart"):
        task_of(tmp_path, data, "evaluation.step=24").batches()


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_no_window_is_dropped(trained, rows):
    run = lstm_jax.load_run(trained / "run")
    expected = run.evaluate("test")
    other = task_of(trained, values(), f"evaluation.batch_size={rows}")
    found = other.evaluate(run.params, "test")
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5), name


def test_the_future_does_not_leak(tmp_path):
    """What is after the train split changes neither scales nor batches of training."""
    data = values()
    first = task_of(tmp_path, data)
    seen = [
        first.data.standard,
        first.batches()._source.load(np.arange(10)),
        first.data.seasonal_scale["valid"],
    ]
    data[80:] = 1e4 * np.random.default_rng(1).normal(size=(40, 3))
    second = task_of(tmp_path, data)
    again = [
        second.data.standard,
        second.batches()._source.load(np.arange(10)),
        second.data.seasonal_scale["valid"],
    ]
    jax.tree.map(np.testing.assert_array_equal, seen, again)
    # The last window of train ends with the train split.
    assert second.data.windows("train").cuts.max() == 80 - 4
    assert second.data.windows("valid").cuts.min() == 80


def test_missing_values_count_nowhere(tmp_path, trained):
    run = lstm_jax.load_run(trained / "run")
    data = values()
    data[105, 0] = data[90:97, 1] = data[30, 0] = np.nan
    task = task_of(tmp_path, data)
    found = task.evaluate(run.params, "test")
    truth = task.data.truth(task.data.windows("test"))
    assert np.isnan(truth).sum() == 4
    assert all(np.isfinite(value) for value in found.values())
    batch = task.batches()._source.load(np.arange(40))
    assert (np.asarray(batch.weights) == 0).any()
    window = batch.window
    poisoned = batch._replace(
        window=window._replace(y=np.where(window.observed, window.y, np.nan)),
        truth=np.where(batch.weights, batch.truth, 1e9),
    )
    key = jax.random.key(0)
    ask = lambda batch: jax.value_and_grad(
        lambda params: task.loss(params, (), batch, key)[0]
    )(run.params)
    jax.tree.map(np.testing.assert_array_equal, ask(batch), ask(poisoned))


def predictions(run, path, out):
    args = ["predict", str(run), "--data", str(path), "--out", str(out)]
    assert main(args) == 0
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def test_forecasts_after_the_end_of_a_file(trained, tmp_path):
    """On the scale of the train split, from the last steps of the new data."""
    data = values(seed=5)[:50]
    path = write_csv(tmp_path / "new.csv", data, first=500)
    rows = predictions(trained / "run", path, tmp_path / "forecast.csv")
    run, train = lstm_jax.load_run(trained / "run"), values()[:80]
    first = datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=550)
    times = [str(first + datetime.timedelta(hours=n)) for n in range(4)]
    assert [row["date"] for row in rows] == times
    for n, name in enumerate(NAMES):
        mean, std = train[:, n].mean(), train[:, n].std()
        y = ((data[-16:, n : n + 1] - mean) / std).astype(np.float32)
        want = run.model(Window(y, series=np.array([n])))[:, 0, 0] * std + mean
        found = [float(row[name]) for row in rows]
        np.testing.assert_allclose(found, want, rtol=1e-5)


LONG = ["data.id=unique_id", 'data.target=["y"]', "data.time=ds", "model.context=8"]
QUANTILES = 'model.head={kind="quantiles",levels=[0.1,0.5,0.9]}'


def write_long(path, series):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["unique_id", "ds", "y"])
        for name, x in series.items():
            rows.writerows([name, n, float(v)] for n, v in enumerate(x))
    return path


def test_quantiles_of_series_never_seen(tmp_path):
    """In the long form; a series that was not trained on has a scale of its own."""
    data = values()
    path = write_long(tmp_path / "long.csv", {"p": data[:, 0], "q": data[:90, 1]})
    (tmp_path / "forecast.toml").write_text(CONFIG.format(path=path))
    sizes = ["data.train_steps=0", "data.valid_steps=12", "data.test_steps=8"]
    run = tmp_path / "run"
    train = ["train", str(tmp_path / "forecast.toml"), *LONG, *sizes, QUANTILES]
    assert main([*train, f"run.directory={run}"]) == 0
    assert "wql" in json.loads((run / "result-test.json").read_text())
    new = {"r": 3 * data[:30, 0] + 1e4, "p": data[:30, 0]}
    path = write_long(tmp_path / "new.csv", new)
    rows = predictions(run, path, tmp_path / "forecast.csv")
    assert [row["unique_id"] for row in rows] == ["r"] * 4 + ["p"] * 4
    assert [row["ds"] for row in rows] == ["30", "31", "32", "33"] * 2
    for row in rows:
        low, middle, high = (float(row[f"forecast{q}"]) for q in ("-q10", "", "-q90"))
        assert low <= middle == float(row["forecast-q50"]) <= high
    # Its own scale: the same numbers three times as large, elsewhere.
    again = write_long(tmp_path / "again.csv", {"s": data[:30, 0]})
    others = predictions(run, again, tmp_path / "others.csv")
    for row, other in zip(rows[:4], others, strict=True):
        want = 3 * float(other["forecast"]) + 1e4
        assert float(row["forecast"]) == pytest.approx(want, rel=1e-6)


def test_what_was_done_to_the_data_is_said(tmp_path, capsys):
    data = values()
    data[30, 0] = np.nan
    task = task_of(tmp_path, data)
    assert "missing" in task.summary(task.describe())


def test_a_series_that_ended_long_ago(trained, tmp_path, capsys):
    """Nothing could be forecast from the steps that the model reads."""
    data = values()
    data[-16:, 1] = np.nan
    path = write_csv(tmp_path / "new.csv", data)
    assert main(["predict", str(trained / "run"), "--data", str(path)]) == 2
    said = capsys.readouterr().err
    assert "the series b has no value in its last 16 steps" in said


def test_a_series_that_cannot_be_trained_on(tmp_path):
    """It would be forecast from weights that were never trained."""
    data = values()[:, 0]
    path = write_long(tmp_path / "long.csv", {"p": data, "q": data[:30]})
    (tmp_path / "forecast.toml").write_text(CONFIG.format(path=path))
    sizes = ["data.train_steps=0", "data.valid_steps=12", "data.test_steps=8"]
    args = [*LONG, *sizes]
    read = lambda *more: make_task(
        read_config(
            tomllib.loads((tmp_path / "forecast.toml").read_text()), [*args, *more]
        )
    )
    with pytest.raises(DataError, match="the series q has no window in the training"):
        read().batches()
    read("data.min_context=4").batches()


def test_fine_tuning_is_of_the_same_series(trained, tmp_path, capsys):
    """What the model knows of a series belongs to its name, not to its place."""
    path = write_csv(tmp_path / "data.csv", values(), names=("a", "c", "b"))
    args = [str(trained / "forecast.toml"), f"train.init_from={trained / 'run'}"]
    args += [f"data.path={path}", f"run.directory={tmp_path / 'run'}"]
    assert main(["train", *args, 'data.target=["a","c","b"]']) == 2
    assert "the first other one is c" in capsys.readouterr().err
    assert main(["train", *args, "train.epochs=1"]) == 0
    old, new = (
        json.loads((run / "run.json").read_text())
        for run in (trained / "run", tmp_path / "run")
    )
    assert new["mean"] == old["mean"]


def test_the_scale_of_a_counter():
    """A spread that is small beside the level is a spread."""
    counter = 2e9 + 1000.0 * np.array([-1, 1, -1, 1])
    standard = standard_of([counter, np.full(4, 0.1)], ("counter", "constant"))
    assert standard.std.tolist() == [1000.0, 1.0]


@pytest.mark.parametrize("stop", [2, 7])
def test_stop_and_resume(trained, tmp_path, monkeypatch, stop):
    args = ["train", str(trained / "forecast.toml"), f"run.directory={tmp_path / 'r'}"]
    with monkeypatch.context() as patch:
        tiny.interrupt_at(patch, stop)
        assert main(args) == 130
    assert main([*args, "--resume"]) == 0
    for name in ("model.safetensors", "result-test.json"):
        whole, found = (
            (d / name).read_bytes() for d in (trained / "run", tmp_path / "r")
        )
        assert whole == found, name
    assert tiny.metrics(tmp_path / "r") == tiny.metrics(trained / "run")


def test_steps_and_quantiles_of_the_command_line(tmp_path, capsys):
    """Another horizon, intervals, and one sentence for what a model does not have."""
    data, run = values(), tmp_path / "run"
    path = config(tmp_path, data)
    head = ["model.head.kind=quantiles", "model.head.levels=[0.1, 0.5, 0.9]"]
    assert main(["train", str(path), f"run.directory={run}", *head]) == 0
    ask = ["predict", str(run), "--data", str(tmp_path / "data.csv"), "--horizon", "2"]
    out = tmp_path / "out.csv"
    assert main([*ask, "--level", "80", "--out", str(out)]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert [*rows[0]][:4] == ["date", "a", "a-lo-80", "a-hi-80"]
    assert all(float(row["a-lo-80"]) <= float(row["a"]) for row in rows)
    capsys.readouterr()
    assert main([*ask, "--quantiles", "0.2"]) == 2
    assert "no quantile of the level 0.2, only 0.1, 0.5, 0.9" in capsys.readouterr().err


@pytest.mark.parametrize("rows_first", [False, True])
def test_an_exported_forecaster_says_what_predict_says(trained, tmp_path, rows_first):
    """Also where a value is missing; of a series never seen, on the scale of its
    context."""
    path, data = tmp_path / "forecast.jaxexport", values()
    data[-5, 0] = np.nan
    args = ["export", str(trained / "run"), "--format", "stablehlo", "--out", str(path)]
    assert main([*args, *["--batch-first"] * rows_first]) == 0
    exported = jax.export.deserialize(path.read_bytes())
    turned = np.transpose if rows_first else np.asarray
    y = np.concatenate([data[-16:], 10 + 3 * data[-16:, 1:2]], axis=1)
    inputs = {"y": turned(y.astype(np.float32)), "series": np.array([0, 1, 2, -1])}
    inputs["series"] = inputs["series"].astype(np.int32)
    found = exported.call(inputs)["forecasts"][..., 0]
    found = found if rows_first else found.T
    run = lstm_jax.load_run(trained / "run")
    rows = run.predict(write_csv(tmp_path / "now.csv", data))
    for n, name in enumerate(NAMES):
        expected = [row[name] for row in rows]
        np.testing.assert_allclose(found[n], expected, rtol=2e-5)
    new = write_csv(tmp_path / "new.csv", y[:, 3:], names=["d"])
    task = run.task
    columns = dataclasses.replace(task.config.data.columns, targets=("d",))
    panel = read_panel(str(new), columns, None)
    expected = task.forecast(run.params, panel)["d"]
    np.testing.assert_allclose(found[3], expected, rtol=2e-5)


def test_what_a_forecaster_is_not_exported_to(trained, tmp_path, capsys):
    args = ["export", str(trained / "run"), "--out", str(tmp_path / "x.onnx")]
    assert main([*args, "--format", "onnx"]) == 2
    assert "cannot be written as ONNX yet" in capsys.readouterr().err
    drawing = task_of(
        tmp_path, values(), 'model={kind="recursive",context=8,horizon=4,lags=[8]}'
    )
    program = drawing.program(drawing.init(jax.random.key(0)))
    assert len(program.pieces) == 1
    with pytest.raises(RunError, match="draws paths"):
        to_stablehlo(program)
    args[-1] = str(tmp_path / "x.safetensors")
    assert main([*args, "--format", "safetensors"]) == 0
    assert "LSTMCell(8)" in capsys.readouterr().out
    keys = "model.members=2", "train.epochs=1", f"run.directory={tmp_path / 'two'}"
    assert main(["train", str(config(tmp_path, values())), *keys]) == 0
    args[1], args[-1] = str(tmp_path / "two"), str(tmp_path / "y.safetensors")
    assert main([*args, "--format", "safetensors"]) == 2
    assert "the model has 2 stacks of layers" in capsys.readouterr().err


def test_backtest(trained, tmp_path, capsys):
    """The last windows of test, with their truth, and charts of three series."""
    run, out, plots = trained / "run", tmp_path / "out.csv", tmp_path / "plots"
    args = ["backtest", str(run), "--windows", "3", "--step", "5"]
    assert main([*args, "--out", str(out), "--plots", str(plots)]) == 0
    said = capsys.readouterr().out
    assert "3 windows of 3 series" in said
    assert sorted(path.name for path in plots.iterdir()) == [
        "best.png",
        "median.png",
        "worst.png",
    ]
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 4
    task = lstm_jax.load_run(run).task
    data = values()
    for n, row in enumerate(rows):
        at = 120 - 4 - 5 * (2 - n // 4) + n % 4
        assert float(row["b-y"]) == data[at, 1]
    found = task.backtest(lstm_jax.load_run(run).params, 3, 5)
    errors = [abs(float(row["b"]) - float(row["b-y"])) for row in rows]
    want = np.mean(errors) / task.data.standard.std[1]
    assert found.by_series[1]["series"] == "b"
    np.testing.assert_allclose(found.by_series[1]["mae"], want, rtol=1e-5)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--windows", "6"], "has room for 5 windows of 4 steps"),
        (["--windows", "0"], "expected 1 or more"),
    ],
)
def test_windows_that_are_not_there(trained, capsys, args, said):
    assert main(["backtest", str(trained / "run"), *args]) == 2
    assert said in capsys.readouterr().err
