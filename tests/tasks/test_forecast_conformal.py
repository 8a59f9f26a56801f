"""Conformal intervals of forecasts: margins, coverage, and what is refused."""

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest

import lstm_jax
from lstm_jax.cli import main
from lstm_jax.data.panel import Windows
from lstm_jax.data.text import DataError
from lstm_jax.tasks.forecasting import Forecasting

pytestmark = pytest.mark.usefixtures("optax_promotion")

STEPS, VALID, H = 1400, 600, 2
CONFIG = {
    "model": {
        "context": 8,
        "horizon": H,
        "segment": 2,
        "hidden_size": 4,
        "head": {"kind": "quantiles", "levels": [0.1, 0.5, 0.9]},
    },
    "optimizer": {"learning_rate": 0.02},
    "train": {"steps": 40, "batch_size": 64, "evaluate_every": 40},
    "data": {"valid_steps": VALID, "test_steps": VALID},
    "evaluation": {"conformal": [80, 95]},
}


def values():
    """Noise around waves, the same at all times: the splits are exchangeable. Even
    standardised, the series are not equally easy to forecast."""
    rng, t = np.random.default_rng(0), np.arange(STEPS)
    waves = [(0, 1), (3, 1), (1, 0.5)]
    found = [
        10.0**n * (a * np.sin(np.pi * t / 4) + b * rng.normal(size=STEPS) + 5)
        for n, (a, b) in enumerate(waves)
    ]
    found[2][800:1360] = np.nan  # 40 values are left in the test split
    return dict(zip(("noisy", "wavy", "short"), found, strict=True))


def frame(series):
    return pd.concat(
        pd.DataFrame({"unique_id": name, "ds": np.arange(len(y)), "y": y})
        for name, y in series.items()
    )


@pytest.fixture(scope="module")
def fitted():
    forecaster = lstm_jax.Forecaster(CONFIG)
    return forecaster.fit(frame(values()), verbose=False)


@pytest.fixture
def task(fitted):
    """With the data."""
    return Forecasting(fitted.config, panel=fitted._fitted)


def test_coverage_of_the_test_split(fitted, task):
    """Splits of this length give coverages with a standard deviation of 2 points for
    80%, and of 1 for 95%."""
    for level, slack in ((80, 5), (95, 3)):
        assert fitted.metrics[f"coverage_{level}"] == pytest.approx(level, abs=slack)
    windows, params = task.data.windows("test"), fitted._params
    forecasts, truth = task.forecasts(params, windows), task.data.truth(windows)
    inside = (forecasts[..., 0] <= truth) & (truth <= forecasts[..., 2])
    before = 100 * inside[~np.isnan(truth)].mean()
    assert abs(before - 80) > abs(fitted.metrics["coverage_80"] - 80)


def conformal(errors, level):
    return sorted(errors)[math.ceil((len(errors) + 1) * level / 100) - 1]


def test_margins_by_hand(fitted, task):
    """Of one series and step at a time, from the last 500 windows before the end, on
    the scale of the train split."""
    y = values()
    cuts = np.arange(STEPS - H - 500, STEPS - H) + 1
    std = [np.nanstd(x[: STEPS - 2 * VALID]) for x in y.values()]
    past = [
        task.forecasts(fitted._params, Windows(np.full(500, n), cuts)) for n in range(3)
    ]
    plain = fitted.predict(quantiles=[0.1, 0.5, 0.9])
    found = fitted.predict(level=[50, 80, 95], conformal=True)
    np.testing.assert_allclose(found["LSTM"], plain["LSTM"], rtol=1e-5)
    # An interval of 50% has only the median inside.
    for level, (low, high) in {50: (1, 1), 80: (0, 2), 95: (0, 2)}.items():
        ends = [plain[f"LSTM-q{(10, 50, 90)[at]}"].to_numpy() for at in (low, high)]
        for h in range(H):
            errors = []
            for n, x in enumerate(y.values()):
                truth, f = x[cuts + h], past[n][:, h]
                worst = np.maximum(f[:, low] - truth, truth - f[:, high]) / std[n]
                context = np.stack([x[cuts - back] for back in range(1, 9)])
                there = ~np.isnan(truth) & ~np.isnan(context).all(axis=0)
                errors.append(worst[there].tolist())
            assert len(errors[0]) == 500
            assert 19 <= len(errors[2]) < 100
            shared = [e for own in errors for e in own]
            for n, own in enumerate([errors[0], errors[1], shared]):
                margin, row = conformal(own, level) * std[n], n * H + h
                want = ends[0][row] - margin, ends[1][row] + margin
                got = (found[f"LSTM-{side}-{level}"][row] for side in ("lo", "hi"))
                np.testing.assert_allclose([*got], want, rtol=1e-4)


