"""The forecaster for data frames."""

import datetime
import importlib
import json

import numpy as np
import pandas as pd
import pytest

import lstm_jax
from lstm_jax.config import ConfigError
from lstm_jax.data.panel import PanelColumns, panel_from_frame, with_rows_ahead
from lstm_jax.data.text import DataError
from lstm_jax.training.run_errors import RunError

pytestmark = pytest.mark.usefixtures("optax_promotion")

CONFIG = {
    "model": {
        "context": 16,
        "horizon": 4,
        "segment": 4,
        "hidden_size": 8,
        "head": {"kind": "quantiles", "levels": [0.1, 0.5, 0.9]},
    },
    "optimizer": {"learning_rate": 0.02},
    "train": {"steps": 12, "batch_size": 16, "evaluate_every": 6},
    "data": {"valid_steps": 12, "test_steps": 8},
}


def frame(library, steps=80, names=("p", "q")):
    """Two series of hours in the long form."""
    t = np.arange(steps)
    columns = {
        "unique_id": np.repeat(names, steps).tolist(),
        "ds": [np.datetime64("2024-03-30T00", "h") + int(n) for n in t] * len(names),
        "y": np.concatenate(
            [10.0**n * (5 + np.sin(2 * np.pi * t / 24)) for n, _ in enumerate(names)]
        ),
    }
    columns["ds"] = np.array(columns["ds"], "datetime64[us]")
    return importlib.import_module(library).DataFrame(columns)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    forecaster = lstm_jax.Forecaster(CONFIG)
    return forecaster.fit(frame("pandas"), verbose=False)


def test_forecasts_are_frames_of_the_same_kind(fitted, capsys):
    found = fitted.predict()
    assert type(found).__module__.startswith("pandas")
    assert [*found.columns] == [
        "unique_id",
        "ds",
        "LSTM",
        "LSTM-q10",
        "LSTM-q50",
        "LSTM-q90",
    ]
    assert found["unique_id"].tolist() == ["p"] * 4 + ["q"] * 4
    hours = np.arange(80, 84) * np.timedelta64(1, "h")
    np.testing.assert_array_equal(
        found["ds"].to_numpy()[:4], np.datetime64("2024-03-30") + hours
    )
    assert (found["LSTM-q10"] <= found["LSTM-q90"]).all()
    assert (found["LSTM"][4:] > 5).all()
    other = fitted.predict(frame("polars"))
    assert type(other).__module__.startswith("polars")
    np.testing.assert_array_equal(other["LSTM"].to_numpy(), found["LSTM"].to_numpy())


