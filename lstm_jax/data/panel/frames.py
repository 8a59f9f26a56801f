"""Panels from data frames."""

from typing import Any

from lstm_jax.data.labelled.table import listed
from lstm_jax.data.panel.assemble import assemble
from lstm_jax.data.panel.columns import PanelColumns
from lstm_jax.data.panel.frame_rows import frame_rows
from lstm_jax.data.panel.frequency import Frequency
from lstm_jax.data.panel.packages import need
from lstm_jax.data.panel.series import Panel
from lstm_jax.data.text import DataError


def panel_from_frame(
    frame: Any,
    columns: PanelColumns | None = None,
    frequency: Frequency | str | int | None = None,
) -> Panel:
    """The series of a pandas, polars or pyarrow frame.

    The rules:

    - Series keep the order of their ids. Rows are sorted by time.
    - Missing values stay missing (NaN). Missing steps are added as missing values.
    - Times are dates, ISO texts or whole numbers. Each lies on the grid of the
      frequency, which starts at the first time of its series.
    - Times with a time zone keep it. Frequencies below a day count hours of UTC, so
      that daylight saving makes no gap; days and longer count local days.
    - With `PanelColumns.future`, rows at the end of a series without any target are
      future rows: their covariates are kept, their targets are left out. Otherwise
      they are missing values.
    - White space around ids and times is left out.

    `Panel.notes` says what was sorted, added or found constant.

    Args:
        frame: columns may also be levels of the index of a pandas frame.
        columns: their names; ``None`` is ``PanelColumns()``: ``unique_id``, ``ds``,
            ``y``.
        frequency: of all series; ``None`` tells it from the times.

    Raises:
        DataError: the data cannot be used. The message names the series and the row;
            rows are counted from 0. A column or an id is missing, a time is not on the
            grid or appears twice in its series, time zones are mixed, series have
            different frequencies, a number is infinite or not a number, a static value
            changes, a target of a series has no values, or there are no rows.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": ["a", "a", "b", "a"], "y": [3.0, 1, 5, 2]})
    >>> frame["ds"] = pd.to_datetime(["2024-03-01", "2024-01-01", "2024-01-01",
    ...                               "2024-02-01"])
    >>> panel = panel_from_frame(frame)
    >>> [series.values.tolist() for series in panel], str(panel.frequency)
    ([[1.0, 2.0, 3.0], [5.0]], 'MS')
    """
    columns = columns or PanelColumns()
    frame, index = opened(frame, columns)
    return assemble(frame_rows(frame, columns, index=index), columns, frequency)


def opened(
    frame: Any, columns: PanelColumns, source: str = "the frame"
) -> tuple[Any, tuple[str, ...]]:
    """A frame of narwhals with the columns, and which of them were the index."""
    nw = need("narwhals")
    index = ()
    if nw.dependencies.is_pandas_dataframe(frame):
        levels = [*frame.index.names]
        counted = isinstance(frame.index, need("pandas").RangeIndex)
        if columns.time not in frame.columns and levels == [None] and not counted:
            frame = frame.rename_axis(columns.time)
            levels = [columns.time]
        index = tuple(n for n in levels if n in columns.all and n not in frame.columns)
        frame = frame.reset_index(list(index)) if index else frame
        if not frame.columns.is_unique:
            twice = frame.columns[frame.columns.duplicated()][0]
            raise DataError(f"{source} has the column {twice!r} twice; rename one.")
        _check_columns(columns, [*map(str, frame.columns)], source)
        # Other columns may have names or types that narwhals does not know.
        frame = frame[list(columns.all)]
    try:
        frame = nw.from_native(frame, eager_only=True)
    except TypeError as error:
        collect = "; call .collect() first" if hasattr(frame, "collect") else ""
        raise DataError(
            f"the data is a {type(frame).__qualname__}, expected a frame of pandas, "
            f"polars or pyarrow{collect}."
        ) from error
    _check_columns(columns, frame.columns, source)
    return frame, index


def _check_columns(columns, there, source):
    for name in columns.all:
        if name not in there:
            raise DataError(
                f"{source} has no column {name!r}; its columns are {listed(there)}; "
                f"set PanelColumns to its names."
            )


def with_rows_ahead(frame: Any, ahead: Any, columns: PanelColumns) -> Any:
    """A frame with rows after it that have what is known ahead, and no target.

    Args:
        frame: as of `panel_from_frame`.
        ahead: a frame of the same kind with ids, times and the ``future`` columns.
        columns: their names.

    Raises:
        DataError: a column is missing, no column is known ahead, the frames are of two
            libraries, types do not fit, or a series is not in the data.

    >>> import pandas as pd
    >>> columns = PanelColumns(future=("price",))
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": [1], "y": [2.0], "price": [3.0]})
    >>> ahead = pd.DataFrame({"unique_id": "a", "ds": [2], "price": [4.0]})
    >>> with_rows_ahead(frame, ahead, columns)["y"].tolist()
    [2.0, nan]
    """
    if not columns.future:
        raise DataError(
            "futr_df has rows ahead, and no column is known ahead; name some with "
            "future=, or leave futr_df out."
        )
    nw = need("narwhals")
    keys = PanelColumns(columns.id, columns.time, columns.future)
    rows, _ = opened(ahead, keys, "futr_df")
    before, index = opened(frame, columns)
    if rows.implementation != before.implementation:
        raise DataError(
            f"futr_df is a frame of {rows.implementation}, expected one of "
            f"{before.implementation}, as the data."
        )
    numbers = [nw.col(name).cast(nw.Float64) for name in columns.future]
    try:
        before = before.with_columns(*numbers)
        same = [nw.col(name).cast(before.schema[name]) for name in keys.all]
        rows = rows.select(*keys.all).with_columns(*same)
        if columns.id:
            before, rows = (_without_space(nw, f, columns.id) for f in (before, rows))
            _check_ids(before[columns.id], rows[columns.id])
        if columns.static:
            on = {"on": columns.id, "how": "left"} if columns.id else {"how": "cross"}
            ids = [columns.id] if columns.id else []
            rows = rows.join(before.select(*ids, *columns.static).unique(), **on)
        found = nw.concat([before, rows], how="diagonal").to_native()
    except (nw.exceptions.NarwhalsError, TypeError, ValueError) as error:
        raise DataError(
            f"futr_df does not fit the data: {error}; give its ids, times and numbers "
            f"the types that they have in the data."
        ) from error
    return found.set_index(list(index)) if index else found


def _without_space(nw, frame, name):
    """Ids as the panel has them."""
    if frame.schema[name] != nw.String:
        return frame
    return frame.with_columns(nw.col(name).str.strip_chars())


def _check_ids(known, ids):
    unknown = {*ids.to_list()} - {*known.to_list()}
    if unknown:
        raise DataError(
            f"futr_df has the series {sorted(map(str, unknown))[0]!r}, which the data "
            f"do not have; leave it out."
        )
