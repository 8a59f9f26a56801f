"""A table with named columns, from CSV or Parquet."""

import csv
import dataclasses
import difflib
import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.data.labelled.lines import read_lines
from lstm_jax.data.text import DataError, counted
from lstm_jax.files import open_regular

SHOWN = 20
"""So many columns are named in an error."""

DELIMITERS = ",;\t|"
"""Looked for if the first line of a CSV file lacks the delimiter that is set."""


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length, and where each row stands in its file."""

    path: str
    columns: dict[str, list[Any]]
    places: Sequence[str]
    """Of the rows, such as ``line 7``."""
    trained: bool = False
    """Whether a model was trained with the columns that are asked for."""

    def __len__(self):
        return len(self.places)

    def place(self, row: int) -> str:
        """The file and the line of a row, for errors."""
        return f"{self.path}, {self.places[row]}"

    def column(self, name: str, option: str) -> list[Any]:
        """The cells of a column.

        Args:
            option: the config key that names this column, such as ``data.id``.

        Raises:
            DataError: there is no such column.
        """
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            advice = f"set {option} to one of them"
            if self.trained:
                advice = "the run was trained with this column; add it, or rename one"
            raise DataError(
                f"{self.path} has no column {name!r}{hint}; its columns are "
                f"{listed(self.columns)}; {advice}."
            )
        return self.columns[name]

    def words(self, name: str, option: str) -> list[str]:
        """The cells of a column as text without white space at its ends.

        Raises:
            DataError: there is no such column, or a cell is empty.
        """
        words = ["" if c is None else str(c).strip() for c in self.column(name, option)]
        if "" in words:
            raise DataError(
                f"{self.place(words.index(''))}: column {name!r} is empty, expected a "
                f"value in every row; fill it in, or remove the row."
            )
        return words

    def numbers(self, name: str, option: str) -> np.ndarray:
        """The cells of a column as float64 ``[N]``.

        Raises:
            DataError: there is no such column, or a cell is not a finite number.
        """
        cells = self.column(name, option)
        try:
            numbers = np.array(cells, np.float64)
        except (TypeError, ValueError, OverflowError):
            numbers = None
        if numbers is not None and np.isfinite(numbers).all():
            return numbers
        for row, cell in enumerate(cells):
            try:
                fine = math.isfinite(float(cell))
            except (TypeError, ValueError, OverflowError):
                fine = False
            if not fine:
                blank = cell is None or not str(cell).strip()
                came = "empty" if blank else repr(cell)
                raise DataError(
                    f"{self.place(row)}: column {name!r} is {came}, expected a finite "
                    f"number; {_advice(cell, blank)}."
                )
        return np.array([float(cell) for cell in cells])

    def has_numbers(self, name: str) -> bool:
        """Whether all cells of a column are finite numbers."""
        try:
            self.numbers(name, "")
        except DataError:
            return False
        return True


def _advice(cell, blank):
    """What to do with a cell that is not a number."""
    if blank:
        return "fill it in, or remove the row"
    try:
        float(str(cell).replace(",", "."))
    except ValueError:
        return "correct it, or remove the row"
    if "," in str(cell):
        return f"write {str(cell).replace(',', '.')} with a point"
    return "correct it, or remove the row"


def read_table(path: str | Path, delimiter: str = ",") -> Table:
    """The table of a Parquet file if the name ends so, or else of a CSV file.

    Parquet needs pyarrow: ``pip install 'lstm-jax[data]'``. A CSV file names its
    columns in the first line and may be compressed by gzip. Blank lines are no rows.
    If the first line lacks ``delimiter`` but has a comma, a semicolon, a tab or ``|``,
    that one counts.

    Raises:
        DataError: the file cannot be used; the message names the line.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "table.csv")
    ...     with path.open("w") as file:
    ...         print("id;x", "a;0.5", "a;0.7", sep=chr(10), file=file)
    ...     table = read_table(path)
    >>> [*table.columns]
    ['id', 'x']
    """
    if str(path).lower().endswith((".parquet", ".pq")):
        return _read_parquet(path)
    return _read_csv(path, delimiter)


def _read_csv(path, delimiter):
    lines = read_lines(path)
    delimiter = _delimiter(next(filter(str.strip, lines)), delimiter)
    if plain := _plain(lines, delimiter):
        names, columns = plain
        _check_names(path, names)
        places = [f"line {n}" for n in range(2, len(lines) + 1)]
        return Table(str(path), dict(zip(names, columns, strict=True)), places)
    ended = (line + "\n" for line in lines)
    reader = csv.reader(ended, delimiter=delimiter, strict=True)
    rows, places, before = [], [], 0
    try:
        for row in reader:
            if row:
                rows.append(row)
                places.append(f"line {before + 1}")
            before = reader.line_num
    except csv.Error as error:
        raise DataError(
            f"{path}, line {before + 1}: {error}, expected a row of CSV; put quotes "
            f"around cells with delimiters or line ends, and double quotes inside."
        ) from error
    names = [name.strip() for name in rows[0]]
    _check_names(path, names)
    if len(rows) == 1:
        raise DataError(f"{path} has the names of columns but no rows.")
    for row, place in zip(rows, places, strict=True):
        if len(row) != len(names):
            raise DataError(
                f"{path}, {place}: found {counted(len(row), 'cell')}, expected "
                f"{len(names)}, one for each of {listed(names)}; correct the line."
            )
    cells = zip(*rows[1:], strict=True)
    columns = dict(zip(names, map(list, cells), strict=True))
    return Table(str(path), columns, places[1:])


def _plain(lines, delimiter):
    """The names and the columns of lines without quotes or faults, else None.

    Splitting them all at once is three times as fast as reading rows, and leaves no
    lists of rows to the garbage collector, which took longer than that.
    """
    width = lines[0].count(delimiter) + 1
    if min(width, len(lines)) < 2 or max(map(len, lines)) > csv.field_size_limit():
        return None
    if {line.count(delimiter) for line in lines} != {width - 1}:
        return None
    text = delimiter.join(lines)
    if '"' in text or "\r" in text:
        return None
    cells = text.split(delimiter)
    names = [name.strip() for name in cells[:width]]
    return names, [cells[width + n :: width] for n in range(width)]


def _delimiter(line, delimiter):
    """The delimiter of a first line: the one that is set, or the most frequent one."""
    found = max(DELIMITERS, key=line.count)
    return found if delimiter not in line and found in line else delimiter


def _read_parquet(path):
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise DataError(
            f"{path} needs the package pyarrow: pip install 'lstm-jax[data]'."
        ) from error
    try:
        # Open files never follow the name of a folder or an address.
        with open_regular(path) as file:
            table = parquet.read_table(file)
    except (OSError, ValueError, RuntimeError) as error:  # Arrow's have all kinds
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise DataError(
            f"{path} cannot be read as Parquet: {reason.rstrip('.')}."
        ) from error
    _check_names(path, table.column_names)
    if not len(table):
        raise DataError(f"{path} has no rows.")
    columns = {name: table[name].to_pylist() for name in table.column_names}
    return Table(str(path), columns, [f"row {n}" for n in range(1, len(table) + 1)])


def _check_names(path, names):
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or "" in names:
        problem = f"the column {twice[0]!r} twice" if twice else "a column without name"
        raise DataError(f"{path} has {problem}; give every column a name of its own.")


def listed(names: Sequence[str] | dict[str, Any]) -> str:
    """Names in a sentence; of many the first ones."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
