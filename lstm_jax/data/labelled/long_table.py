"""Series in one table with a row for every step."""

import dataclasses
import json
import shlex

import numpy as np

from lstm_jax.data.labelled.columns import Columns
from lstm_jax.data.labelled.examples import Examples
from lstm_jax.data.labelled.table import Table, listed
from lstm_jax.data.text import DataError


def series_of_table(table: Table, columns: Columns) -> Examples:
    """The series of a table with a row for every step.

    Raises:
        DataError: as `read_series`.
    """
    table = dataclasses.replace(table, trained=columns.trained)
    ids = table.words(columns.sequence, "data.id")
    labels = table.words(columns.label, "data.label") if columns.label else None
    times = table.numbers(columns.time, "data.time") if columns.time else None
    others = {columns.sequence, columns.time, columns.label}
    features = columns.features or tuple(c for c in table.columns if c not in others)
    if not features:
        raise DataError(
            f"{table.path} has no column of features; its columns are "
            f"{listed(table.columns)}; add a column of numbers."
        )
    values = np.stack(_values(table, columns, features), axis=1)
    index = {name: n for n, name in enumerate(dict.fromkeys(ids))}
    codes = np.array([index[name] for name in ids])
    order = np.argsort(codes, kind="stable")
    if times is not None:
        order = np.lexsort((times, codes))
        _check_times(table, columns, ids, codes[order], times[order], order)
    ends = np.cumsum(np.bincount(codes))
    rows = np.split(order, ends[:-1])
    found = None
    if labels is not None:
        found = [_one_label(table, columns, ids, labels, np.sort(at)) for at in rows]
    sources = [f"{table.place(at.min())}, sequence {ids[at[0]]!r}" for at in rows]
    sequences = tuple(values[at] for at in rows)
    return Examples(sequences, found, sources, tuple(features), tuple(index))


def _values(table, columns, features):
    """The columns of the features. Names those to read if others hold text."""
    try:
        return [table.numbers(name, "data.features") for name in features]
    except DataError as error:
        numbers = [name for name in features if table.has_numbers(name)]
        if columns.features or not numbers:
            raise
        key = shlex.quote(f"data.features={json.dumps(numbers, ensure_ascii=False)}")
        said = str(error).removesuffix(".")
        raise DataError(
            f"{said}; or name the columns that are features: {key}."
        ) from error


def _check_times(table, columns, ids, codes, times, order):
    same = np.flatnonzero((codes[1:] == codes[:-1]) & (times[1:] == times[:-1]))
    if same.size:
        first, second = sorted(order[same[0] : same[0] + 2])
        raise DataError(
            f"{table.place(second)}: sequence {ids[second]!r} has {columns.time} "
            f"{times[same[0]]:g} twice, first in {table.places[first]}; give every "
            f"step a time of its own."
        )


def _one_label(table, columns, ids, labels, rows):
    first = labels[rows[0]]
    for row in rows:
        if labels[row] != first:
            raise DataError(
                f"{table.place(row)}: sequence {ids[row]!r} has the label "
                f"{labels[row]!r}, but {first!r} in {table.places[rows[0]]}; give all "
                f"rows of a sequence one {columns.label}."
            )
    return first
