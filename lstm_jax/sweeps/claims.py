"""Who trains which trial: locks that end with their process, however it ends."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from lstm_jax.training.run_errors import RunError, cannot_write

try:
    import fcntl
except ImportError:  # Windows has no fcntl
    fcntl = None

HAS_LOCKS = fcntl is not None
"""Whether a sweep may have several processes on this system."""
_STUDY = 0
"""This byte of the file is locked while the study is written; byte n + 1 is of trial
n."""


class Claims:
    """The locks of a sweep: bytes of one file, locked by the process that has a claim.

    A trial that is not finished and has no claim was interrupted. Without
    `HAS_LOCKS` nothing is locked.

    Args:
        path: the file; made if it does not exist.

    Raises:
        RunError: the file cannot be written.
    """

    def __init__(self, path: Path):
        self._path = path
        try:
            # The only descriptor: closing another one would drop the locks.
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise cannot_write(path, error) from error

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until no other process writes the study, and keeps others waiting."""
        self._lock(_STUDY, wait=True)
        try:
            yield
        finally:
            self._unlock(_STUDY)

    def take(self, trial: int) -> bool:
        """Claims a trial; False if another process has it."""
        return self._lock(trial + 1, wait=False)

    def give_back(self, trial: int) -> None:
        """Ends the claim of a trial."""
        self._unlock(trial + 1)

    def close(self) -> None:
        """Ends all claims."""
        os.close(self._file)

    def _lock(self, byte, wait):
        if fcntl is None:
            return True
        how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        try:
            fcntl.lockf(self._file, how, 1, byte)
        except OSError as error:
            if not wait and error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise RunError(
                f"cannot lock {self._path}: {error.strerror}; name a folder on a disk "
                f"of this machine with --directory."
            ) from error
        return True

    def _unlock(self, byte):
        if fcntl is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)
