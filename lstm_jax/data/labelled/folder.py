"""Series with a file each, and an index of their labels."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from lstm_jax.data.labelled.arrays import as_series, load_arrays
from lstm_jax.data.labelled.columns import Columns
from lstm_jax.data.labelled.examples import Examples
from lstm_jax.data.labelled.table import listed, read_table
from lstm_jax.data.text import DataError, counted


def read_folder(folder: Path, columns: Columns) -> Examples:
    """The series of the files that ``index.csv`` in a folder names.

    Raises:
        DataError: as `read_series`.
    """
    if not os.path.lexists(folder / "index.csv"):
        needed = f"the column {columns.file}"
        if columns.label:
            needed = f"the columns {columns.file} and {columns.label}"
        raise DataError(
            f"{folder} is a folder without index.csv, expected an index.csv with "
            f"{needed} and a row for each file of the folder; add it, or name a single "
            f"file instead of the folder."
        )
    index = read_table(folder / "index.csv", columns.delimiter)
    names = _files(index, columns)
    labels = index.words(columns.label, "data.label") if columns.label else None
    sequences, features = [], None
    for row, name in enumerate(names):
        place = f"{index.place(row)}: file {name!r}"
        series, own = _read_one(folder / name, columns, place)
        if features is not None and own != features:
            raise DataError(
                f"{place} has {counted(len(own), 'feature')} ({listed(own)}), expected "
                f"the {len(features)} of {names[0]!r} ({listed(features)}), in this "
                f"order."
            )
        features = own
        sequences.append(series)
    dtype = np.result_type(*sequences)
    places = zip(map(index.place, range(len(names))), names, strict=True)
    return Examples(
        tuple(series.astype(dtype) for series in sequences),
        labels,
        [f"{place}: file {name!r}" for place, name in places],
        features or (),
        tuple(names),
    )


def _files(index, columns):
    if columns.file not in index.columns:
        raise DataError(
            f"{index.path} has no column {columns.file!r}; its columns are "
            f"{listed(index.columns)}; rename the one with the names of the files."
        )
    return index.words(columns.file, "file")


def _read_one(path, columns, place):
    """One sequence of a folder, and the names of its features."""
    if path.suffix.lower() == ".npy":
        array = load_arrays(path, f"{place} cannot be read as NPY")
        if isinstance(array, dict):
            raise DataError(f"{place} is NPZ, expected one array; use np.save.")
        series = as_series(array, place)
        return series, tuple(f"x{d}" for d in range(series.shape[1]))
    if path.suffix.lower() != ".csv":
        raise DataError(f"{place} is not .csv or .npy; convert it to one of them.")
    table = read_table(path, columns.delimiter)
    table = dataclasses.replace(table, trained=columns.trained)
    features = columns.features or tuple(table.columns)
    values = [table.numbers(name, "data.features") for name in features]
    return np.stack(values, axis=1), features
