"""Series of an NPZ file: x [N, T, D] or [N, T], y [N], and perhaps lengths [N]."""

from pathlib import Path

import numpy as np

from lstm_jax.data.labelled.arrays import as_series, load_arrays
from lstm_jax.data.labelled.columns import Columns
from lstm_jax.data.labelled.examples import Examples
from lstm_jax.data.labelled.table import listed
from lstm_jax.data.text import DataError


def read_npz(path: Path, columns: Columns) -> Examples:
    """The series of an NPZ file.

    Raises:
        DataError: as `read_series`.
    """
    arrays = load_arrays(path, f"{path} cannot be read as NPZ")
    if isinstance(arrays, np.ndarray):
        raise DataError(
            f"{path} has a single array without a name, expected x and y; write them "
            f"with np.savez(path, x=x, y=y)."
        )
    x = _array(path, arrays, "x")
    if x.ndim not in (2, 3) or not len(x):
        raise DataError(
            f"{path}: x has shape {x.shape}, expected [N, T, D] or [N, T] with one "
            f"sequence or more."
        )
    count, steps = x.shape[:2]
    sources = [f"{path}, sequence {n}" for n in range(count)]
    lengths = np.full(count, steps)
    if "lengths" in arrays:
        lengths = arrays["lengths"]
        _check_vector(path, "lengths", lengths, count, "iu")
        wrong = (lengths < 0) | (lengths > steps)
        if wrong.any():
            raise DataError(
                f"{path}: lengths[{wrong.argmax()}] is {lengths[wrong.argmax()]}, "
                f"expected 1 to {steps}, the steps of x."
            )
    rows = (row[:n] for row, n in zip(x, lengths.tolist(), strict=True))
    sequences = tuple(map(as_series, rows, sources))
    labels = None
    if columns.label is not None:
        y = _array(path, arrays, "y")
        _check_vector(path, "y", y, count, "biuU")
        labels = tuple(str(name) for name in y.tolist())
    features = tuple(f"x{d}" for d in range(sequences[0].shape[1]))
    return Examples(sequences, labels, sources, features)


def _array(path, arrays, name):
    if name not in arrays:
        raise DataError(
            f"{path} has no array {name!r}, expected x, y and perhaps lengths; its "
            f"arrays are {listed(arrays)}."
        )
    return arrays[name]


def _check_vector(path, name, array, count, kinds):
    if array.shape != (count,) or array.dtype.kind not in kinds:
        what = "whole numbers" + (" or names" if "U" in kinds else "")
        raise DataError(
            f"{path}: {name} has shape {array.shape} and dtype {array.dtype}, expected "
            f"{what} [{count}], one for each sequence of x."
        )
