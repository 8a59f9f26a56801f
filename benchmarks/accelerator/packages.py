"""What is missing on the machine, and how to take it from a folder of wheels.

Knows the standard library alone: JAX itself may be what is missing.
"""

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

NEEDED = {
    "jax": "everything",
    "flax": "modules",
    "optax": "training",
    "chex": "training",
    "pytest": "the tests",
}
"""Modules without which no stage makes sense."""

WANTED = {
    "orbax.checkpoint": "trainings and language models",
    "pydantic": "trainings and language models",
    "pydantic_core": "trainings and language models",
    "rich": "trainings and language models",
    "safetensors": "trainings and language models",
    "tomli_w": "trainings and language models",
    "jinja2": "trainings",
    "torch": "comparisons with cuDNN, and the tests of parity",
    "xdist": "running tests side by side",
    "soundfile": "the training of transcription",
}
"""Modules without which some rows are missing; the rows say so."""


class Missing(Exception):
    """What the machine lacks, in one sentence."""


def install(wheels: Path, target: Path) -> list[str]:
    """Installs wheels of packages that the machine lacks; returns their names.

    Reaches no network, and changes nothing but ``target``.

    Raises:
        Missing: the folder holds no wheel, or pip cannot install one of them.
    """
    files = sorted(wheels.glob("*.whl"))
    if not files:
        raise Missing(f"--wheels {wheels} has no file that ends in .whl.")
    lacking = {path: name for path in files if not _installed(name := _name(path))}
    if lacking:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index"]
        command += ["--no-deps", "--no-cache-dir", "--disable-pip-version-check"]
        command += ["--target", str(target), *map(str, lacking)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(f"pip cannot install the wheels: {done.stderr.strip()}")
    return list(lacking.values())


def missing(modules: Sequence[str]) -> list[str]:
    """Those of the modules that cannot be imported."""
    return [name for name in modules if not _importable(name)]


def is_wanted(module: str | None) -> bool:
    """Whether a module is one of `WANTED`, or inside one."""
    top = lambda name: name.partition(".")[0]
    return module is not None and top(module) in map(top, WANTED)


def _importable(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def _name(wheel):
    """The name of a package as its wheel spells it."""
    return wheel.name.split("-")[0]


def _installed(name):
    try:
        importlib.metadata.distribution(re.sub(r"[-_.]+", "-", name))
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
