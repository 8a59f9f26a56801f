"""The versions and devices that a run trains with."""

import importlib.metadata
import platform
from typing import Any

import jax

import lstm_jax


def environment() -> dict[str, Any]:
    """Versions and devices of this process."""
    packages = (
        "lstm-jax",
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "orbax-checkpoint",
        "numpy",
    )
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            own = name == "lstm-jax"  # run from a source folder
            versions[name] = lstm_jax.__version__ if own else "not installed"
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "versions": versions,
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "device_count": jax.device_count(),
    }