def test_save_and_load(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    loaded = lstm_jax.Forecaster.load(tmp_path / "run")
    want, found = fitted.predict(), loaded.predict(frame("pandas"))
    np.testing.assert_array_equal(want["LSTM"], found["LSTM"])
    assert loaded.metrics == fitted.metrics
    assert {"mse", "wql", "seasonal_naive_mse"} <= loaded.metrics.keys()
    with pytest.raises(DataError, match="pass a frame"):
        loaded.predict()
    with pytest.raises(RunError, match="cannot save"):
        fitted.save(tmp_path / "run")


def test_a_series_that_was_not_fitted(fitted):
    new = frame("pandas", steps=30, names=("r",))
    new["y"] = 3 * new["y"] + 100
    once = fitted.predict(new)["LSTM"].to_numpy()
    plain = fitted.predict(frame("pandas", steps=30, names=("r",)))["LSTM"].to_numpy()
    np.testing.assert_allclose(once, 3 * plain + 100, rtol=1e-5)


def test_the_wide_form(tmp_path):
    long = frame("pandas")
    wide = long.pivot(index="ds", columns="unique_id", values="y").reset_index()
    config = CONFIG | {"model": CONFIG["model"] | {"head": {"kind": "point"}}}
    forecaster = lstm_jax.Forecaster(config, id=None, target=["p", "q"])
    found = forecaster.fit(wide, tmp_path / "run", verbose=False).predict()
    assert [*found.columns] == ["ds", "p", "q"]
    assert len(found) == 4


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("refit", [False, True])
def test_cross_validation_sees_nothing_of_its_windows(fitted, library, refit):
    """Changed windows change the truth, and forecasts only of what comes after."""
    data = frame(library)
    found = fitted.cross_validation(data, 2, step_size=6, refit=refit)
    columns = ["unique_id", "ds", "cutoff", "LSTM", "LSTM-q10", "LSTM-q50", "LSTM-q90"]
    assert [*found.columns] == [*columns, "y"]
    assert len(found) == 2 * 2 * 4
    cutoffs = found["cutoff"].to_numpy()
    hours = lambda n: np.datetime64("2024-03-30") + np.timedelta64(n, "h")
    np.testing.assert_array_equal(cutoffs, [hours(69)] * 8 + [hours(75)] * 8)
    ahead = (found["ds"].to_numpy() - cutoffs) / np.timedelta64(1, "h")
    np.testing.assert_array_equal(ahead, [1, 2, 3, 4] * 4)
    y = data["y"].to_numpy()
    np.testing.assert_array_equal(found["y"].to_numpy()[:4], y[70:74])
    np.testing.assert_array_equal(found["y"].to_numpy()[-4:], y[156:160])
    changed = y.copy()
    changed[70:80] *= 100
    again = frame(library)
    if library == "pandas":
        again["y"] = changed
    else:
        again = again.with_columns(
            importlib.import_module("polars").Series("y", changed)
        )
    other = fitted.cross_validation(again, 2, step_size=6, refit=False)
    same = found["LSTM"].to_numpy()[:8] == other["LSTM"].to_numpy()[:8]
    assert same.all()
    if not refit:  # the second window sees the first
        later = slice(8, 12)
        seen = other["LSTM"].to_numpy()[later], found["LSTM"].to_numpy()[later]
        assert not np.allclose(*seen)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {"horizons": 3}}, "horizon"),
        ({"data": {"time": "x"}}, "pass the names of columns"),
        ({"train": {"steps": -1}}, "train.steps"),
    ],
)
def test_configs_that_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        lstm_jax.Forecaster(config)


def test_what_cannot_be_used(fitted):
    with pytest.raises(RunError, match="call fit"):
        lstm_jax.Forecaster(CONFIG).predict()
    with pytest.raises(DataError, match="no window"):
        lstm_jax.Forecaster(CONFIG).fit(frame("pandas", steps=21), verbose=False)
    with pytest.raises(ValueError, match="n_windows is 0"):
        fitted.cross_validation(frame("pandas"), 0)
    with pytest.raises(DataError, match="nothing is left"):
        fitted.cross_validation(frame("pandas"), 30)
    daily = frame("pandas", steps=30)
    daily["ds"] = np.tile(
        np.datetime64("2024-01-01", "us") + np.arange(30) * np.timedelta64(1, "D"), 2
    )
    with pytest.raises(DataError, match="resample"):
        fitted.predict(daily)


DRAWS = {
    "model": {
        "kind": "recursive",
        "context": 12,
        "horizon": 4,
        "lags": [6],
        "hidden_size": 8,
        "num_layers": 1,
        "dropout": 0,
        "paths": 40,
    },
    "train": {"steps": 12, "batch_size": 16, "evaluate_every": 6},
    "data": {"valid_steps": 12, "test_steps": 8},
}


@pytest.fixture(scope="module")
def draws():
    return lstm_jax.Forecaster(DRAWS).fit(frame("pandas"), verbose=False)


def test_any_quantile_and_horizon_of_paths(draws):
    found = draws.predict(horizon=9, level=[80, 95], quantiles=[0.3])
    assert [*found.columns[2:]] == [
        "LSTM",
        *("LSTM-lo-80", "LSTM-hi-80", "LSTM-lo-95", "LSTM-hi-95", "LSTM-q30"),
    ]
    assert len(found) == 2 * 9
    columns = found[["LSTM-lo-95", "LSTM-lo-80", "LSTM-q30", "LSTM", "LSTM-hi-80"]]
    assert (np.diff(columns, axis=1) >= 0).all()
    assert {"wql", "mse"} <= draws.metrics.keys()
    again = draws.predict(horizon=9, quantiles=[0.5])
    np.testing.assert_array_equal(again["LSTM"], again["LSTM-q50"])


