"""Files of tensors: ``.safetensors``, ``.npz`` without pickle, ``.pt`` of weights only.

Files come from anywhere. Memory stays within what `bound` allows for their size, and
whatever is wrong ends in one `InteropError`.
"""

import io
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.pt import read_pt, write_pt
from lstm_jax.interop.tensors import flatten

LARGEST_HEADER = 16 * 2**20
"""Bytes of names and shapes in a ``.safetensors`` file."""


def bound(size: int) -> int:
    """Bytes that the tensors of a file of ``size`` bytes may take.

    More than the file, since an ``.npz`` may be compressed and tensors of a ``.pt`` may
    share memory; but not so much more that a small file could fill the machine.
    """
    return max(2**28, 4 * size)


def read_tensors(path: str | Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The tensors of a file whose names begin with ``prefix``, without it.

    The ending of the file tells its format. A slash in a name is read as a dot, as in
    `lstm_jax.interop.tensors.flatten`.

    Raises:
        InteropError: the file cannot be read, is damaged, would take far more memory
            than it has bytes, or holds something else than tensors of numbers.
    """
    path = Path(path)
    read = _format(path).read
    try:
        size = path.stat().st_size
        return flatten(read(path, prefix, bound(size)), prefix)
    except InteropError as error:
        raise InteropError(f"{path}: {error}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InteropError(f"{path} cannot be read: {reason}.") from error
    except ModuleNotFoundError as error:
        raise InteropError(
            f"{path} needs {error.name}; pip install 'lstm-jax[torch]'."
        ) from error
    except Exception as error:
        # The libraries below have no common error for a damaged file.
        said = str(error).partition("\n")[0][:200]
        raise InteropError(
            f"{path} is damaged: {said or type(error).__name__}."
        ) from error


def write_tensors(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a new file in the format of its ending; half a file is never left.

    Raises:
        InteropError: the file is there already, or cannot be written, or its format
            has no such dtype.
    """
    path = Path(path)
    write = _format(path).write
    try:
        with path.open("xb") as file:
            try:
                write(file, tensors)
            except BaseException:
                os.unlink(path)
                raise
    except FileExistsError as error:
        raise InteropError(f"{path} is there already; name a new file.") from error
    except OSError as error:
        raise InteropError(f"{path} cannot be written: {error.strerror}.") from error
    except ModuleNotFoundError as error:
        raise InteropError(
            f"{path} needs {error.name}; pip install 'lstm-jax[torch]'."
        ) from error


def write_new(path: str | Path, data: bytes) -> None:
    """Writes a new file of any bytes; raises as `write_tensors`."""
    path = Path(path)
    try:
        with path.open("xb") as file:
            try:
                file.write(data)
            except BaseException:
                os.unlink(path)
                raise
    except FileExistsError as error:
        raise InteropError(f"{path} is there already; name a new file.") from error
    except OSError as error:
        raise InteropError(f"{path} cannot be written: {error.strerror}.") from error


def _format(path):
    if path.suffix not in FORMATS:
        raise InteropError(
            f"{path} ends in {path.suffix!r}, expected one of {', '.join(FORMATS)}."
        )
    return FORMATS[path.suffix]


# .safetensors


def _read_safetensors(path, prefix, limit):
    from safetensors import safe_open

    with path.open("rb") as file:
        start = file.read(8)
    header = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if header > LARGEST_HEADER:
        raise InteropError(
            f"the header has {header} bytes, expected {LARGEST_HEADER} at most."
        )
    with safe_open(path, framework="np") as file:
        return {
            name: file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118, it is no dict
            if name.replace("/", ".").startswith(prefix)
        }


def _write_safetensors(file, tensors):
    from safetensors.numpy import save

    # It writes the memory as it lies, whatever the strides.
    file.write(save({name: np.asarray(a, order="C") for name, a in tensors.items()}))


# .npz


def _read_npz(path, prefix, limit):
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if not name.replace("/", ".").startswith(prefix):
                continue
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InteropError(f"{name} is compressed in a way numpy does not use.")
            limit -= member.file_size
            if limit < 0:
                raise InteropError(
                    "the tensors would take far more memory than the file has bytes; "
                    "save it without compression."
                )
            if name in arrays:
                raise InteropError(f"{name} is there twice.")
            with archive.open(member) as file:
                arrays[name] = _read_npy(file, name, member.file_size)
    return arrays


def _read_npy(file, name, size):
    """One array; its memory is taken only once its size is that of the member."""
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise InteropError(f"{name} is of version {version} of numpy's format.")
    shape, fortran, dtype = readers[version](file)
    if dtype.hasobject:
        raise InteropError(f"{name} holds pickled Python objects, which are not read.")
    if dtype.names or dtype.subdtype or not dtype.itemsize or min(shape, default=1) < 0:
        raise InteropError(f"{name} is of {dtype}, expected numbers.")
    count = 1
    for n in shape:
        count *= n
    if file.tell() + count * dtype.itemsize != size:
        raise InteropError(
            f"{name} has {size - file.tell()} bytes of numbers, expected "
            f"{count * dtype.itemsize} for shape {shape} of {dtype}."
        )
    # A number of bytes to read, since the archive may unpack to more than it says.
    array = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return array.reshape(shape, order="F" if fortran else "C").copy()


def _write_npz(file, tensors):
    for name, array in tensors.items():
        if array.dtype.kind == "V":
            raise InteropError(
                f"{name} is {array.dtype.name}, which .npz cannot hold; write "
                f".safetensors."
            )
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in tensors.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, array, allow_pickle=False)
            archive.writestr(f"{name}.npy", data.getvalue())


class _Format:
    """How to read and to write the files of one ending."""

    def __init__(
        self,
        read: Callable[[Path, str, int], Mapping[str, Any]],
        write: Callable[[BinaryIO, Mapping[str, np.ndarray]], None],
    ):
        self.read, self.write = read, write


FORMATS = {
    ".safetensors": _Format(_read_safetensors, _write_safetensors),
    ".npz": _Format(_read_npz, _write_npz),
    ".pt": _Format(read_pt, write_pt),
    ".pth": _Format(read_pt, write_pt),
}
"""Every ending that is known."""
