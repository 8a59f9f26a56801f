"""The folder of a run: what was asked, what happened, what came out.

config.toml         the resolved config
run.json            data, sizes, versions and machine, and those of every resumption;
                    how long it took, which seeds diverged, which part was the last word
metrics.jsonl       a line for every step, and for every evaluation
tensorboard/        the same as event files, if asked for
checkpoints/        the whole state, for resuming, and the best weights so far
model.safetensors   the best weights; model-seed0.safetensors and so on of several seeds
result-*.json       the final figures of a part of the data
evaluations.jsonl   what `lstm-jax evaluate` found later
*.png               curves
"""

import contextlib
import errno
import importlib.metadata
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

import lstm_jax
from lstm_jax._types import PyTree

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None


class RunError(ValueError):
    """A run folder that cannot be used; the message is meant for its owner."""


def cannot_write(path: Path, error: Exception, kept: str = "") -> RunError:
    """The sentence for a disk that is full, or a folder that cannot be written."""
    said = str(error) or type(error).__name__
    reason = getattr(error, "strerror", None) or said.splitlines()[0]
    remedy = "make room or name another folder with run.directory=FOLDER"
    if kept:
        remedy = f"{kept}; make room and resume it"
    return RunError(f"cannot write {path}: {reason}; {remedy}.")


@contextlib.contextmanager
def writing_whole(path: Path) -> Iterator[Path]:
    """Where to write a file that is then renamed: it is the old one or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    yield temporary
    os.replace(temporary, path)


def make_folder(path: Path, option: str) -> None:
    """Makes a folder that an option names; RunError where nothing can be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise RunError(
            f"{option} {path} cannot be written to: {error.strerror}; name another."
        ) from error


class Run:
    """The folder of one run.

    Whatever it cannot write it raises as a `RunError`.
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        self.listeners: list[Any] = []
        """They are called with every few lines of metrics, too."""

    @classmethod
    def create(
        cls, directory: str | Path, config: str, facts: Mapping[str, Any]
    ) -> "Run":
        """A new run. It is there once its config.toml is, which is written last.

        Raises:
            RunError: a run has begun in the folder, or it holds something else, or
                cannot be written.
        """
        run = cls(directory)
        cls.check_vacant(directory)
        try:
            run.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(run.directory, error) from error
        with run.alone():
            cls.check_vacant(directory)
            run.write_json("run.json", facts)
            run.write_text("config.toml", config)
        return run

    @classmethod
    def check_vacant(cls, directory: str | Path) -> None:
        """Raises RunError where `create` would for what is there already."""
        run = cls(directory)
        try:
            if run.directory.exists() and not run.directory.is_dir():
                raise RunError(
                    f"run.directory={directory} is a file, expected a folder."
                )
            if run.has_begun:
                raise RunError(
                    f"{directory} holds a run already; continue it with --resume, or "
                    f"name a new folder with run.directory=FOLDER."
                )
        except OSError as error:
            raise cannot_write(run.directory, error) from error

    @classmethod
    def open(cls, directory: str | Path) -> "Run":
        """A run made before.

        Raises:
            RunError: there is none.
        """
        run = cls(directory)
        if not run.path("config.toml").is_file():
            raise RunError(
                f"{directory} is not a run: it has no config.toml; "
                f"start one with lstm-jax train CONFIG."
            )
        return run

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the folder; a process that ends in whatever way lets go of it.

        Where the file system knows no locks it is not held.

        Raises:
            RunError: another process trains in it.
        """
        if fcntl is None:
            yield
            return
        folder = os.open(self.directory, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(
                    f"another process is training {self.directory}; wait for it, or "
                    f"name a new folder with run.directory=FOLDER."
                ) from error
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                    raise cannot_write(self.directory, error) from error
            yield
        finally:
            os.close(folder)

    def path(self, name: str) -> Path:
        """Where a file of this name is."""
        return self.directory / name

    @property
    def has_begun(self) -> bool:
        """Whether there is more in the folder than what `create` writes."""
        if not self.directory.is_dir():
            return False
        try:
            names = {path.name for path in self.directory.iterdir()}
        except OSError as error:
            raise cannot_write(self.directory, error) from error
        created = {"run.json", "config.toml"}
        return not names <= created | {f"{name}.tmp" for name in created}

    def write_text(self, name: str, text: str) -> None:
        """The file is the old one or the new one."""
        with self._writing(name), writing_whole(self.path(name)) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @contextlib.contextmanager
    def _writing(self, name):
        try:
            yield
        except OSError as error:
            kept = (
                "its checkpoints are intact"
                if self.path("checkpoints").is_dir()
                else ""
            )
            raise cannot_write(self.path(name), error, kept) from error

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        text = json.dumps(values, indent=2, ensure_ascii=False)
        self.write_text(name, text + "\n")

    def append_json(self, name: str, values: Mapping[str, Any]) -> None:
        """A line more in a file of such lines."""
        with self._writing(name), self.path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(values, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        try:
            values = json.loads(self.path(name).read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ValueError(f"a {type(values).__name__}")
            return values
        except (OSError, ValueError) as error:
            raise RunError(
                f"{self.path(name)} is missing or damaged; this run cannot go on, "
                f"start a new one with run.directory=FOLDER."
            ) from error

    def log(self, lines: Iterable[Mapping[str, Any]]) -> None:
        lines = list(lines)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        with (
            self._writing("metrics.jsonl"),
            self.path("metrics.jsonl").open("a", encoding="utf-8") as file,
        ):
            file.write(text)
        for listener in self.listeners:
            listener(lines)

    def sync(self) -> None:
        """Brings the metrics onto the disk itself: no checkpoint is ahead of them."""
        path = self.path("metrics.jsonl")
        if path.exists():
            with self._writing("metrics.jsonl"), path.open("rb") as file:
                os.fsync(file.fileno())

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl; none where it is not there.

        Raises:
            RunError: it cannot be read, or is damaged.
        """
        path = self.path("metrics.jsonl")
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror}.") from error
        # A run that was killed may have left half a line at the end.
        whole = data[: data.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
            for line in lines:
                if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                    raise ValueError(f"{line!r} is no line with a step")
        except ValueError as error:
            raise RunError(f"{path} is damaged: {error}.") from error
        return lines

    def evaluations(self) -> list[dict[str, Any]]:
        """The lines of evaluations among the metrics."""
        return [line for line in self.metrics() if "valid_loss" in line]

    def rewind(self, step: int) -> None:
        """Forgets metrics later than ``step``: the run goes on from there."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        self.write_text("metrics.jsonl", text)

    def save_weights(self, params: PyTree, name: str = "model.safetensors") -> None:
        """A tensor a parameter, named by its path."""
        leaves = jax.tree_util.tree_leaves_with_path(params)
        tensors = {
            jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
            for path, leaf in leaves
        }
        with self._writing(name), writing_whole(self.path(name)) as temporary:
            try:
                save_file(tensors, temporary)
            except SafetensorError as error:
                raise OSError(str(error)) from error


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
            own = name == "lstm-jax"  # run from its sources
            versions[name] = lstm_jax.__version__ if own else "not installed"
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "versions": versions,
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "device_count": jax.device_count(),
    }
