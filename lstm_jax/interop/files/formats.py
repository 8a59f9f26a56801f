"""Files of tensors: ``.safetensors``, ``.npz``, ``.pt`` and others; see `FORMATS`.

Files may come from anywhere. Nothing in them is run or unpickled. The memory stays
within `bound` of the file size. Every fault raises one `InteropError`.
"""

import contextlib
import dataclasses
import functools
import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from lstm_jax.files import writing
from lstm_jax.interop.errors import InteropError, first_line
from lstm_jax.interop.files.keras_file import open_h5, open_keras
from lstm_jax.interop.files.pt import open_pt, write_pt
from lstm_jax.interop.weights.entries import (
    TOO_LARGE,
    Budget,
    Entries,
    Entry,
    by_dots,
    entry,
    nothing,
)
from lstm_jax.interop.weights.tensors import numpy_array

LARGEST_HEADER = 16 * 2**20
"""The most bytes of names and shapes in a ``.safetensors`` file."""


def bound(size: int) -> int:
    """The most bytes that the tensors of a file of ``size`` bytes may take.

    It is more than the file size, because an ``.npz`` may be compressed and tensors of
    a ``.pt`` may share memory. It is limited, so that a small file cannot fill the
    memory.
    """
    return max(2**28, 4 * size)


def read_tensors(path: str | Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The tensors of a file whose names start with ``prefix``, which is removed.

    The file ending decides the format. A slash in a name becomes a dot, as in
    ``lstm_jax.interop.weights.tensors.flatten``.

    Raises:
        InteropError: the file cannot be read, is corrupt, would take far more memory
            than its size, or contains something other than tensors of numbers.

    >>> import tempfile, numpy as np
    >>> from lstm_jax.interop import read_tensors, write_tensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(f"{folder}/a.safetensors", {"lstm.w": np.ones((2, 3))})
    ...     tensors = read_tensors(f"{folder}/a.safetensors", prefix="lstm.")
    >>> tensors["w"].shape
    (2, 3)
    """
    found = open_tensors(path)
    with _reading(path):
        return {
            name.removeprefix(prefix): one.read()
            for name, one in found.items()
            if name.startswith(prefix)
        }


def open_tensors(path: str | Path) -> Entries:
    """The entries of a file by name. Numbers are read on demand.

    Raises:
        InteropError: as in `read_tensors`.
    """
    path = Path(path)
    open_file = _format(path).open
    with _reading(path):
        found = open_file(path, Budget(bound(path.stat().st_size)))
    return {
        name: dataclasses.replace(one, load=_guarded(path, one.load))
        for name, one in found.items()
    }


def family_of(path: str | Path) -> str:
    """The framework that alone uses this file ending; empty if any may use it."""
    return _format(Path(path)).family


def _guarded(path, load):
    def guarded():
        with _reading(path):
            return load()

    return guarded


@contextlib.contextmanager
def _reading(path) -> Iterator[None]:
    """Converts errors to one kind, with the name of the file."""
    try:
        yield
    except InteropError as error:
        said = str(error)
        raise type(error)(
            said if said.startswith(f"{path}") else f"{path}: {said}"
        ) from error
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise InteropError(f"{path} cannot be read: {reason}.") from error
    except ModuleNotFoundError as error:
        raise InteropError(f"{path} {_needs(error.name)}") from error
    except Exception as error:
        # The libraries below have no common base class for a corrupt file.
        said = first_line(error)
        raise InteropError(
            f"{path} is corrupt: {said or type(error).__name__}."
        ) from error


def _needs(module):
    extra = "'lstm-jax[torch]'" if module == "torch" else module
    return f"needs {module}; pip install {extra}."


def write_tensors(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a new file in the format of its ending, completely or not at all.

    Raises:
        InteropError: the file already exists, cannot be written, or its format lacks a
            dtype; or a tensor is not an array of supported numbers.

    >>> import tempfile, numpy as np
    >>> from lstm_jax.interop import read_tensors, write_tensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(f"{folder}/a.npz", {"w": np.ones((2, 3))})
    ...     list(read_tensors(f"{folder}/a.npz"))
    ['w']
    """
    path = Path(path)
    write = _format(path).write
    if write is None:
        known = ", ".join(end for end, form in FORMATS.items() if form.write)
        raise InteropError(f"{path} is a file to read, expected one of {known}.")
    if wrong := [name for name in tensors if not isinstance(name, str)]:
        raise InteropError(f"a tensor is named {wrong[0]!r}, expected text.")
    tensors = {name: numpy_array(a, name) for name, a in tensors.items()}
    with _writing(path) as file:
        write(file, tensors)


def write_new(path: str | Path, data: bytes) -> None:
    """Writes a new file of any bytes; raises the errors of `write_tensors`."""
    with _writing(path) as file:
        file.write(data)


@contextlib.contextmanager
def _writing(path) -> Iterator[BinaryIO]:
    """Opens a new file; all errors become one kind."""
    try:
        with writing(path, new=True) as file:
            yield file
    except FileExistsError as error:
        raise InteropError(f"{path} already exists; name a new file.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, InteropError):
            raise
        raise InteropError(f"{path} cannot be written: {reason}.") from error
    except ModuleNotFoundError as error:
        raise InteropError(f"{path} {_needs(error.name)}") from error


def _format(path):
    name = path.name.lower()
    if name.endswith(".index") or ".data-0" in name:
        raise InteropError(
            f"{path} is a checkpoint of TensorFlow, which is not read; in TensorFlow, "
            f"r = tf.train.load_checkpoint(PATH), then np.savez('weights.npz', "
            f"**{{n: r.get_tensor(n) for n in r.get_variable_to_shape_map()}})."
        )
    for ending in sorted(FORMATS, key=len, reverse=True):
        if name.endswith(ending):
            return FORMATS[ending]
    if name.endswith(".onnx"):
        raise InteropError(
            f"{path} is a file of ONNX, which has its own layouts; read it with "
            f"lstm_jax.interop.from_onnx, or lstm-jax import without --layout."
        )
    raise InteropError(
        f"{path} ends in {path.suffix!r}, expected weights in one of "
        f"{', '.join(FORMATS)}, or .onnx (in Python: lstm_jax.interop.from_onnx)."
    )


# .safetensors

SAFE = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
SAFE |= {"BOOL": "bool"} | {
    f"{kind}{bits}": f"{word}{bits}"
    for kind, word in {"I": "int", "U": "uint"}.items()
    for bits in (8, 16, 32, 64)
}
"""The format's names of dtypes."""


def _open_safetensors(path, budget):
    del budget  # this format has no compression and no views
    from safetensors import safe_open

    with path.open("rb") as file:
        start = file.read(8)
    header = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if header > LARGEST_HEADER:
        raise InteropError(
            f"the header has {header} bytes, expected {LARGEST_HEADER} at most."
        )
    file: Any = safe_open(path, framework="np")

    def one(name):
        there, load = file.get_slice(name), functools.partial(file.get_tensor, name)
        dtype = SAFE.get(there.get_dtype(), str(there.get_dtype()))
        return name, entry(name, there.get_shape(), dtype, load)

    return by_dots(map(one, file.keys()))


LARGEST_INDEX, MOST_SHARDS = 64 * 2**20, 10_000


def _open_shards(path, budget):
    """Opens the files that an index names; all must be in its folder."""
    if path.stat().st_size > LARGEST_INDEX:
        raise InteropError(f"it has more than {LARGEST_INDEX} bytes.")
    shards: dict[str, list[str]] = {}
    for name, file in json.loads(path.read_text(encoding="utf-8"))[
        "weight_map"
    ].items():
        shards.setdefault(str(file), []).append(name)
    if len(shards) > MOST_SHARDS:
        raise InteropError(f"it names {len(shards)} files.")
    ending = path.name.removesuffix(".index.json").rpartition(".")[2]
    found: list[tuple[str, Entry]] = []
    for file, names in shards.items():
        if Path(file).name != file or not file.endswith(f".{ending}"):
            raise InteropError(
                f"it names the file {file!r}, expected a .{ending} file beside it."
            )
        inside = FORMATS[f".{ending}"].open(path.with_name(file), budget)
        for name in names:
            if (inner := name.replace("/", ".")) not in inside:
                raise InteropError(f"{file} has no {name}, which the index names.")
            found.append((name, inside[inner]))
    return by_dots(found)


def _write_safetensors(file, tensors):
    from safetensors.numpy import save

    # `save` writes raw memory and ignores strides.
    file.write(save({name: np.asarray(a, order="C") for name, a in tensors.items()}))


# .npz


def _open_npz(path, budget):
    with zipfile.ZipFile(path) as archive:
        return by_dots(
            _open_npy(path, archive, member, budget) for member in archive.infolist()
        )


def _open_npy(path, archive, member, budget) -> tuple[str, Entry]:
    name = member.filename.removesuffix(".npy")
    return name, _npy_entry(path, archive, member, name, budget)


def _npy_entry(path, archive, member, name, budget) -> Entry:
    """The entry of one array, from its header. Faults are reported on reading."""
    if member.file_size > budget.left:
        return nothing(TOO_LARGE)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return nothing(f"{name} is compressed in a way numpy does not use.")
    try:
        with archive.open(member) as file:
            shape, dtype, _ = _read_header(file, name, member.file_size)
    except InteropError as error:
        return nothing(str(error))
    except Exception as error:  # numpy and zlib raise many kinds
        return nothing(f"{name} is corrupt: {first_line(error)}.")

    def load():
        budget.spend(member.file_size)
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            shape, dtype, order = _read_header(file, name, member.file_size)
            # Limit the bytes, because the archive may unpack to more than it says.
            size = member.file_size - file.tell()
            array = np.frombuffer(file.read(size), dtype)
        return array.reshape(shape, order=order).copy()

    return entry(name, shape, dtype.name, load)


def _read_header(file, name, size):
    """Reads shape, dtype and order of an array, and checks the number of its bytes."""
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
    return shape, dtype, "F" if fortran else "C"


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


class _Format(NamedTuple):
    """How to open files of one ending, and how to write them if supported.

    ``family`` is the framework that alone writes such files.
    """

    open: Callable[[Path, Budget], Entries]
    write: Callable[[BinaryIO, Mapping[str, np.ndarray]], None] | None = None
    family: str = ""


FORMATS = {
    ".safetensors": _Format(_open_safetensors, _write_safetensors),
    ".npz": _Format(_open_npz, _write_npz),
    ".pt": _Format(open_pt, write_pt),
    ".pth": _Format(open_pt, write_pt),
    ".bin": _Format(open_pt),
    ".ckpt": _Format(open_pt),
    ".keras": _Format(open_keras, family="keras"),
    ".h5": _Format(open_h5, family="keras"),
    ".hdf5": _Format(open_h5, family="keras"),
    ".safetensors.index.json": _Format(_open_shards),
    ".bin.index.json": _Format(_open_shards),
}
"""All known file endings."""
