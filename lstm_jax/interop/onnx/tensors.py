"""Reads one tensor of an ONNX file, stored inside the file or next to it."""

import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from lstm_jax.interop.errors import InteropError, UnsupportedError

EXTERNAL = 1  # TensorProto.EXTERNAL

DTYPES = {1: "f4", 6: "i4", 7: "i8", 9: "?", 10: "f2", 11: "f8", 16: jnp.bfloat16}
"""Maps ``TensorProto.DataType`` to the dtype, for weights, axes, lengths and flags."""

_FIELDS = {1: "float_data", 7: "int64_data", 11: "double_data"}
_FIELDS |= dict.fromkeys((6, 9, 10, 16), "int32_data")


def nbytes_of(tensor):
    """The bytes that a tensor claims to have; nothing is allocated yet."""
    if tensor.data_type not in DTYPES:
        raise UnsupportedError(
            f"tensor {tensor.name!r} has data type {tensor.data_type}, expected floats "
            f"or integers of 32 or 64 bits, or floats of 16."
        )
    if len(tensor.dims) > 8 or not all(0 <= size < 2**31 for size in tensor.dims):
        raise InteropError(f"tensor {tensor.name!r} has dims {list(tensor.dims)}.")
    size = math.prod(tensor.dims)
    return size * np.dtype(DTYPES[tensor.data_type]).itemsize


def array_of(tensor: Any, folder: Path | None) -> np.ndarray:
    """The numbers of a tensor; raises an error unless all of them are present.

    Raises:
        InteropError: there are more or fewer numbers than ``dims`` says, or they are
            outside the folder of the file.
    """
    dtype, nbytes = np.dtype(DTYPES.get(tensor.data_type, "f4")), nbytes_of(tensor)
    if tensor.data_location == EXTERNAL:
        data = _external(tensor, folder, nbytes)
    elif tensor.HasField("raw_data"):
        data = tensor.raw_data
    else:
        numbers = getattr(tensor, _FIELDS[tensor.data_type])
        if len(numbers) * dtype.itemsize != nbytes:
            raise _wrong_size(tensor, len(numbers) * dtype.itemsize, nbytes)
        return _from_fields(tensor, numbers, dtype).reshape(tuple(tensor.dims))
    if len(data) != nbytes:
        raise _wrong_size(tensor, len(data), nbytes)
    return np.frombuffer(data, dtype).reshape(tuple(tensor.dims))


def _from_fields(tensor, numbers, dtype):
    """Numbers that are not raw. 16-bit floats are stored as integers."""
    field = _FIELDS[tensor.data_type]
    wide = {"float_data": "f4", "double_data": "f8", "int64_data": "i8"}
    array = np.fromiter(numbers, wide.get(field, "i4"), len(numbers))
    if field == "int32_data" and dtype.itemsize == 2:
        return array.astype(np.uint16).view(dtype)
    return array.astype(dtype)


def _wrong_size(tensor, came, expected):
    return InteropError(
        f"tensor {tensor.name!r} has {came:,} bytes, expected {expected:,} for dims "
        f"{list(tensor.dims)}."
    )


def _external(tensor, folder, nbytes):
    """Bytes of another file, which must be in the folder of the model or deeper."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise InteropError(
            f"tensor {tensor.name!r} lies in another file, {location!r}, expected a "
            f"path in the place of bytes."
        )
    try:
        root, path = folder.resolve(), (folder / location).resolve()
        inside = path.is_relative_to(root) and not Path(location).is_absolute()
        offset = int(entries.get("offset", 0))
        if not inside or not path.is_file() or offset < 0:
            raise InteropError(
                f"tensor {tensor.name!r} lies in {location!r} from {offset}, expected "
                f"a file in the folder of the model."
            )
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(nbytes)
    except (OSError, ValueError, OverflowError) as error:
        if isinstance(error, InteropError):
            raise
        raise InteropError(
            f"tensor {tensor.name!r} cannot be read from {location!r}: {error}."
        ) from error
