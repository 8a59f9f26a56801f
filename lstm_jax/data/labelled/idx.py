"""Images of the MNIST format (idx) as series.

    pixels      one pixel after the other, row by row: T = height * width, D = 1
    permuted    the same pixels in an order drawn from a seed
    rows        one row of pixels after the other: T = height, D = width

Pixel by pixel and permuted: Le, Jaitly & Hinton, "A Simple Way to Initialize Recurrent
Networks of Rectified Linear Units", 2015. The format: LeCun, Cortes & Burges, "The
MNIST database of handwritten digits".
"""

import math
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from lstm_jax.data.labelled.examples import Examples
from lstm_jax.data.labelled.splits import random_order
from lstm_jax.data.text import DataError, read_bytes

Order = Literal["pixels", "permuted", "rows"]

TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
"""The third byte of a file to the type of its numbers."""


def read_idx(path: str | Path) -> np.ndarray:
    """The array of an idx file, or of one compressed by gzip.

    Raises:
        DataError: the file cannot be read, or is not a whole idx file.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels.idx")
    ...     written = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     labels = read_idx(path)
    >>> labels
    array([7, 2, 1], dtype=uint8)
    """
    data = read_bytes(path, str(path))
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES or not data[3]:
        raise DataError(f"{path} is not an idx file; fetch it again.")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataError(f"{path} ends within its first {start} bytes; fetch it again.")
    shape = np.frombuffer(data[4:start], ">u4").tolist()
    dtype = np.dtype(TYPES[data[2]])
    size = start + math.prod(shape) * dtype.itemsize
    if len(data) != size:
        raise DataError(
            f"{path} has {len(data)} bytes, expected {size} for an array of shape "
            f"{tuple(shape)}; fetch it again."
        )
    array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def read_images(
    images: str | Path,
    labels: str | Path | None,
    order: Order = "pixels",
    *,
    seed: int = 0,
) -> Examples:
    """Images as series of pixels from 0 to 1, with the digits as labels.

    Args:
        images: idx file of bytes ``[N, height, width]``.
        labels: idx file of bytes ``[N]``; ``None`` where there are none.
        order: ``pixels``, ``permuted`` or ``rows``.
        seed: of the permutation, which is `random_order` of it; the other orders make
            no use of it.

    Raises:
        DataError: a file cannot be used, or the two differ in number.
        ValueError: ``order`` is none of the three.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "images.idx")
    ...     sizes = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2]
    ...     image = [0, 255, 255, 0]
    ...     written = path.write_bytes(bytes([*sizes, *image]))
    ...     examples = read_images(path, None, "rows")
    >>> examples.sequences[0].tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    if order not in get_args(Order):
        raise ValueError(
            f"order is {order!r}, expected one of {', '.join(get_args(Order))}."
        )
    pixels = read_idx(images)
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise DataError(
            f"{images} has shape {pixels.shape} and dtype {pixels.dtype}, expected "
            f"bytes [N, height, width]."
        )
    count, height, width = pixels.shape
    names = None
    if labels is not None:
        ids = read_idx(labels)
        if ids.shape != (count,) or ids.dtype != np.uint8:
            raise DataError(
                f"{labels} has shape {ids.shape} and dtype {ids.dtype}, expected bytes "
                f"[{count}], one label for each image of {images}."
            )
        names = tuple(map(str, ids.tolist()))
    if order == "rows":
        features = tuple(f"column {n}" for n in range(width))
    else:
        pixels, features = pixels.reshape(count, height * width, 1), ("pixel",)
    if order == "permuted":
        pixels = pixels[:, random_order(height * width, seed)]
    series = pixels.astype(np.float32) / np.float32(255)
    sources = [f"{images}, image {n}" for n in range(count)]
    return Examples(tuple(series), names, sources, features)
