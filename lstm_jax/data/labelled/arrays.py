"""Arrays of numpy files, and as series."""

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from lstm_jax.data.text import GZIP_BYTES, GZIP_RATIO, DataError
from lstm_jax.files import open_regular


def load_arrays(path: Path, problem: str) -> np.ndarray | dict[str, np.ndarray]:
    """The array of an NPY file, or the arrays of an NPZ file by name; nothing is
    unpickled.

    Raises:
        DataError: the file cannot be read, or unpacks to more than `GZIP_BYTES` and
            `GZIP_RATIO` times its size; the message begins with ``problem``.
    """
    try:
        # Opened here, since numpy leaves a corrupt file open.
        with open_regular(path) as file:
            if zipfile.is_zipfile(file):
                _check_unpacked(file)
            file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except MemoryError as error:
        raise DataError(f"{problem}: it is too large for the memory.") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise DataError(f"{problem}: {reason.rstrip('.')}.") from error


def _check_unpacked(file):
    """Raises ValueError where an archive is small and what is in it is not."""
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > (most := max(GZIP_BYTES, GZIP_RATIO * size)):
        raise ValueError(
            f"it has {size:,} bytes that unpack to {unpacked:,}, expected at most "
            f"{most:,}; write it with np.savez if that is right"
        )


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