def test_only_what_came_before_a_forecast_counts(fitted):
    """And nothing of the training split, where errors are too small."""
    task, first = fitted._task, STEPS - VALID
    ask = lambda panel: task.conformal.intervals(
        fitted._params,
        panel,
        Windows(np.array([0, 0]), np.array([first + 50, first + 60])),
        [80],
        task.conformal.asked([80]),
        lambda some: task.ahead(panel, H, windows=some)[0],
        task.data.read_by,
    )
    series = values()
    panel = lambda: fitted._panel(frame(series))
    before = ask(panel())
    series["noisy"][first + 50 :] += 100
    after = ask(panel())
    np.testing.assert_array_equal(before[0], after[0])
    assert (after[1, :, 2] - after[1, :, 1] != before[1, :, 2] - before[1, :, 1]).all()
    short = {name: x[: STEPS - 2 * VALID + 8] for name, x in values().items()}
    assert len(fitted.predict(frame(short), level=80, conformal=True)) == 3 * H
    with pytest.raises(DataError, match="there are 21 at step 1"):
        fitted.predict(frame(short), level=97, conformal=True)


def test_other_series_and_machines(fitted, tmp_path):
    """A run that was moved needs the history alone, and a new series calibrates on its
    own."""
    fitted.save(tmp_path / "run")
    loaded = lstm_jax.Forecaster.load(tmp_path / "run")
    data = frame(values())
    found = loaded.predict(data, conformal=True)
    ends = ["LSTM-lo-80", "LSTM-hi-80", "LSTM-lo-95", "LSTM-hi-95"]
    assert [*found.columns[2:]] == ["LSTM", *ends]
    assert found.equals(fitted.predict(level=[80, 95], conformal=True))
    assert (found["LSTM-lo-95"] < found["LSTM-lo-80"]).all()
    one = loaded.predict(frame({"new": values()["wavy"][:200]}), conformal=True)
    scaled = {"new": values()["wavy"][:200] * 3 + 7}
    other = loaded.predict(frame(scaled), conformal=True)
    np.testing.assert_allclose(other[ends], 3 * one[ends] + 7, rtol=1e-4)
    first = fitted.predict(horizon=1, level=80, conformal=True)
    assert len(first) == 3


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"level": 100}, "expected percents"),
        ({"level": []}, "have a level, and none is given"),
        ({"level": 80, "quantiles": 0.1}, "quantiles are not calibrated"),
        ({"level": 80, "horizon": 3}, "expected 2 at most"),
        ({"level": 99.95}, r"needs 1,999 observed values .* there are 1,0\d\d at step"),
    ],
)
def test_what_is_not_calibrated(fitted, asked, said):
    with pytest.raises(DataError, match=said):
        fitted.predict(conformal=True, **asked)


def test_too_few_windows_are_said_before_training(tmp_path):
    config = CONFIG | {"data": {"valid_steps": 10, "test_steps": 10}}
    data = frame({"p": values()["noisy"]})
    with pytest.raises(DataError, match=r"95% needs 19 observed .* are 9 at step 1"):
        lstm_jax.Forecaster(config).fit(data, tmp_path / "run", verbose=False)
    assert not (tmp_path / "run").exists()
    # Only the newest windows calibrate, however long the split is.
    config["data"] = {"valid_steps": 60, "test_steps": 10}
    config["evaluation"] = {**config["evaluation"], "conformal_windows": 10}
    with pytest.raises(DataError, match=r"are 10 at step 1; .*conformal_windows"):
        lstm_jax.Forecaster(config).fit(data, tmp_path / "run", verbose=False)


def test_the_command_line(tmp_path, capsys):
    """A model of points has intervals too."""
    data, run = tmp_path / "data.csv", tmp_path / "run"
    wide = pd.DataFrame({"ds": np.arange(STEPS), "y": values()["wavy"]})
    wide.to_csv(data, index=False)
    (tmp_path / "forecast.toml").write_text(
        f'task = "forecasting"\n[data]\npath = "{data}"\nvalid_steps = {VALID}\n'
        f"test_steps = {VALID}\n[model]\ncontext = 8\nhorizon = {H}\nsegment = 2\n"
        "hidden_size = 4\n[train]\nsteps = 10\nevaluate_every = 10\n"
    )
    train = ["train", str(tmp_path / "forecast.toml"), f"run.directory={run}"]
    assert main([*train, "evaluation.conformal=[80]"]) == 0
    result = json.loads((run / "result-test.json").read_text())
    assert result["coverage_80"] == pytest.approx(80, abs=5)
    assert (
        f"80% intervals cover {result['coverage_80']:.1f}%" in capsys.readouterr().out
    )
    assert main(["evaluate", str(run), "evaluation.conformal=[90]"]) == 0
    assert "90% intervals cover" in capsys.readouterr().out
    out = tmp_path / "out.csv"
    ask = ["predict", str(run), "--data", str(data), "--conformal"]
    assert main([*ask, "--level", "80", "95", "--out", str(out)]) == 0
    with out.open(newline="") as file:
        (first, _) = csv.DictReader(file)
    columns = "y-lo-95", "y-lo-80", "y", "y-hi-80", "y-hi-95"
    assert [*map(float, map(first.get, columns))] == sorted(
        float(first[c]) for c in columns
    )
    capsys.readouterr()
    assert main([*ask, "--quantiles", "0.1"]) == 2
    assert "leave out quantiles, or conformal" in capsys.readouterr().err
