"""What becomes of data that are not regular yet, and what is refused."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest

from lstm_jax.data.panel import PanelColumns, panel_from_frame
from lstm_jax.data.text import DataError
from tests.data.panel.frames import KINDS, OF_EVERY_KIND, long

NAN = float("nan")
DAYS = pd.date_range("2024-01-01", periods=5)
HOURS = pd.date_range("2024-01-01", periods=5, freq="h")


def refusal(frame, columns=None, frequency=None):
    with pytest.raises(DataError) as caught:
        panel_from_frame(frame, columns, frequency)
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    return said


def values(panel):
    return {(s.name, s.target): s.values.tolist() for s in panel}


def check(series, want):
    np.testing.assert_array_equal(series.values, want)
    assert len(series.times) == len(want)


@OF_EVERY_KIND
def test_long_form(kind):
    two = pd.concat(
        [long(DAYS[1:], unique_id="b", z=2.0), long(DAYS, unique_id="a", z=1.0)]
    )
    columns = PanelColumns(targets=("y", "z"))
    panel = panel_from_frame(KINDS[kind](two.reset_index(drop=True)), columns)
    assert values(panel) == {
        ("b", "y"): [0, 1, 4, 9],
        ("b", "z"): [2] * 4,
        ("a", "y"): [0, 1, 4, 9, 16],
        ("a", "z"): [1] * 5,
    }
    assert list(values(panel)) == [("b", "y"), ("b", "z"), ("a", "y"), ("a", "z")]
    assert (len(panel), panel.steps, str(panel.frequency)) == (4, 18, "D")
    assert panel.zone is None
    assert panel.notes == ("z is constant, in 2 of 2 series: b, a.",)
    np.testing.assert_array_equal(panel.series[0].times, DAYS[1:])


@OF_EVERY_KIND
def test_wide_form(kind):
    frame = pd.DataFrame({"date": DAYS, "OT": range(5), "load": 2.5 * np.arange(5)})
    columns = PanelColumns(id=None, time="date", targets=("load", "OT"))
    panel = panel_from_frame(KINDS[kind](frame), columns)
    want = {("load", "load"): [0, 2.5, 5, 7.5, 10], ("OT", "OT"): [0, 1, 2, 3, 4]}
    assert values(panel) == want


@OF_EVERY_KIND
def test_missing_values_stay(kind):
    panel = panel_from_frame(KINDS[kind](long(DAYS, [1, None, 3, 4, None])))
    check(panel.series[0], [1, NAN, 3, 4, NAN])
    assert panel.notes == ("2 of 5 values of y are missing.",)


def test_gaps_are_filled():
    frame = long(DAYS[[0, 1, 2, 4]], past=1.0)
    panel = panel_from_frame(frame, PanelColumns(past=("past",)))
    check(panel.series[0], [0, 1, 4, NAN, 9])
    np.testing.assert_array_equal(panel.series[0].past[:, 0], [1, 1, 1, NAN, 1])
    np.testing.assert_array_equal(panel.series[0].times, DAYS)
    assert panel.notes == ("1 missing step was added as missing values.",)
    two = pd.concat([frame, long(DAYS[:2], unique_id="b")])
    said = "1 missing step was added as missing values, in 1 of 2 series: a."
    assert panel_from_frame(two).notes == (said,)


@OF_EVERY_KIND
def test_rows_are_sorted(kind):
    frame = pd.concat([long(DAYS, unique_id="b"), long(DAYS, unique_id="a")])
    mixed = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    panel = panel_from_frame(KINDS[kind](mixed))
    assert panel.notes == ("The rows were not in the order of time and were sorted.",)
    assert [s.values.tolist() for s in panel] == [[0, 1, 4, 9, 16]] * 2
    assert panel.series[0].name == mixed["unique_id"][0]
    by_time = frame.sort_values("ds", kind="stable").reset_index(drop=True)
    assert panel_from_frame(KINDS[kind](by_time)).notes == ()


def test_business_days_with_holidays():
    days = pd.bdate_range("2024-12-16", periods=12)
    panel = panel_from_frame(long(days.delete([7, 8])))
    check(panel.series[0], [0, 1, 4, 9, 16, 25, 36, NAN, NAN, 49, 64, 81])
    assert str(panel.frequency) == "B"


@OF_EVERY_KIND
@pytest.mark.parametrize("start", ["2024-03-30 20:00", "2024-10-26 20:00"])
def test_hours_have_no_gap_where_daylight_saving_changes(kind, start):
    hours = pd.date_range(start, periods=30, freq="h", tz="Europe/Berlin")
    panel = panel_from_frame(KINDS[kind](long(hours)))
    assert (panel.steps, panel.notes, str(panel.frequency)) == (30, (), "h")
    assert panel.zone == "Europe/Berlin"
    utc = hours.tz_convert(None).to_numpy()
    np.testing.assert_array_equal(panel.series[0].times, utc)
    local = hours.tz_localize(None).to_numpy()
    np.testing.assert_array_equal(panel.local(panel.series[0].times), local)


@OF_EVERY_KIND
@pytest.mark.parametrize("start", ["2024-03-29", "2024-10-25"])
def test_days_have_no_gap_where_daylight_saving_changes(kind, start):
    days = pd.date_range(start, periods=6, freq="D", tz="Europe/Berlin")
    panel = panel_from_frame(KINDS[kind](long(days)))
    assert (panel.steps, panel.notes, str(panel.frequency)) == (6, (), "D")
    times = panel.local(panel.series[0].times)
    np.testing.assert_array_equal(times, days.tz_localize(None))


def test_a_midnight_that_daylight_saving_skips():
    days = pd.date_range("2018-11-02", periods=5).tz_localize(
        "America/Sao_Paulo", nonexistent="shift_forward"
    )
    assert days.hour.tolist() == [0, 0, 1, 0, 0]
    panel = panel_from_frame(long(days))
    assert (panel.steps, panel.notes) == (5, ())


def test_future_rows():
    frame = pd.concat(
        [
            long(DAYS, [1, None, 3, None, None], "a", price=[1, 2, 3, 4, 5], s="up"),
            long(DAYS, [5, 6, 7, 8, 9], "b", price=[6, 7, 8, 9, 10], s="down"),
        ]
    )
    columns = PanelColumns(future=("price",), static=("s",))
    panel = panel_from_frame(frame, columns)
    a, b = panel.series
    check(a, [1, NAN, 3])
    check(b, [5, 6, 7, 8, 9])
    assert a.future[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert b.future[:, 0].tolist() == [6, 7, 8, 9, 10]
    assert (a.static, b.static) == (("up",), ("down",))
    assert panel.notes[0] == (
        "2 rows at the ends of series have no target; they are future rows."
    )
    np.testing.assert_array_equal(panel.after(a, 2), DAYS[3:])
    without = panel_from_frame(frame, PanelColumns(past=("price",)))
    check(without.series[0], [1, NAN, 3, NAN, NAN])


def test_future_rows_lack_all_targets():
    frame = long(DAYS, [1, 2, None, None, None], z=[1, 2, 3, None, None], p=1.0)
    columns = PanelColumns(targets=("y", "z"), future=("p",))
    panel = panel_from_frame(frame, columns)
    check(panel.series[0], [1, 2, NAN])
    check(panel.series[1], [1, 2, 3])


def test_static_numbers_stay_numbers():
    frame = long(DAYS, size=3, kind="x ")
    panel = panel_from_frame(frame, PanelColumns(static=("size", "kind")))
    assert panel.series[0].static == (3.0, "x")


def test_constant_targets_are_noted():
    assert panel_from_frame(long(DAYS, 7.0)).notes == ("y is constant.",)
    assert panel_from_frame(long(DAYS, [7, 7, 7, 8, 7])).notes == ()


@pytest.mark.parametrize(
    "ds",
    [
        ["2024-01-01", " 2024-01-02", "2024-01-03 "],
        ["2024-01-01 00:00:00", "2024-01-02T00:00", "2024-01-03"],
        [datetime.date(2024, 1, n) for n in (1, 2, 3)],
        [pd.Timestamp(2024, 1, n) for n in (1, 2, 3)],
        pd.date_range("2024-01-01", periods=3, unit="s"),
        pd.date_range("2024-01-01", periods=3, unit="ns"),
        pd.Categorical(["2024-01-01", "2024-01-02", "2024-01-03"]),
    ],
)
def test_kinds_of_times(ds):
    panel = panel_from_frame(long(ds))
    assert str(panel.frequency) == "D"
    np.testing.assert_array_equal(panel.series[0].times, DAYS[:3])
    assert panel.series[0].times.dtype == "datetime64[us]"


def test_dates_of_polars():
    frame = pl.DataFrame({"unique_id": 1, "ds": [*DAYS.date], "y": [1.0, 2, 3, 4, 5]})
    assert frame["ds"].dtype == pl.Date
    assert str(panel_from_frame(frame).frequency) == "D"


@OF_EVERY_KIND
def test_whole_numbers_as_times(kind):
    panel = panel_from_frame(KINDS[kind](long(np.array([10, 15, 20, 30], np.int16))))
    assert panel.series[0].times.tolist() == [10, 15, 20, 25, 30]
    assert panel.frequency.rule == 5


def test_offsets_of_texts_are_a_zone():
    ds = [f"2024-01-01T0{n}:00+01:00" for n in range(4)]
    panel = panel_from_frame(long(ds))
    assert panel.zone == "UTC+01:00"
    assert panel.series[0].times[0] == np.datetime64("2023-12-31T23:00")
    assert panel.local(panel.series[0].times)[0] == np.datetime64("2024-01-01T00:00")
    assert panel_from_frame(long([d[:-6] + "Z" for d in ds])).zone == "UTC"
    west = panel_from_frame(long([d[:-6] + "-0330" for d in ds]))
    assert west.zone == "UTC-03:30"
    assert west.series[0].times[0] == np.datetime64("2024-01-01T03:30")
    assert west.local(west.series[0].times)[0] == np.datetime64("2024-01-01T00:00")


def test_white_space_around_ids():
    panel = panel_from_frame(long(DAYS, unique_id=["a", "a ", "a", "b", " b"]), None)
    assert [s.name for s in panel] == ["a", "b"]


def test_a_series_of_one_row():
    two = pd.concat([long(DAYS[:1], unique_id="one"), long(DAYS)])
    assert [len(s) for s in panel_from_frame(two)] == [1, 5]
    assert len(panel_from_frame(long(DAYS[:1]), frequency="D").series[0]) == 1


def test_the_index_of_pandas():
    indexed = long(DAYS).set_index(["unique_id", "ds"])
    assert values(panel_from_frame(indexed)) == {("a", "y"): [0, 1, 4, 9, 16]}
    wide = pd.DataFrame({"y": range(5)}, index=DAYS)
    panel = panel_from_frame(wide, PanelColumns(id=None))
    np.testing.assert_array_equal(panel.series[0].times, DAYS)


def test_columns_that_nobody_asked_for():
    frame = long(DAYS)
    frame[("odd", 3)] = [object()] * 5
    assert panel_from_frame(frame).steps == 5


def other(frame, **cells):
    """The frame with another cell in the row 3 of some columns."""
    frame = frame.astype(dict.fromkeys(cells, object))
    for name, cell in cells.items():
        frame.loc[3, name] = cell
    return frame


STATIC = PanelColumns(static=("s",))


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (long(DAYS)[:0], "the frame has no rows"),
        (other(long(DAYS), ds=DAYS[1]), "row 3: series 'a' has the time 2024-01-02 tw"),
        (other(long(DAYS), ds=DAYS[1]), "twice, first in row 1; give every step a ti"),
        (
            other(long(HOURS), ds=HOURS[2]),
            "2024-01-01 02:00 twice, first in row 2; give every step a time of its "
            "own, or local times with daylight saving a time zone.",
        ),
        (
            other(long(DAYS), ds=DAYS[3] + pd.Timedelta("7min")),
            "row 3: series 'a' has the time 2024-01-04 00:07, which is not on the grid "
            "of frequency 'D' from 2024-01-01; correct the time, or set another",
        ),
        (other(long(DAYS), ds=None), "row 3: column 'ds' is empty, expected a time"),
        (other(long(DAYS), ds="soon"), "row 3: column 'ds' is 'soon', expected an ISO"),
        (other(long(DAYS.astype(str)), ds="1.2.2024"), "row 3: column 'ds' is '1.2.20"),
        (other(long(DAYS.astype(str)), ds="2024-02-30"), "column 'ds' is '2024-02-30'"),
        (other(long(DAYS.astype(str)), ds=" "), "row 3: column 'ds' is empty, expecte"),
        (long([0.5, 1.5, 2.5]), "column 'ds' has the type float64, expected an ISO"),
        (long(DAYS.to_period()), "has the type period[D], expected an ISO date"),
        (long([20240101, 20240102, 20240201]), "numbers that look like dates, such as"),
        (
            long([f"2024-01-01 0{n}:00+0{n}:00" for n in range(3)]),
            "row 1: column 'ds' mixes time zones: 2024-01-01 01:00+01:00 and 2024-01-0",
        ),
        (
            other(
                long(HOURS.tz_localize("UTC")), ds=HOURS[3].tz_localize("Asia/Tokyo")
            ),
            "row 3: column 'ds' mixes time zones",
        ),
        (other(long(DAYS), unique_id=None), "row 3: column 'unique_id' is empty, expe"),
        (other(long(DAYS), unique_id=" "), "row 3: column 'unique_id' is empty, expec"),
        (long(DAYS, unique_id=[NAN] * 5), "row 0: column 'unique_id' is empty"),
        (long(DAYS, unique_id=[1, 1, 1, "1", 2]), "has both 1 and '1'; give every val"),
        (other(long(DAYS), y=np.inf), "row 3: column 'y' is inf, expected a finite nu"),
        (long(DAYS, [1, 2, -np.inf, 4, 5]), "row 2: column 'y' is -inf, expected a f"),
        (long(DAYS, unique_id=[("a", 1)] * 5), "column 'unique_id' has lists, expect"),
        (long(DAYS, unique_id=[["a"]] * 5), "column 'unique_id' has lists, expected"),
        (long(DAYS, [[n] for n in range(5)]), "row 0: column 'y' is [0], expected a n"),
        (long(DAYS).drop(columns="ds"), "has no column 'ds'; its columns are unique_"),
        (other(long(DAYS), y="high"), "row 3: column 'y' is 'high', expected a number"),
        (long(DAYS, [None] * 5), "series 'a' has no value of 'y', expected one or"),
        (
            long([*DAYS[:3], pd.Timestamp("2200-01-01")]),
            "row 3: series 'a' goes from 2024-01-03 to 2200-01-01, and has 4 rows for",
        ),
        (
            long(DAYS[:2]),
            "cannot be told from the 2 rows of series 'a', expected three",
        ),
        (
            pd.concat([long(HOURS), long(DAYS[:4], unique_id="b")]),
            "series 'b' has a time every 24 steps of 'h', which series 'a' has; make",
        ),
        (
            pd.concat([long(DAYS), long(HOURS[:4], unique_id="b")]),
            "row 6: series 'b' has the time 2024-01-01 01:00, which is not on the grid "
            "of frequency 'D' from 2024-01-01; the series looks like 'h'; make one",
        ),
        (pd.DataFrame({"ds": DAYS, "y": 1}), "has no column 'unique_id'; its columns"),
        (pl.DataFrame({"a": [1]}).lazy(), "is a LazyFrame, expected a frame of pandas"),
        ([1, 2], "the data is a list, expected a frame of pandas, polars or pyarrow."),
    ],
)
def test_what_is_refused(frame, said):
    if isinstance(frame, pd.DataFrame):
        frame = frame.reset_index(drop=True)
    assert said in refusal(frame)


@pytest.mark.parametrize(
    ("frame", "columns", "frequency", "said"),
    [
        (long(DAYS, s=[*"xxxzx"]), STATIC, None, "row 3: series 'a' has the static co"),
        (long(DAYS, s=[*"xxx", None, "x"]), STATIC, None, "column 's' empty, expected"),
        (long(DAYS, s=None), STATIC, None, "column 's' empty, expected one value"),
        (long(DAYS, s=[1, 1, 1, 1, NAN]), STATIC, None, "row 4: series 'a' has the st"),
        (long(DAYS), None, 1, "the times are dates, but frequency '1' is for whole"),
        (long(range(5)), None, "D", "whole numbers, but frequency 'D' is for dates"),
        (long(DAYS), None, "W-SUN", "row 0: series 'a' has the time 2024-01-01, which"),
        (long(DAYS[:4]), None, "ME", "the series looks like 'D'; set that instead."),
        (long(DAYS).drop(columns="y"), None, None, "has no column 'y'; its columns ar"),
    ],
)
def test_what_options_refuse(frame, columns, frequency, said):
    assert said in refusal(frame, columns, frequency)


def test_names_of_columns():
    with pytest.raises(DataError, match="targets is the text 'y', expected a tuple"):
        PanelColumns(targets="y")  # type: ignore
    with pytest.raises(DataError, match="'y' appears twice"):
        PanelColumns(past=("y",))
    with pytest.raises(DataError, match="targets is empty"):
        PanelColumns(targets=())
    twice = long(DAYS).set_axis(["unique_id", "ds", "ds"], axis=1)
    assert "the column 'ds' twice; rename one." in refusal(twice)


def test_a_frequency_that_is_set_makes_gaps():
    panel = panel_from_frame(long(HOURS[::2]), frequency="h")
    check(panel.series[0], [0, NAN, 1, NAN, 4])


def test_what_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "narwhals", None)
    said = "needs the package narwhals: pip install 'lstm-jax[forecast]'."
    assert said in refusal(long(DAYS))
