"""What a command writes: a new file, or standard output."""

import os
import sys
from pathlib import Path

from lstm_jax import files
from lstm_jax.terminal import say
from lstm_jax.training.run_errors import RunError


def check_new(option: str, path: Path | None) -> None:
    """Raises RunError if there is something at a path that an option names."""
    if path is not None and os.path.lexists(path):
        raise RunError(f"{option} {path} already exists; name another one.")


def write_output(path: Path | None, text: str, what: str) -> None:
    """Writes text, and says where; without a path to standard output.

    Args:
        path: the file of ``--out``, which must not exist.
        text: all of it.
        what: what it is, such as "7 rows of predictions".

    Raises:
        RunError: the file cannot be written.
    """
    if path is None:
        sys.stdout.write(text)
        return
    try:
        files.write_text(path, text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"--out {path} cannot be written: {reason}; name another file."
        ) from error
    say(f"{what}: {path}")
