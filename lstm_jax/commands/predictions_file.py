"""Predictions as a CSV file, or on standard output."""

import csv
import io
from pathlib import Path

from lstm_jax.commands.output_file import write_output
from lstm_jax.data.text import counted
from lstm_jax.tasks.abilities import Predictions


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
    write_output(path, text.getvalue(), f"{counted(len(found.rows), 'row')} of {of}")
