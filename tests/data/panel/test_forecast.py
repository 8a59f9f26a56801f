"""Forecasts come back in the types of the data."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from lstm_jax.data.panel import (
    PanelColumns,
    forecast_frame,
    panel_from_frame,
    read_panel,
)
from lstm_jax.data.text import DataError
from tests.data.panel.frames import KINDS, OF_EVERY_KIND, long, to_pandas

IDS = {
    "text": ["b", "a"],
    "int32": np.array([9, 3], np.int32),
    "category": pd.Categorical(["b", "a"], categories=["a", "b", "c"]),
}
TIMES = {
    "days": pd.date_range("2024-03-28", periods=8),
    "nanoseconds": pd.date_range("2024-03-28", periods=8, unit="ns"),
    "month ends": pd.date_range("2024-01-31", periods=8, freq="ME"),
    "hours in UTC": pd.date_range("2024-03-30 20:00", periods=8, freq="h", tz="UTC"),
    "hours in Berlin": pd.date_range(
        "2024-03-30 20:00", periods=8, freq="h", tz="Europe/Berlin"
    ),
    "hours in New York": pd.date_range(
        "2024-03-09 20:00", periods=8, freq="h", tz="America/New_York"
    ),
    "days in Berlin": pd.date_range("2024-03-28", periods=8, tz="Europe/Berlin"),
    "integers": np.arange(10, 26, 2, np.int32),
    "texts": pd.date_range("2024-03-28", periods=8).astype(str),
    "texts of hours": pd.date_range("2024-01-01", periods=8, freq="h").strftime(
        "%Y-%m-%dT%H:%M"
    ),
}


def panel_and_truth(ids, ds, kind):
    """A panel of the first five rows of two series, and the other three."""
    frame = pd.concat(
        [long(ds, unique_id=ids[n : n + 1][[0] * len(ds)]) for n in (0, 1)]
    )
    frame["unique_id"] = frame["unique_id"].astype(pd.Series(ids).dtype)
    known = frame[frame.index < 5].reset_index(drop=True)
    rest = frame[frame.index >= 5].reset_index(drop=True)
    return panel_from_frame(KINDS[kind](known)), KINDS[kind](rest)


@OF_EVERY_KIND
@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("ds", TIMES)
def test_types_are_kept(kind, ids, ds):
    ids = np.array(IDS[ids], object) if ids == "text" else IDS[ids]
    panel, truth = panel_and_truth(ids, TIMES[ds], kind)
    y = to_pandas(truth)["y"].to_numpy().reshape(2, 3)
    found = forecast_frame(panel, {"y": y})
    assert type(found) is type(truth)
    if kind == "pandas":
        pd.testing.assert_frame_equal(found, truth)
    elif kind == "polars":
        assert found.equals(truth)
        assert found.schema == truth.schema
    else:
        assert found.equals(truth)


def test_dates_of_polars():
    days = pl.Series([*pd.date_range("2024-01-01", periods=4).date])
    frame = pl.DataFrame({"unique_id": "a", "ds": days, "y": [1.0, 2.0, 3.0, 5.0]})
    found = forecast_frame(panel_from_frame(frame), {"LSTM": np.ones((1, 1))})
    assert found.schema == {"unique_id": pl.String, "ds": pl.Date, "LSTM": pl.Float64}


def test_columns_of_the_long_form():
    panel = panel_from_frame(long(range(4)))
    values = {"LSTM": [[1.0, 2.0]], "LSTM-lo-80": [[3.0, 4.0]]}
    found = forecast_frame(panel, values)
    assert [*found] == ["unique_id", "ds", "LSTM", "LSTM-lo-80"]
    assert found["LSTM-lo-80"].tolist() == [3, 4]
    assert found["ds"].tolist() == [4, 5]


VALUES = {"LSTM": np.arange(4.0).reshape(2, 2), "LSTM-lo-80": np.ones((2, 2))}
VALUES["naive"] = np.zeros((2, 2))


@OF_EVERY_KIND
def test_columns_of_the_wide_form(kind):
    frame = pd.DataFrame({"date": range(4), "OT": range(4), "load": range(4)})
    columns = PanelColumns(id=None, time="date", targets=("load", "OT"))
    panel = panel_from_frame(KINDS[kind](frame), columns)
    found = to_pandas(forecast_frame(panel, VALUES))
    assert [*found] == (
        ["date", "load", "load-lo-80", "load-naive", "OT", "OT-lo-80", "OT-naive"]
    )
    assert found["load"].tolist() == [0, 1]
    assert found["OT"].tolist() == [2, 3]
    assert found["OT-naive"].tolist() == [0, 0]


def test_several_targets_of_several_ids():
    both = [long(range(4), unique_id=name, z=1.0) for name in (" b", "a ")]
    columns = PanelColumns(targets=("y", "z"))
    panel = panel_from_frame(pd.concat(both).reset_index(drop=True), columns)
    values = np.arange(8.0).reshape(4, 2)
    found = forecast_frame(panel, {"LSTM": values, "LSTM-lo-80": -values})
    assert [*found] == ["unique_id", "ds", "y", "y-lo-80", "z", "z-lo-80"]
    assert found["unique_id"].tolist() == ["b", "b", "a", "a"]
    assert found["y"].tolist() == [0, 1, 4, 5]
    assert found["z-lo-80"].tolist() == [-2, -3, -6, -7]


def test_the_index_of_pandas_is_kept():
    frame = long(range(4)).set_index(["unique_id", "ds"])
    found = forecast_frame(panel_from_frame(frame), {"y": np.ones((1, 1))})
    assert found.index.to_list() == [("a", 4)]
    assert found.index.names == ["unique_id", "ds"]


def test_after_a_cut():
    two = pd.concat([long(range(4), unique_id="b"), long(range(10, 16))])
    panel = panel_from_frame(two.reset_index(drop=True))
    found = forecast_frame(panel, {"y": np.ones((2, 2))}, cuts=[3, 1])
    assert found["ds"].tolist() == [3, 4, 11, 12]
    assert forecast_frame(panel, {"y": np.ones((2, 1))})["ds"].tolist() == [4, 16]


@pytest.mark.parametrize(
    ("ds", "after"),
    [
        (["2024-01-30", "2024-01-31", "2024-02-01"], "2024-02-02"),
        (
            ["2024-01-30 10:00", "2024-01-30 11:00", "2024-01-30 12:00"],
            "2024-01-30 13:00",
        ),
        (["2024-10-01", "2024-11-01", "2024-12-01"], "2025-01-01"),
        (["2024-10", "2024-11", "2024-12"], "2025-01"),
        ([f"2024-01-01T0{n}:00:00Z" for n in (0, 1, 2)], "2024-01-01T03:00:00Z"),
        ([f"2024-01-01 0{n}:00+01:00" for n in (0, 1, 2)], "2024-01-01 03:00+01:00"),
        ([f"2024-01-01 00:00:00.{n}00" for n in (0, 1, 2)], "2024-01-01 00:00:00.300"),
    ],
)
def test_a_file_gives_a_dict_with_times_as_written(tmp_path, ds, after):
    path = tmp_path / "a.csv"
    path.write_text(
        "unique_id,ds,y\n" + "".join(f"5,{d},{n}\n" for n, d in enumerate(ds))
    )
    found = forecast_frame(read_panel(path), {"LSTM": np.ones((1, 1))})
    assert isinstance(found, dict)
    assert found["ds"].tolist() == [after]
    assert found["unique_id"].tolist() == [5]


@pytest.mark.parametrize(
    ("values", "cuts", "said"),
    [
        ({}, None, "values is empty"),
        ({"y": np.ones(2)}, None, r"shape \(2,\), expected \[N, H\] with 1 series"),
        ({"y": np.ones((2, 1))}, None, r"shape \(2, 1\), expected"),
        (
            {"y": np.ones((1, 1)), "z": np.ones((1, 2))},
            None,
            r"'z'. has shape \(1, 2\)",
        ),
        ({"ds": np.ones((1, 1))}, None, "the column 'ds' twice"),
        ({"y": np.ones((1, 1))}, [5], "is 5, expected 1 to 4, the steps of series 'a'"),
        ({"y": np.ones((1, 1))}, [1, 1], "there are 2 cuts, expected 1"),
    ],
)
def test_what_is_refused(values, cuts, said):
    with pytest.raises(DataError, match=said):
        forecast_frame(panel_from_frame(long(range(4))), values, cuts)