def test_paths_belong_to_their_series(draws):
    """Not to the batch they are drawn in, or to the series beside it."""
    data = frame("pandas")
    both = draws.predict(data)
    alone = draws.predict(data[data["unique_id"] == "q"])
    np.testing.assert_allclose(alone["LSTM-q10"], both["LSTM-q10"][4:], rtol=1e-5)


def test_times_in_another_zone(draws):
    """Their hours of the day are others."""
    data = frame("pandas")
    data["ds"] = data["ds"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    with pytest.raises(DataError, match="trained on times in no time zone"):
        draws.predict(data)


def test_lags_that_no_series_reaches():
    config = DRAWS | {"model": DRAWS["model"] | {"lags": [6, 500]}}
    with pytest.raises(DataError, match=r"longest series has 80 steps.*\[6\]"):
        lstm_jax.Forecaster(config).fit(frame("pandas"), verbose=False)


def test_simulate(draws, fitted):
    found = draws.simulate(n_paths=7, horizon=3)
    paths = [f"LSTM-path-{n}" for n in range(1, 8)]
    assert [*found.columns] == ["unique_id", "ds", "LSTM", *paths]
    np.testing.assert_allclose(found["LSTM"], found[paths].median(axis=1), rtol=1e-6)
    assert len(found) == 6
    with pytest.raises(DataError, match="draws no paths"):
        fitted.simulate()


def test_a_stream_begins_as_a_forecast_and_goes_on_with_the_data(draws):
    """Its first forecast is that of predict. Later ones read what came, under the
    times, the calendar and the keys that they would have without a stream."""
    begun, whole = (frame("pandas", steps=steps) for steps in (80, 83))
    stream = draws.stream(begun)
    asked = dict(horizon=6, level=80)
    assert stream.forecast(**asked).equals(draws.predict(begun, **asked))
    new = whole[whole["ds"] >= whole["ds"].iloc[80]].pivot(
        index="ds", columns="unique_id", values="y"
    )
    for n, (_, row) in enumerate(new.iterrows()):
        stream.update({**row} if n else [row["p"], row["q"]])
    found, other = stream.forecast(**asked), draws.predict(whole, **asked)
    assert found[["unique_id", "ds"]].equals(other[["unique_id", "ds"]])
    # The context began three steps earlier, with a scale that is a little other.
    numbers = found.columns[2:]
    np.testing.assert_allclose(found[numbers], other[numbers], rtol=0.1)
    assert not np.allclose(found[numbers], stream_at_80(draws)[numbers], rtol=1e-3)
    stream.update({"p": np.nan, "q": 50.0})
    assert np.isfinite(stream.forecast()["LSTM"]).all()


def stream_at_80(forecaster):
    return forecaster.predict(frame("pandas"), horizon=6, level=80)


def test_what_a_stream_refuses(draws, fitted):
    with pytest.raises(DataError, match=r'model\.kind="recursive"'):
        fitted.stream()
    stream, stream_states = draws.stream(), []
    named = pd.Series({"q": 50.0, "p": 5.0})
    for values in (named, named.to_dict(), [5.0, 50.0]):
        other = draws.stream()
        other.update(values)
        stream_states.append(np.asarray(other.state))
    np.testing.assert_array_equal(stream_states[0], stream_states[1])
    np.testing.assert_array_equal(stream_states[0], stream_states[2])
    for values, said in (
        (3.0, "1 values"),
        ({"p": 1.0, "r": 2.0}, "other series, such as 'q'"),
        ([1.0, np.inf], "series q has the value inf"),
        (["a", "b"], "expected numbers"),
    ):
        with pytest.raises(DataError, match=said):
            stream.update(values)
    assert stream.updates == 0


@pytest.mark.parametrize("model", [CONFIG["model"], DRAWS["model"]])
def test_logarithms(model):
    """Twice the data is twice the forecast, and what has no logarithm is refused."""
    data = frame("pandas")
    config = {**CONFIG, "model": {**model, "normalise": "mean"}}
    config["data"] = CONFIG["data"] | {"logarithm": True}
    forecaster = lstm_jax.Forecaster(config).fit(data, verbose=False)
    once = forecaster.predict(data)
    twice = forecaster.predict(data.assign(y=2 * data["y"]))
    columns = once.columns[2:]
    np.testing.assert_allclose(twice[columns], 2 * once[columns], rtol=1e-4)
    assert (once["LSTM"] > 0).all()
    with pytest.raises(
        DataError, match=r"series p has the value 0, and data\.logarithm"
    ):
        forecaster.predict(data.assign(y=np.maximum(data["y"] - 5, 0)))


def test_intervals_of_a_quantile_head(fitted):
    found = fitted.predict(level=[80])
    assert [*found.columns[2:]] == ["LSTM", "LSTM-lo-80", "LSTM-hi-80"]
    both = fitted.predict(level=80, quantiles=np.array([0.1, 0.2 + 0.7]))
    np.testing.assert_array_equal(both["LSTM-q10"], found["LSTM-lo-80"])
    np.testing.assert_array_equal(both["LSTM-q90"], found["LSTM-hi-80"])
    np.testing.assert_array_equal(found["LSTM-lo-80"], fitted.predict()["LSTM-q10"])
    assert len(fitted.predict(horizon=2)) == 4
    for asked, said in [
        ({"level": [95]}, "no quantile of the level 0.025, only 0.1, 0.5, 0.9"),
        ({"level": [0]}, "expected percents"),
        ({"quantiles": [1.5]}, "has 1.5, expected levels"),
        ({"horizon": 5}, "expected 4 at most"),
        ({"horizon": 2.5}, "expected a whole number"),
    ]:
        with pytest.raises(DataError, match=said):
            fitted.predict(**asked)


def test_counts_are_not_standardised():
    data = frame("pandas")
    data["y"] = np.random.default_rng(0).poisson(data["y"])
    config = DRAWS | {
        "model": DRAWS["model"] | {"head": {"kind": "negative_binomial"}},
        "data": DRAWS["data"] | {"standardise": False},
    }
    forecaster = lstm_jax.Forecaster(config).fit(data, verbose=False)
    with pytest.raises(DataError, match=r"has the value 0\.5, and the head"):
        forecaster.predict(data.assign(y=0.5))
    found = forecaster.simulate(n_paths=5).filter(like="path").to_numpy()
    assert (found == found.round()).all()
    assert (found >= 0).all()
    # Series share margins in units of their standard deviations.
    found = forecaster.predict(horizon=5, level=90, conformal=True)
    low, high = found["LSTM-lo-90"].to_numpy(), found["LSTM-hi-90"].to_numpy()
    assert (low >= 0).all()
    assert (high - low)[5:].mean() > 2 * (high - low)[:5].mean()


def test_covariates(tmp_path):
    """A forecast depends on what is known ahead, and only where it is asked for."""
    data = frame("pandas", steps=84)
    data["price"] = np.tile(np.arange(84) % 5, 2).astype(float)
    data.loc[data["ds"] >= data["ds"].iloc[80], "y"] = np.nan
    config = {
        **CONFIG,
        "model": {
            "kind": "encoder_decoder",
            "context": 16,
            "horizon": 4,
            "hidden_size": 8,
        },
    }
    forecaster = lstm_jax.Forecaster(config, future="price").fit(data, verbose=False)
    forecaster.save(tmp_path / "run")
    want = forecaster.predict()
    assert len(want) == 8
    np.testing.assert_allclose(
        forecaster.predict(horizon=2)["LSTM"][:2], want["LSTM"][:2], rtol=1e-6
    )
    loaded = lstm_jax.Forecaster.load(tmp_path / "run")
    np.testing.assert_array_equal(want["LSTM"], loaded.predict(data)["LSTM"])
    there = data["y"].notna()
    ahead = data.loc[~there, ["ds", "price", "unique_id"]]
    apart = loaded.predict(data[there], futr_df=ahead)
    np.testing.assert_array_equal(want["LSTM"], apart["LSTM"])
    indexed = [f.set_index("ds") for f in (data[there], ahead)]
    apart = loaded.predict(indexed[0], futr_df=indexed[1])
    assert apart.index.name == "ds"
    np.testing.assert_array_equal(want["LSTM"], apart["LSTM"])
    data.loc[data.index[82], "price"] = 100.0
    changed = loaded.predict(data)["LSTM"].to_numpy() != want["LSTM"].to_numpy()
    assert changed.tolist() == [False, False, True, True, *[False] * 4]
    short = data[data["ds"] < data["ds"].iloc[82]]
    with pytest.raises(DataError, match="append rows with these columns"):
        loaded.predict(short)
    with pytest.raises(DataError, match="futr_df has no column 'price'"):
        loaded.predict(data[there], futr_df=ahead[["unique_id", "ds"]])


def test_what_is_known_ahead_beside_what_never_changes():
    """Rows ahead need no static columns."""
    polars = importlib.import_module("polars")
    columns = PanelColumns(future=("price",), static=("city",))
    data = frame("polars", steps=3)
    data = data.with_columns(price=1.0, city=data["unique_id"])
    ahead = data.select("unique_id", "ds", "price").with_columns(
        ds=data["ds"] + datetime.timedelta(hours=3)
    )
    panel = panel_from_frame(with_rows_ahead(data, ahead, columns), columns)
    assert [len(series.future) for series in panel] == [6, 6]
    assert [series.static for series in panel] == [("p",), ("q",)]
    whole = ahead.with_columns(price=2, unique_id=ahead["unique_id"] + " ")
    panel = panel_from_frame(with_rows_ahead(data, whole, columns), columns)
    assert panel.series[1].future[:, 0].tolist() == [1, 1, 1, 2, 2, 2]
    for wrong, said in (
        (
            ahead.with_columns(unique_id=polars.lit("r")),
            "the series 'r', which the data do not",
        ),
        (ahead.with_columns(ds=polars.lit("soon")), "does not fit the data"),
        (ahead.to_pandas(), "expected one of polars"),
    ):
        with pytest.raises(DataError, match=said):
            with_rows_ahead(data, wrong, columns)


def test_fit_goes_on(tmp_path):
    """With the weights and the scales of before, or where it was stopped."""
    forecaster = lstm_jax.Forecaster(CONFIG)
    with pytest.raises(RunError, match="there are none; call fit"):
        forecaster.fit(frame("pandas"), warm_start=True)
    with pytest.raises(RunError, match="pass its directory"):
        forecaster.fit(frame("pandas"), resume=True)
    first, second = tmp_path / "first", tmp_path / "second"
    forecaster.fit(frame("pandas"), first, verbose=False)
    before = forecaster.predict()
    forecaster.fit(frame("pandas"), first, resume=True, verbose=False)
    assert forecaster.predict().equals(before)
    forecaster.fit(frame("pandas", 90), second, warm_start=True, verbose=False)
    loaded = lstm_jax.Forecaster.load(second)
    assert loaded.config.train.init_from is None
    facts = [json.loads((of / "run.json").read_text()) for of in (first, second)]
    assert facts[1]["init_from"]["directory"] == str(first)
    assert facts[1]["mean"] == facts[0]["mean"]
    lines = [
        (of / "metrics.jsonl").read_text().splitlines()[0] for of in (first, second)
    ]
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses[1] < losses[0]
    other = frame("pandas", names=("p", "r"))
    with pytest.raises(DataError, match="the first other one is r"):
        forecaster.fit(other, warm_start=True, verbose=False)
