"""The rows of a data frame; narwhals reads the frames of pandas, polars and pyarrow."""

import dataclasses
import datetime
from typing import Any

import numpy as np

from lstm_jax.data.panel.cells import Place, distinct, finite, numbers
from lstm_jax.data.panel.columns import PanelColumns
from lstm_jax.data.panel.giving import Giving, TimeStyle
from lstm_jax.data.panel.packages import need
from lstm_jax.data.panel.rows import Rows, first_rows, missing
from lstm_jax.data.panel.times import EXPECTED, check_numbers, mixed, read_times
from lstm_jax.data.text import DataError


def frame_rows(
    frame: Any,
    columns: PanelColumns,
    place: Place = "row {}".format,
    index: tuple[str, ...] = (),
) -> Rows:
    """The rows of a frame of narwhals."""
    if not len(frame):
        raise DataError("the frame has no rows, expected one or more.")

    def block(names):
        found = [_numbers(frame[name], name, place) for name in names]
        return np.stack(found, axis=1) if names else np.zeros((len(frame), 0))

    codes, names, ids = np.zeros(len(frame), np.int64), ("",), None
    if columns.id is not None:
        codes, ids = distinct(frame[columns.id].to_numpy(), columns.id, place)
        names = tuple(map(str, ids))
        ids = _kept(frame[columns.id], first_rows(codes, len(names)))
    times, zone, style = _times(frame[columns.time], columns.time, place)
    return Rows(
        codes,
        names,
        times,
        zone,
        block(columns.targets),
        block(columns.past),
        block(columns.future),
        tuple(_static(frame[name]) for name in columns.static),
        place,
        Giving(frame.implementation, ids, style, index),
    )


def _kept(series, rows):
    """Some cells of a column, as they are but for white space."""
    nw = need("narwhals")
    kept = series[rows]
    return kept.str.strip_chars() if kept.dtype == nw.String else kept


def _numbers(series, name, place):
    nw = need("narwhals")
    dtype = series.dtype
    if dtype.is_numeric() or dtype == nw.Boolean:
        found = np.array(series.cast(nw.Float64).to_numpy(), np.float64)
        return finite(found, name, place)
    return numbers(series.to_list(), name, place)


def _static(series):
    if series.dtype.is_numeric():
        return np.array(series.cast(need("narwhals").Float64).to_numpy(), np.float64)
    cells = series.to_list()
    return np.array([None if missing(c) else str(c).strip() for c in cells], object)


def _times(series, name, place):
    times, zone, style = _read(series, name, place)
    native = series.to_native()
    dtype = native.type if series.implementation.is_pyarrow() else native.dtype
    if str(dtype) == "object" and style.kind == "datetime":
        dtype = times.dtype if zone is None else f"datetime64[us, {zone}]"
    return times, zone, dataclasses.replace(style, dtype=dtype)


def _read(series, name, place):
    nw = need("narwhals")
    dtype = series.dtype
    if dtype == nw.Object:
        return _object_times(series, name, place)
    _check_present(series.is_null().to_numpy(), name, place)
    if dtype.is_integer():
        times = series.cast(nw.Int64).to_numpy()
        check_numbers(times, name)
        return times, None, TimeStyle("integer")
    if dtype == nw.String or dtype == nw.Categorical:
        cells = series.cast(nw.String).to_list()
        blank = np.array([not cell.strip() for cell in cells])
        _check_present(blank, name, place)
        return read_times(cells, name, place)
    if dtype == nw.Date:
        days = series.cast(nw.Datetime("us")).to_numpy()
        return days.astype("datetime64[us]"), None, TimeStyle("datetime")
    if series.implementation.is_pandas():
        return _pandas_times(series.to_native(), name, place)
    if dtype == nw.Datetime:
        zone = dtype.time_zone
        if zone is not None:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        times = _microseconds(series.to_numpy(), name, place)
        return times, zone, TimeStyle("datetime")
    raise _no_times(name, dtype)


def _pandas_times(series, name, place):
    """narwhals does not see America/New_York and other zones that have a sign."""
    pandas = need("pandas")
    if not pandas.api.types.is_datetime64_any_dtype(series.dtype):
        raise _no_times(name, series.dtype)
    index = pandas.DatetimeIndex(series)
    zone = None if index.tz is None else str(index.tz)
    times = index if zone is None else index.tz_convert(None)
    times = _microseconds(times.to_numpy(), name, place)
    return times, zone, TimeStyle("datetime")


def _no_times(name, dtype):
    return DataError(f"column {name!r} has the type {dtype}, {EXPECTED}; convert it.")


def _object_times(series, name, place):
    """Of pandas: texts, dates, or times of several zones."""
    cells = series.to_list()
    _check_present(np.array([missing(cell) for cell in cells]), name, place)
    if all(isinstance(cell, str) for cell in cells):
        return read_times(cells, name, place)
    for row, cell in enumerate(cells):
        if not isinstance(cell, datetime.date):
            raise DataError(f"{place(row)}: column {name!r} is {cell!r}, {EXPECTED}.")
    zones = [getattr(cell, "tzinfo", None) for cell in cells]
    odd = [row for row, zone in enumerate(zones) if zone != zones[0]]
    if odd:
        raise mixed(f"{place(odd[0])}: ", name, cells[odd[0]], cells[0])
    dates = need("pandas").to_datetime(need("pandas").Series(cells))
    return _read(need("narwhals").from_native(dates, series_only=True), name, place)


def _check_present(blank, name, place):
    if blank.any():
        raise DataError(
            f"{place(int(blank.argmax()))}: column {name!r} is empty, expected a time "
            f"in every row."
        )


def _microseconds(times, name, place):
    whole = times.astype("datetime64[us]")
    finer = whole != times
    if finer.any():
        row = int(finer.argmax())
        raise DataError(
            f"{place(row)}: column {name!r} is {times[row]}, expected whole "
            f"microseconds; round the times."
        )
    return whole
