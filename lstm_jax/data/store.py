"""Tokens in files: in a folder that keeps them for later, or in temporary files.

A file in the folder is named after a digest of all that its contents depend on. It is
written under another name and renamed when it is complete, so processes that make the
same file at the same time do not disturb each other.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from lstm_jax import files
from lstm_jax.data.stored import Mapped
from lstm_jax.data.text import DataError

STALE = 24 * 3600
"""Seconds after which a file that nobody finished is removed."""


class Tokens:
    """The tokens of a split, in memory or in a file.

    Args:
        data: unsigned integers ``[T]``.
        mapped: the file that they are in, if they are not in memory.
    """

    def __init__(self, data: np.ndarray, mapped: Mapped | None = None):
        self.data, self._mapped = data, mapped

    @property
    def in_memory(self) -> bool:
        """Whether they are in memory, not in a file."""
        return self._mapped is None

    def check(self) -> None:
        """Raises DataError where the file has changed."""
        if self._mapped is not None:
            self._mapped.check()

    def forget(self) -> None:
        """Tells the system that no page of the file is needed in memory for now."""
        if self._mapped is not None:
            self._mapped.forget(0, len(self._mapped.data))


class Store:
    """Facts and tokens, made once and found again.

    Args:
        folder: where they are kept; it is made if it is missing. Empty: tokens are in
            temporary files in the folder that TMPDIR names, and nothing is kept.
    """

    def __init__(self, folder: str | Path = ""):
        self._folder = Path(folder) if str(folder) else None

    def facts(
        self, name: str, key: Mapping[str, Any], make: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """An object for JSON: the one that is kept, or a new one of ``make``.

        Args:
            name: what the file begins with.
            key: all that the object depends on, for JSON.
            make: makes the object.

        Raises:
            DataError: the file cannot be read or written.
        """
        if self._folder is None:
            return make()
        path = self._path(name, key, ".json")
        if path.exists():
            try:
                return files.read_json(path)
            except (OSError, ValueError) as error:
                raise _corrupt(path, error) from error
        made = make()
        with self._writing(path) as file:
            file.write(json.dumps(made, ensure_ascii=False).encode())
        return made

    def tokens(
        self,
        name: str,
        key: Mapping[str, Any],
        dtype: np.dtype,
        make: Callable[[], Iterable[np.ndarray]],
    ) -> Tokens:
        """Tokens in a file: the ones that are kept, or new ones of ``make``.

        Arguments and errors are those of `facts`; ``make`` returns the tokens some at a
        time, in integers of ``dtype``.
        """
        if self._folder is None:
            return _temporary(name, dtype, make())
        path = self._path(name, key, ".npy")
        if not path.exists():
            made = make()
            with self._writing(path) as file:
                _write(file, dtype, made)
        try:
            with files.open_regular(path) as file:
                return _opened(file, f"{path}", dtype)
        except (OSError, ValueError) as error:
            raise _corrupt(path, error) from error

    def has(self, name: str, key: Mapping[str, Any]) -> bool:
        """Whether these tokens are kept."""
        return self._folder is not None and self._path(name, key, ".npy").exists()

    def _path(self, name, key, suffix):
        text = json.dumps(key, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        assert self._folder is not None
        return self._folder / f"{name}-{digest[:32]}{suffix}"

    @contextlib.contextmanager
    def _writing(self, path: Path) -> Iterator[BinaryIO]:
        try:
            files.make_folders(path.parent)
            _remove_stale(path.parent)
            with files.writing(path) as file:
                yield file
        except OSError as error:
            raise DataError(
                f"{path} cannot be written: {error.strerror}; set data.cache to a "
                f"folder with room."
            ) from error


def _write(file, dtype, arrays):
    """Writes an array of NumPy whose length is known at the end."""

    def header(length):
        facts = dict(descr=npy.dtype_to_descr(dtype), fortran_order=False)
        npy.write_array_header_1_0(file, {**facts, "shape": (length,)})
        return file.tell()

    begins, length = header(0), 0
    for array in arrays:
        file.write(np.ascontiguousarray(array, dtype).data)
        length += len(array)
    file.seek(0)
    # NumPy leaves room in a header for a length that grows.
    assert header(length) == begins
    file.seek(0, os.SEEK_END)
    file.flush()


def _opened(file, called, dtype):
    """The tokens of a file; ValueError where it is not one."""
    if npy.read_magic(file) != (1, 0):
        raise ValueError("it is written in another version of the format")
    shape, _, found = npy.read_array_header_1_0(file)
    begins, size = file.tell(), os.fstat(file.fileno()).st_size
    if len(shape) != 1 or found != dtype or size != begins + shape[0] * dtype.itemsize:
        raise ValueError(f"it has {size:,} bytes and its header says {shape}, {found}")
    mapped = Mapped(file, called)
    return Tokens(np.frombuffer(mapped.data, dtype, offset=begins), mapped)


def _temporary(name, dtype, arrays):
    try:
        with tempfile.TemporaryFile() as file:
            _write(file, dtype, arrays)
            file.seek(0)
            return _opened(file, f"the temporary file of {name}", dtype)
    except OSError as error:
        raise DataError(
            f"the {name} are many, and cannot be written to the folder "
            f"{tempfile.gettempdir()}: {error.strerror}; set TMPDIR to one with room."
        ) from error


def _corrupt(path, error):
    reason = getattr(error, "strerror", None) or error
    return DataError(
        f"{path} is corrupt ({reason}); remove it, and it is made again at the next "
        f"start."
    )


def _remove_stale(folder):
    """Removes what killed processes have left. Others may be writing now."""
    for name in os.listdir(folder):
        if files.is_leftover(name):
            with contextlib.suppress(OSError):
                if time.time() - os.stat(folder / name).st_mtime > STALE:
                    os.unlink(folder / name)
