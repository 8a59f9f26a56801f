"""Files that are whole after a crash, and that never go through a link.

Everything that the package writes is written here. A file is written under a random
name beside its place, synced to the disk, renamed into place, and the folder is synced.
After a power cut the old file is there or the new one, never an empty one.

The random name is created exclusively, and no write follows a symbolic link: a link
that somebody has put into a shared folder is replaced or refused, its target is left
alone.
"""

import contextlib
import errno
import io
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

ASIDE = ".tmp"
"""The ending of files and folders that are not complete yet."""

_WRITE = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
_WRITE |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@contextlib.contextmanager
def writing(path: str | Path, *, new: bool = False) -> Iterator[BinaryIO]:
    """A file to write to; at the end of the block it becomes ``path``.

    An error in the block leaves ``path`` as it was.

    Args:
        path: the place of the file; a link there is replaced, not followed.
        new: whether ``path`` must not exist yet.

    Raises:
        OSError: the file cannot be written; FileExistsError if it must not exist yet.
    """
    path = Path(path)
    if new and os.path.lexists(path):  # found out before the work is done
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    # Not named after the file: a long name would become too long.
    aside = path.with_name(f".{secrets.token_hex(8)}{ASIDE}")
    descriptor = os.open(aside, _WRITE | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _put_new(aside, path) if new else os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise
    sync(path.parent)


def _put_new(aside, path):
    """Gives ``aside`` the name ``path``, which nobody may have taken meanwhile."""
    try:
        os.link(aside, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # Some file systems have no hard links. An empty file reserves the name there.
        os.close(os.open(path, _WRITE | os.O_EXCL, 0o666))
        os.replace(aside, path)
    else:
        os.unlink(aside)


def write_bytes(path: str | Path, data: bytes, *, new: bool = False) -> None:
    """Writes a file of bytes; arguments and errors are those of `writing`."""
    with writing(path, new=new) as file:
        file.write(data)


def write_text(path: str | Path, text: str, *, new: bool = False) -> None:
    """Writes a file of UTF-8; arguments and errors are those of `writing`."""
    write_bytes(path, text.encode(), new=new)


def write_json(
    path: str | Path, values: Mapping[str, Any], *, new: bool = False
) -> None:
    """Writes an object as JSON; arguments and errors are those of `writing`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(f"{folder}/a.json", {"steps": 3})
    ...     read_json(f"{folder}/a.json")
    {'steps': 3}
    """
    text = json.dumps(values, indent=2, ensure_ascii=False)
    write_text(path, text + "\n", new=new)


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Any], *, new: bool = False
) -> None:
    """Writes numpy arrays by name; arguments and errors are those of `writing`."""
    import numpy as np
    from safetensors.numpy import save

    # The library writes the memory as it lies, whatever the strides.
    plain = {name: np.asarray(a, order="C") for name, a in tensors.items()}
    write_bytes(path, save(plain), new=new)


def append(path: str | Path, data: bytes) -> None:
    """Adds to the end of a file, all of ``data`` or nothing.

    Raises:
        OSError: ``path`` is a link or not a regular file, or there is no room.
    """
    flags = _WRITE | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)  # a FIFO would block
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            said = "it is a symbolic link, which is not followed"
            raise OSError(errno.ELOOP, said, str(path)) from error
        raise
    # Without a buffer, which would be written once more when the file is closed.
    with open(descriptor, "ab", buffering=0) as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, before.st_size)
            raise


def open_regular(path: str | Path) -> io.BufferedReader:
    """Opens a regular file to read its bytes.

    A pipe would wait for somebody to write into it, and a device may never end.

    Raises:
        OSError: the file cannot be read, or it is a folder, a pipe or a device.
    """
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = "a pipe" if stat.S_ISFIFO(mode) else "a device"
    said = f"it is {kind}, expected a regular file; copy it into one"
    raise OSError(errno.EINVAL, said, str(path))


def read_regular(path: str | Path, most: int) -> bytes:
    """The bytes of a regular file of at most ``most`` bytes.

    Raises:
        OSError: as `open_regular`, or the file is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(most + 1) if size <= most else b""
    if max(size, len(data)) > most:
        said = f"it has {max(size, len(data)):,} bytes, expected at most {most:,}"
        raise OSError(errno.EFBIG, said, str(path))
    return data


JSON_BYTES = 2**28
"""A file of JSON has so many bytes at the most: a vocabulary may be in it."""


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a file of JSON.

    Raises:
        OSError: the file cannot be read, is not a regular file, or has more than
            `JSON_BYTES` bytes.
        ValueError: it is not UTF-8, not JSON, not an object, or nested too deeply.
    """
    try:
        values = json.loads(read_regular(path, JSON_BYTES).decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError(f"it is a {type(values).__name__}, expected an object")
    return values


@contextlib.contextmanager
def writing_folder(path: str | Path, aside: Path | None = None) -> Iterator[Path]:
    """A folder to write into; at the end of the block it becomes ``path``.

    ``path`` must not exist yet. After a crash it is there whole or not at all. The
    folder is ``aside``, which other processes may write into, or has a random name.

    Raises:
        OSError: it cannot be written, or ``path`` exists.
    """
    path = Path(path)
    if aside is None:
        aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}{ASIDE}")
    os.mkdir(aside)
    try:
        yield aside
        for inner in [*aside.rglob("*"), aside]:
            sync(inner)
        os.rename(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync(path.parent)


def make_folders(path: str | Path) -> None:
    """A folder and those above it, where they are missing; synced to the disk."""
    path = Path(path)
    made = [p for p in (path, *path.parents) if not os.path.lexists(p)]
    path.mkdir(parents=True, exist_ok=True)
    for folder in made:
        sync(folder.parent)


def sync(path: str | Path) -> None:
    """Brings a file, or the names in a folder, onto the disk itself."""
    if os.name == "nt" and os.path.isdir(path):  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: str | Path) -> None:
    """Removes what a killed process has left of `writing` in a folder."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_file(follow_symlinks=False)]
    for name in filter(is_leftover, names):
        with contextlib.suppress(OSError):  # where nothing can be written
            os.unlink(os.path.join(folder, name))


def is_leftover(name: str) -> bool:
    """Whether `writing` may have made a file of this name and left it behind."""
    digits = name.removeprefix(".").removesuffix(ASIDE)
    return name == f".{digits}{ASIDE}" and _is_token(digits)


def _is_token(digits):
    return len(digits) == 16 and set(digits) <= set("0123456789abcdef")
