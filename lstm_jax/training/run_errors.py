"""Errors of run folders: what cannot be read or written, and what to do."""

import errno
import os
import re
import tempfile
from pathlib import Path

from lstm_jax import files
from lstm_jax.terminal import LOST_OUTPUT


class RunError(ValueError):
    """A run folder that cannot be used. The message is meant for the user."""


def _system_error(error):
    """The number and the words of the system's error, as far as they are known."""
    said = str(error) or type(error).__name__
    # TensorStore, which writes the arrays, tells them among pages of other facts.
    code = re.search(r"\[os_error_code='([0-9]+)'\]", said)
    number = int(code[1]) if code else getattr(error, "errno", None) or 0
    for known in (*LOST_OUTPUT, errno.EACCES, errno.EROFS):
        if not number and os.strerror(known) in said:
            number = known
    if code or (number and not getattr(error, "strerror", None)):
        return number, os.strerror(number)
    return number, getattr(error, "strerror", None) or said.splitlines()[0]


_REMEDIES = {
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), "bring its folder back"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room"),
    errno.EISDIR: "remove that folder",
}


def cannot_write(path: Path, error: Exception, kept: str = "") -> RunError:
    """The error for a full disk or a folder that is not writable."""
    number, reason = _system_error(error)
    remedy = _REMEDIES.get(number, "remove the cause")
    if kept:
        remedy = f"{kept}; {remedy} and resume it"
    else:
        remedy = f"{remedy} or name another folder with run.directory=FOLDER"
    return RunError(f"cannot write {path}: {reason}; {remedy}.")


def make_folder(path: Path, option: str) -> None:
    """Creates a folder that an option names; raises RunError if it is not writable."""
    try:
        files.make_folders(path)
        tempfile.TemporaryFile(dir=path).close()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"{option} {path} cannot be written to: {reason}; name another."
        ) from error
