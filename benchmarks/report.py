"""What every benchmark writes: a plain text table, and JSON with the circumstances."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import jax

import lstm_jax

RESULTS = Path(__file__).parent / "results"

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "equinox",
    "dm-haiku",
    "torch",
    "onnx",
    "onnxruntime",
    "numpy",
)


def environment() -> dict[str, Any]:
    """Versions and devices, without which no figure means anything."""
    return {
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "versions": {"lstm_jax": lstm_jax.__version__}
        | {name: _version(name) for name in PACKAGES},
    }


def table(rows: list[tuple[Any, ...]]) -> str:
    """Rows of anything as aligned text, the first column to the left."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row):
        rest = [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        return "  ".join([row[0].ljust(widths[0]), *rest]).rstrip()

    return "\n".join(map(line, cells))


def save(name: str, results: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Writes ``<name>-<backend>.json`` with the environment beside the results."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{jax.default_backend()}.json"
    results = {"environment": environment()} | results
    text = json.dumps(results, indent=2, default=dataclasses.asdict)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.machine()
