"""Predictions as a CSV file, or on standard output."""

import csv
import io
import os
import sys
from pathlib import Path

from lstm_jax import files
from lstm_jax.data.text import counted
from lstm_jax.tasks.abilities import Predictions
from lstm_jax.terminal import say
from lstm_jax.training.run_errors import RunError


def check_new(option: str, path: Path | None) -> None:
    """Raises RunError if there is something at a path that an option names."""
    if path is not None and os.path.lexists(path):
        raise RunError(f"{option} {path} already exists; name another one.")


def write_predictions(path: Path | None, found: Predictions, of: str) -> None:
    """Writes rows, and says where; without a path to standard output.

    Args:
        path: the file, which must not exist.
        found: the rows.
        of: what they are, such as "predictions".

    Raises:
        RunError: the file cannot be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerows([found.columns, *found.rows])
    if path is None:
        sys.stdout.write(text.getvalue())
        return
    try:
        files.write_text(path, text.getvalue())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"--out {path} cannot be written: {reason}; name another file."
        ) from error
    say(f"{counted(len(found.rows), 'row')} of {of}: {path}")
