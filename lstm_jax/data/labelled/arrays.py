"""Arrays of numpy files, and as series."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from lstm_jax.data.text import DataError


def load_arrays(path: Path, problem: str) -> np.ndarray | dict[str, np.ndarray]:
    """The array of an NPY file, or the arrays of an NPZ file by name; nothing is
    unpickled.

    Raises:
        DataError: the file cannot be read; the message begins with ``problem``.
    """
    try:
        # Opened here, since numpy leaves a damaged file open.
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise DataError(f"{problem}: {reason.rstrip('.')}.") from error


def as_series(array: np.ndarray, source: str) -> np.ndarray:
    """``[T, D]`` or ``[T]`` as floats ``[T, D]``.

    Raises:
        DataError: it is empty, not of real numbers, or has a value that is not finite.
    """
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2):
        raise DataError(
            f"{source} has shape {array.shape} and dtype {array.dtype}, expected real "
            f"numbers [T, D] or [T]."
        )
    array = array[:, None] if array.ndim == 1 else array
    if not array.size:
        raise DataError(
            f"{source} is empty (shape {array.shape}), expected one step or more; "
            f"remove it."
        )
    small = np.can_cast(array.dtype, np.float32)
    array = array.astype(np.float32 if small else np.float64)
    if not (finite := np.isfinite(array)).all():
        step, feature = np.argwhere(~finite)[0]
        raise DataError(
            f"{source}: step {step}, feature {feature} is {array[step, feature]}, "
            f"expected a finite number."
        )
    return array
