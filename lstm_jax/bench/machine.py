"""Versions and devices, without which no figure means anything."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import jax

import lstm_jax
from lstm_jax import ops

PACKAGES = (
    *("jax", "jaxlib", "flax", "equinox", "dm-haiku", "keras"),
    *("torch", "onnx", "onnxruntime", "numpy"),
)


def environment() -> dict[str, Any]:
    """What was measured, and on what."""
    return {
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "cpu": cpu_model(),
        "cores": cores(),
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "native": ops.availability()["native"],
        "versions": {"lstm_jax": lstm_jax.__version__}
        | {name: _version(name) for name in PACKAGES},
    }


def cores() -> int:
    """Cores that this process may use; ``taskset`` leaves fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.machine()


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
