"""Labelled series of real numbers, from files of the user's own.

    table     one CSV or Parquet file with a row for every step:
              id,time,height,weight,label
              a,1,0.5,2.0,up
              a,2,0.7,2.1,up
              b,1,0.1,1.9,down
    NPZ       x [N, T, D] or [N, T], y [N], and lengths [N] unless all steps are real
    folder    index.csv with the columns file and label, and beside it one file for each
              sequence: CSV with the names of the features in the first line and a row
              for every step, or NPY [T, D] or [T]

Sequences may differ in length. Their order is that of the file; no row is dropped.
"""

import os
from pathlib import Path

from lstm_jax.data.labelled.columns import Columns
from lstm_jax.data.labelled.examples import Examples
from lstm_jax.data.labelled.folder import read_folder
from lstm_jax.data.labelled.long_table import series_of_table
from lstm_jax.data.labelled.npz import read_npz
from lstm_jax.data.labelled.table import read_table
from lstm_jax.data.text import DataError


def read_series(path: str | Path, columns: Columns | None = None) -> Examples:
    """Series with a label each, from a table, an NPZ file or a folder.

    Args:
        path: the file or folder; the ending of its name decides what it is: ``.npz``,
            ``.csv``, ``.tsv``, ``.txt``, ``.gz``, ``.parquet`` or ``.pq``.
        columns: names of the columns of a table; ``None`` is `Columns()`. NPZ files
            have none. Of the index of a folder they name the file and the label.

    Returns:
        Sequences ``[T_i, D]``, float32 if their file has no more digits, else float64.

    Raises:
        DataError: the data cannot be used. The message names the file, and the line or
            the sequence: a column or an array is missing, a cell is not a finite
            number, a sequence is empty, features differ in number, a sequence has two
            labels, or the file is no such file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(f"{folder}/a.csv", "w") as file:
    ...         _ = file.write("id,x,label\\na,1,up\\nb,5,down\\na,2,up\\n")
    ...     examples = read_series(f"{folder}/a.csv")
    >>> [x[:, 0].tolist() for x in examples.sequences], examples.labels
    ([[1.0, 2.0], [5.0]], ('up', 'down'))
    """
    path, columns = Path(path), columns or Columns()
    if path.is_dir():
        return read_folder(path, columns)
    name = path.name.lower()
    if name.endswith(".npz"):
        return read_npz(path, columns)
    if name.endswith((".csv", ".tsv", ".txt", ".gz", ".parquet", ".pq")):
        return series_of_table(read_table(path, columns.delimiter), columns)
    if not os.path.lexists(path):
        raise DataError(f"{path} does not exist; name a file or a folder that does.")
    raise DataError(
        f"{path} is not a kind of file that holds series, expected .csv, .tsv, .txt, "
        f".gz, .parquet, .pq or .npz, or a folder with index.csv."
    )
