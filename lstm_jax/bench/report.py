"""What every benchmark writes: a plain text table, and JSON with the circumstances."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax

from lstm_jax import files
from lstm_jax.bench.machine import environment


def table(rows: list[tuple[Any, ...]]) -> str:
    """Rows of anything as aligned text, the first column to the left."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row):
        rest = [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        return "  ".join([row[0].ljust(widths[0]), *rest]).rstrip()

    return "\n".join(map(line, cells))


def save(name: str, results: dict[str, Any], folder: Path) -> Path:
    """Writes ``<name>-<backend>.json`` with the environment beside the results."""
    files.make_folders(folder)
    path = folder / f"{name}-{jax.default_backend()}.json"
    results = {"environment": environment()} | results
    text = json.dumps(results, indent=2, default=dataclasses.asdict)
    files.write_text(path, text + "\n")
    return path
