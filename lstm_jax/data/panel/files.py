"""Panels from files."""

from pathlib import Path

import numpy as np

from lstm_jax.data.labelled.table import read_table
from lstm_jax.data.panel.assemble import assemble
from lstm_jax.data.panel.cells import distinct, numbers
from lstm_jax.data.panel.columns import PanelColumns
from lstm_jax.data.panel.frame_rows import frame_rows
from lstm_jax.data.panel.frames import opened
from lstm_jax.data.panel.frequency import Frequency
from lstm_jax.data.panel.giving import Giving
from lstm_jax.data.panel.packages import need
from lstm_jax.data.panel.rows import Rows
from lstm_jax.data.panel.series import Panel
from lstm_jax.data.panel.times import WHOLE, read_times
from lstm_jax.data.text import DataError
from lstm_jax.files import open_regular


def read_panel(
    path: str | Path,
    columns: PanelColumns | None = None,
    frequency: Frequency | str | int | None = None,
    delimiter: str = ",",
) -> Panel:
    """The series of a CSV file, also compressed by gzip, or a Parquet file.

    The rules are those of `panel_from_frame`. Empty cells, and texts such as ``NaN``
    and ``NA``, are missing values. Ids that are all whole numbers become numbers.

    Args:
        path: a name that ends in ``.parquet`` or ``.pq`` is Parquet, any other CSV.
        columns: their names; ``None`` is ``PanelColumns()``.
        frequency: of all series; ``None`` tells it from the times.
        delimiter: of the cells of CSV.

    Raises:
        DataError: the file cannot be read, or as `panel_from_frame`. The message names
            the line of CSV; rows of Parquet are counted from 1.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(f"{folder}/a.csv", "w") as file:
    ...         _ = file.write("date,x\\n2024-01-01,3\\n2024-01-02,\\n2024-01-03,5\\n")
    ...     panel = read_panel(f"{folder}/a.csv", PanelColumns(None, "date", ("x",)))
    >>> panel.series[0].name, panel.series[0].values.tolist(), str(panel.frequency)
    ('x', [3.0, nan, 5.0], 'D')
    """
    columns = columns or PanelColumns()
    if len(delimiter) != 1:
        raise DataError(f"delimiter is {delimiter!r}, expected one character.")
    if str(path).lower().endswith((".parquet", ".pq")):
        place = lambda row: f"{path}, row {row + 1}"
        frame, _ = opened(_parquet(path), columns, str(path))
        return assemble(frame_rows(frame, columns, place), columns, frequency)
    return assemble(_csv_rows(path, columns, delimiter), columns, frequency)


def _parquet(path):
    try:
        parquet = need("pyarrow.parquet")
        # Open files never follow the name of a folder or an address.
        with open_regular(path) as file:
            return parquet.read_table(file)
    except DataError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # Arrow's have all kinds
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise DataError(
            f"{path} cannot be read as Parquet: {reason.rstrip('.')}."
        ) from error


def _csv_rows(path, columns, delimiter):
    table = read_table(path, delimiter)
    place, count = table.place, len(table)

    def block(names, option):
        found = [numbers(table.column(name, option), name, place) for name in names]
        return np.stack(found, axis=1) if names else np.zeros((count, 0))

    codes, names, ids = np.zeros(count, np.int64), ("",), None
    if columns.id is not None:
        cells = table.column(columns.id, "id")
        codes, names = distinct(np.array(cells, object), columns.id, place)
        whole = all(WHOLE.fullmatch(n) and str(int(n)) == n for n in names)
        ids = np.array(names).astype(np.int64 if whole else str)
    times = table.words(columns.time, "time")
    times, zone, style = read_times(times, columns.time, place)
    return Rows(
        codes=codes,
        names=names,
        times=times,
        zone=zone,
        targets=block(columns.targets, "targets"),
        past=block(columns.past, "past"),
        future=block(columns.future, "future"),
        static=tuple(_static(table.column(n, "static")) for n in columns.static),
        place=place,
        giving=Giving(None, ids, style),
    )


def _static(cells):
    """Numbers if all of them are, else texts."""
    try:
        return np.array(cells, np.float64)
    except ValueError:
        return np.array([cell.strip() for cell in cells], object)
