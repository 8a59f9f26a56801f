"""The results as one JSON file, written anew after every row.

A run that is killed leaves the rows it had: the file is always complete JSON.
"""

import json
from pathlib import Path
from typing import Any

from lstm_jax import files

DONE, ABSENT, FAILED = "done", "not available", "failed"
LATE, LEFT_OUT = "timed out", "no time left"
WRONG = (FAILED, LATE)
"""The statuses of a row that make a run fail."""


class Record:
    """Rows of results: which stage, which case, what status, and what was measured."""

    def __init__(self, path: Path, facts: dict[str, Any]):
        files.make_folders(path.parent)
        self.path, self._facts = path, facts
        self.rows: list[dict[str, Any]] = []
        self.seconds: dict[str, float] = {}
        """What every stage took."""
        self._write()

    def add(self, stage: str, case: str, row: dict[str, Any]) -> dict[str, Any]:
        """A row, in the file when this returns."""
        row = {"stage": stage, "case": case, "status": DONE} | row
        self.rows.append(row)
        self._write()
        return row

    def end(self, stage: str, seconds: float) -> None:
        """Notes that a stage has ended."""
        self.seconds[stage] = round(seconds, 1)
        self._write()

    def _write(self):
        values = self._facts | {"stage_seconds": self.seconds, "rows": self.rows}
        files.write_text(self.path, json.dumps(values, indent=1) + "\n")
