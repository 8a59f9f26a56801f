"""Panels of files are those of the same frames; errors name the line."""

import gzip

import numpy as np
import pandas as pd
import pytest

from lstm_jax.data.panel import PanelColumns, panel_from_frame, read_panel
from lstm_jax.data.text import DataError

LONG = """unique_id,ds,y,z,kind
7,2024-01-01 00:00,1.5,1,u
7,2024-01-01 01:00,,2,u
8,2024-01-01 00:00,NA,3,v
8, 2024-01-01 01:00 ,4.5,4,v
7,2024-01-01 02:00,-1e3,5,u
7,2024-01-01 04:00,2,6,u
"""
WIDE = "date,HUFL,OT\n2024-01-01,1,2\n2024-01-02,3,4\n2024-01-03,5,6\n"
COLUMNS = PanelColumns(past=("z",), static=("kind",))
NAN = float("nan")


def written(tmp_path, text, name="a.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "data",
    [
        LONG.encode(),
        LONG.replace("\n", "\r\n").encode(),
        LONG.replace("NA", '"NaN"').encode(),
        gzip.compress(LONG.encode()),
    ],
    ids=["plain", "crlf", "quotes", "gzip"],
)
def test_long_form(tmp_path, data):
    panel = read_panel(written(tmp_path, data), COLUMNS)
    a, b = panel.series
    np.testing.assert_array_equal(a.values, [1.5, NAN, -1e3, NAN, 2])
    np.testing.assert_array_equal(a.past[:, 0], [1, 2, 5, NAN, 6])
    np.testing.assert_array_equal(b.values, [NAN, 4.5])
    assert (a.name, a.static, b.static) == ("7", ("u",), ("v",))
    assert panel.giving.ids.dtype == np.int64


def test_wide_form(tmp_path):
    columns = PanelColumns(id=None, time="date", targets=("OT", "HUFL"))
    panel = read_panel(
        written(tmp_path, WIDE.replace(",", ";")), columns, delimiter=";"
    )
    assert {s.name: s.values.tolist() for s in panel} == {
        "OT": [2, 4, 6],
        "HUFL": [1, 3, 5],
    }


def test_ids_that_only_look_like_numbers(tmp_path):
    path = written(tmp_path, LONG.replace("\n7", "\n007"))
    panel = read_panel(path, COLUMNS)
    assert panel.series[0].name == "007"
    assert panel.giving.ids.tolist() == ["007", "8"]


def test_parquet_is_the_same_panel(tmp_path):
    zone = "Europe/Berlin"
    hours = pd.date_range("2024-03-30 20:00", periods=9, freq="h", tz=zone)
    frame = pd.DataFrame({"unique_id": "a", "ds": hours, "y": range(9)})
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    panel, same = read_panel(tmp_path / "a.parquet"), panel_from_frame(frame)
    assert (panel.zone, panel.frequency) == (zone, same.frequency)
    np.testing.assert_array_equal(panel.series[0].times, same.series[0].times)
    frame.loc[4, "y"] = None
    frame.loc[5, "y"] = np.inf
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    with pytest.raises(DataError, match=r"a.parquet, row 6: column 'y' is inf"):
        read_panel(tmp_path / "a.parquet")
    written(tmp_path, "PAR1", "a.parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_panel(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LONG.replace("4.5", "high"), "FILE, line 5: column 'y' is 'high', expected"),
        (LONG.replace("4.5", "inf"), "FILE, line 5: column 'y' is inf, expected a f"),
        (LONG.replace("4.5", "1e999"), "FILE, line 5: column 'y' is inf, expected"),
        (LONG.replace("\n8, ", "\n ,"), "FILE, line 5: column 'unique_id' is empty"),
        (LONG.replace(" 2024-01-01 01:00 ", ""), "line 5: column 'ds' is empty, exp"),
        (LONG.replace("01 04:00", "01 4 am"), "FILE, line 7: column 'ds' is '2024-01"),
        (LONG.replace("04:00", "02:00"), "FILE, line 7: series '7' has the time 2024"),
        (LONG.replace("04:00", "02:00"), "twice, first in FILE, line 6; give every"),
        (LONG.replace("04:00", "04:30"), "line 7: series '7' has the time 2024-01-01"),
        (LONG.replace("6,u", "6,w"), "FILE, line 7: series '7' has the static column"),
        (LONG.replace("6,u", "6,"), "has the static column 'kind' empty, expected"),
        (LONG.replace("6,u", "6"), "FILE, line 7: found 4 cells, expected 5"),
        (LONG.replace("kind", "type"), "FILE has no column 'kind'"),
        (LONG[:22], "FILE has the names of columns but no rows."),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, said):
    path = written(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_panel(path, COLUMNS)
    assert said in str(caught.value).replace(str(path), "FILE")


def test_arguments(tmp_path):
    with pytest.raises(DataError, match="delimiter is '', expected one character"):
        read_panel(written(tmp_path, LONG), delimiter="")
