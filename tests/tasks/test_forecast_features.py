"""Calendar and covariates as a model reads them."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from lstm_jax.config import ConfigError
from lstm_jax.data.panel import PanelColumns, panel_from_frame
from lstm_jax.data.text import DataError
from lstm_jax.runs.configs import read_config
from lstm_jax.runs.init_from import LEARNED
from lstm_jax.tasks.forecast_data import ForecastData
from lstm_jax.tasks.forecast_features import check_columns, features_of, learn, size_of
from lstm_jax.tasks.forecasting import Forecasting

COLUMNS = PanelColumns(
    past=("load",), future=("price", "holiday"), static=("city", "area")
)
STEPS, AHEAD = 30, 4


def frame(seed=0):
    """Two series of days; the last rows have no target."""
    rng, parts = np.random.default_rng(seed), []
    for name, city, area in (("a", "Bern", 3.0), ("b", "Oslo", 9.0)):
        n = STEPS + AHEAD
        parts.append(
            pd.DataFrame(
                {
                    "unique_id": name,
                    "ds": pd.date_range("2024-01-01", periods=n),
                    "y": np.r_[rng.normal(size=STEPS), [np.nan] * AHEAD],
                    "load": np.r_[rng.normal(50, 9, STEPS), [np.nan] * AHEAD],
                    "price": rng.normal(7, 2, n),
                    "holiday": (np.arange(n) % 7 == 0).astype(float),
                    "city": city,
                    "area": area,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def features(panel, learned, **how):
    return features_of(
        panel, learned, AHEAD, **({"calendar": True, "ahead": True} | how)
    )


def test_values():
    panel = panel_from_frame(frame(), COLUMNS)
    learned = learn(panel, [20, 20])
    found = features(panel, learned)
    price = np.concatenate([series.future[:20, 0] for series in panel])
    want = (panel.series[1].future[:, 0] - price.mean()) / price.std()
    # Three of the calendar of days come first.
    np.testing.assert_allclose(found.known[1][:, 3], want, rtol=1e-5)
    assert found.known[1].shape == (STEPS + AHEAD, 5)
    np.testing.assert_allclose(found.known[0][:8, 0], [*np.arange(7) / 6 - 0.5, -0.5])
    load = np.concatenate([series.past[:20, 0] for series in panel])
    want = (panel.series[0].past[:, 0] - load.mean()) / load.std()
    np.testing.assert_allclose(found.past[0][:, 0], want, rtol=1e-5)
    assert found.static.tolist() == [[1, 0, -1], [0, 1, 1]]
    assert size_of(panel.frequency, learned, True) == (5, 1, 3)
    assert features(panel, learned, calendar=False).known[0].shape[1] == 2


def test_nothing_is_learned_after_the_training_split():
    rows = frame()
    changed = rows.copy()
    late = rows["ds"] >= pd.Timestamp("2024-01-21")
    changed.loc[late, ["load", "price", "holiday"]] = 1e6
    first, second = (
        learn(panel_from_frame(f, COLUMNS), [20, 20]) for f in (rows, changed)
    )
    assert first == second


def test_a_missing_number_is_the_mean_and_a_new_text_nothing():
    rows = frame()
    learned = learn(panel_from_frame(rows, COLUMNS), [20, 20])
    rows.loc[3, ["price", "load"]] = np.nan
    rows["city"] = rows["city"].replace("Bern", "Rome")
    found = features(panel_from_frame(rows, COLUMNS), learned)
    assert found.known[0][3, 3] == found.past[0][3, 0] == 0
    assert found.static[0].tolist() == [0, 0, -1]


def test_a_static_column_has_one_type():
    """A file may spell texts as numbers; a text is no number."""
    rows = frame()
    rows["city"] = rows["city"].map({"Bern": "1", "Oslo": "2"})
    learned = learn(panel_from_frame(rows, COLUMNS), [20, 20])
    rows["city"] = rows["city"].astype(float)
    found = features(panel_from_frame(rows, COLUMNS), learned)
    assert found.static[:, :2].tolist() == [[1, 0], [0, 1]]
    rows["area"] = "large"
    with pytest.raises(DataError, match="static column 'area' has 'large'"):
        features(panel_from_frame(rows, COLUMNS), learned)


def test_other_columns_are_refused():
    panel = panel_from_frame(frame(), COLUMNS)
    learned = learn(panel, [20, 20])
    check_columns(learned, COLUMNS)
    swapped = dataclasses.replace(COLUMNS, future=("holiday", "price"))
    with pytest.raises(DataError, match="same columns in the same order"):
        check_columns(learned, swapped)


def test_covariates_of_the_horizon_have_to_be_there():
    panel = panel_from_frame(frame().groupby("unique_id").head(STEPS + 2), COLUMNS)
    learned = learn(panel, [20, 20])
    with pytest.raises(DataError, match="has 2 rows after its last value, and a"):
        features(panel, learned)
    assert features(panel, learned, ahead=False).known[0].shape == (STEPS + AHEAD, 5)


CONFIG = {
    "task": "forecasting",
    "data": {
        "id": "unique_id",
        "future": ["price", "holiday"],
        "static": ["city", "area"],
        "valid_steps": 5,
        "test_steps": 5,
    },
    "model": {"kind": "encoder_decoder", "context": 6, "horizon": 4, "hidden_size": 4},
    "train": {"steps": 4, "batch_size": 8},
}


def test_batches_have_the_features_of_their_windows():
    """Known ones of context and horizon, past ones of the context alone."""
    config = read_config(CONFIG)
    config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, past=("load",))
    )
    panel = panel_from_frame(frame(), COLUMNS)
    task = Forecasting(config, panel=panel)
    windows, features = task.data.windows("train"), task.data.features
    batch = task.batches()._source.load(np.array([0, len(windows) - 1]))
    for row, at in enumerate((0, len(windows) - 1)):
        n, cut = windows.series[at], windows.cuts[at]
        span = slice(cut - 6, cut + 4)
        window = batch.window
        np.testing.assert_array_equal(window.known[:, row], features.known[n][span])
        np.testing.assert_array_equal(
            window.past[:, row], features.past[n][cut - 6 : cut]
        )
        np.testing.assert_array_equal(window.static[row], features.static[n])


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        ({"kind": "direct"}, {}, "data.future names columns, which model.kind"),
        ({"kind": "recursive"}, {"past": ["load"]}, "data.past names columns"),
        (
            {"kind": "recursive", "head": {"kind": "poisson"}},
            {},
            "data.standardise=false",
        ),
    ],
)
def test_what_a_model_does_not_read(model, data, said):
    values = CONFIG | {"model": model, "data": CONFIG["data"] | data}
    with pytest.raises(ConfigError, match=said):
        read_config(values)


def test_a_run_that_starts_from_another_knows_its_series_and_its_zone():
    """All that new data are compared with is handed on."""
    rows = frame()
    rows["ds"] = pd.date_range("2024-01-01", periods=len(rows), freq="h")
    rows["unique_id"] = "a"
    rows["city"], rows["area"] = "Bern", 3.0
    panels = {
        zone: panel_from_frame(rows.assign(ds=rows["ds"].dt.tz_localize(zone)), COLUMNS)
        for zone in ("UTC", "Asia/Tokyo")
    }
    values = CONFIG | {"data": CONFIG["data"] | {"past": ["load"]}}
    data = read_config(values).data, read_config(values).model
    first = ForecastData(*data, panel=panels["UTC"])
    known = json.loads(json.dumps(first.describe()))
    known = {name: known[name] for name in LEARNED if name in known}
    ForecastData(*data, known, panels["UTC"]).check_series()
    with pytest.raises(DataError, match="trained on times in UTC; convert"):
        ForecastData(*data, known, panels["Asia/Tokyo"]).check_series()
