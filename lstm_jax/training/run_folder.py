"""The folder of a run: its config, metadata, metrics, checkpoints and results.

config.toml         the resolved config
run.json            metadata: id, data, sizes, versions and machine of every start,
                    seconds, seeds that diverged, the final split; its types are in
                    `lstm_jax.training.metadata`
metrics.jsonl       a line for every step, and for every evaluation; `seconds` is the
                    training time so far, `time` the clock, in seconds since 1970
tensorboard/        the metrics as event files, with train.tensorboard=true
checkpoints/        the whole state, to resume from, and the best weights so far, with
                    copies of run.json and config.toml
model.safetensors   the best weights; with several seeds model-seed0.safetensors, ...
result-*.json       the final metrics of a split
evaluations.jsonl   results of `lstm-jax evaluate`
*.png               curves
"""

import contextlib
import errno
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax import files
from lstm_jax._types import PyTree
from lstm_jax.config import PathText, config
from lstm_jax.core.trees import by_path
from lstm_jax.training.metrics_file import is_evaluation, read_lines
from lstm_jax.training.run_errors import RunError, cannot_write

try:
    import fcntl
except ImportError:  # Windows has no fcntl
    fcntl = None


RESTORED = (
    "bring a copy back, or restore the one in the newest checkpoint with lstm-jax "
    "train CONFIG --resume"
)
"""The advice if run.json cannot be used."""

LOCK_TRIES = 3
"""`Run.is_in_use` has the lock for a moment: one try more than that is enough."""


@config
class RunConfig:
    """Where to save the run."""

    directory: PathText = ""
    """The folder of the run; empty means `runs/` and the name of the config file."""


class Run:
    """The folder of one run.

    Raises a `RunError` if it cannot write a file.
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        self.listeners: list[Any] = []
        """Called with every new lines of metrics."""
        self._held: int | None = None
        """A descriptor of the folder while `alone` holds it."""

    @classmethod
    def make(cls, directory: str | Path) -> "Run":
        """The folder of a new run; `begin` starts the run in it.

        Raises:
            RunError: the folder already contains a run, or is not writable.
        """
        cls.check_vacant(directory)
        run = cls(directory)
        try:
            files.make_folders(run.directory)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise cannot_write(run.directory, error) from error
        return run

    def begin(self, config: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Writes what a new run starts with; returns its metadata, with its ``id``.

        Call it inside `alone`, and train before leaving `alone`. Otherwise two
        processes that start at once would both find the folder vacant. config.toml is
        written last, and the run exists from then on.

        Raises:
            RunError: the folder already contains a run, or is not writable.
        """
        self.check_vacant(self.directory)
        facts = {"id": uuid.uuid4().hex} | dict(facts)
        self.write_json("run.json", facts)
        self.write_text("config.toml", config)
        return facts

    @classmethod
    def check_vacant(cls, directory: str | Path) -> None:
        """Raises the RunError that `make` would raise because of the
        folder's contents.
        """
        run = cls(directory)
        try:
            if run.directory.exists() and not run.directory.is_dir():
                raise RunError(
                    f"run.directory={directory} is a file, expected a folder."
                )
            if run.has_begun:
                raise RunError(
                    f"{directory} already holds a run; continue it with --resume, or "
                    f"name a new folder with run.directory=FOLDER."
                )
        except OSError as error:
            raise cannot_write(run.directory, error) from error

    @classmethod
    def open(cls, directory: str | Path) -> "Run":
        """Opens an existing run.

        Raises:
            RunError: there is no run, or the folder cannot be read.
        """
        run = cls(directory)
        # pathlib's predicates raise some system errors and hide others.
        try:
            os.stat(run.path("config.toml"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunError(f"{directory} is not a run: {run._instead()}.") from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise RunError(f"cannot read {directory}: {reason}.") from error
        return run

    def _instead(self):
        """What a folder without config.toml is, and what to do."""
        if os.path.isfile(self.path("stack.json")):
            return (
                "it holds weights made by lstm-jax import, which have no task and no "
                "data; use lstm-jax export, or lstm_jax.interop.load_stored in Python"
            )
        if not os.path.isdir(self.directory):
            return "there is no such folder; list your runs with lstm-jax runs FOLDER"
        return "it has no config.toml; start a run with lstm-jax train CONFIG"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Locks the folder. The lock ends with the process, however it ends.

        If the file system has no locks, the folder is not locked. If the folder is
        moved or replaced while locked, the next write raises an error.

        Raises:
            RunError: another process is training in the folder.
        """
        if fcntl is None:
            yield
            return
        try:
            folder = os.open(self.directory, os.O_RDONLY)
        except OSError as error:
            raise cannot_write(self.directory, error) from error
        try:
            try:
                _lock(folder)
            except BlockingIOError as error:
                raise RunError(
                    f"another process is training {self.directory}; wait for it, or "
                    f"name a new folder with run.directory=FOLDER."
                ) from error
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                    raise cannot_write(self.directory, error) from error
            self._held = folder
            self.check_place()
            yield
        finally:
            self._held = None
            os.close(folder)

    def is_in_use(self) -> bool:
        """Whether a process is training in the folder; False where locks are unknown.

        Asking takes the lock for a moment, for which `alone` waits.
        """
        if fcntl is None:
            return False
        with contextlib.ExitStack() as stack:
            try:
                folder = os.open(self.directory, os.O_RDONLY)
                stack.callback(os.close, folder)
                fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:
                return False
        return False

    def check_place(self) -> None:
        """Raises RunError if the locked folder has been moved."""
        if self._held is None:
            return
        held, there = os.fstat(self._held), None
        with contextlib.suppress(OSError):
            there = os.stat(self.directory)
        if there is None or not os.path.samestat(held, there):
            raise RunError(
                f"{self.directory} was moved, replaced or removed while it was in "
                f"use; resume the run at its new place, from its last checkpoint."
            )

    def path(self, name: str) -> Path:
        """The path of a file with this name."""
        return self.directory / name

    @property
    def has_begun(self) -> bool:
        """Whether the folder contains more than what `begin` writes."""
        if not os.path.isdir(self.directory):
            return False
        try:
            names = {path.name for path in self.directory.iterdir()}
        except OSError as error:
            raise cannot_write(self.directory, error) from error
        created = {"run.json", "config.toml"}
        created |= {f"{name}.tmp" for name in created}  # of older versions
        return not all(name in created or files.is_leftover(name) for name in names)

    def write_text(self, name: str, text: str) -> None:
        """The file is the old one or the new one."""
        with self._writing(name):
            files.write_text(self.path(name), text)

    @contextlib.contextmanager
    def _writing(self, name):
        self.check_place()
        try:
            yield
        except OSError as error:
            kept = (
                "its checkpoints are intact"
                if os.path.isdir(self.path("checkpoints"))
                else ""
            )
            raise cannot_write(self.path(name), error, kept) from error

    def set_aside(self, name: str) -> None:
        """Renames a corrupt file, if it exists, to make room for a new file."""
        with self._writing(name):
            if os.path.lexists(self.path(name)):
                os.replace(self.path(name), self.path(f"{name}.damaged"))

    def remove_leftovers(self) -> None:
        """Removes what an interrupted write has left in the folder."""
        files.remove_leftovers(self.directory)

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """The file is the old one or the new one."""
        with self._writing(name):
            files.write_json(self.path(name), values)

    def append_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Appends a line to a file of JSON lines."""
        self._append(name, [values])

    def _append(self, name, lines):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        with self._writing(name):
            files.append(self.path(name), text.encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """Reads the JSON object in a file of the run.

        Raises:
            RunError: the file is missing or corrupt.
        """
        try:
            return files.read_json(self.path(name))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            remedy = "bring a copy back, or start a new run with run.directory=FOLDER"
            if name == "run.json":
                remedy = RESTORED
            raise RunError(
                f"{self.path(name)} is missing or corrupt ({reason}); {remedy}."
            ) from error

    def log(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Adds lines to the metrics and passes them to the listeners."""
        lines = list(lines)
        self._append("metrics.jsonl", lines)
        for listener in self.listeners:
            listener(lines)

    def sync(self) -> None:
        """Syncs the metrics to disk, so that no checkpoint is ahead of them."""
        with self._writing("metrics.jsonl"):
            if self.path("metrics.jsonl").exists():
                files.sync(self.path("metrics.jsonl"))
                files.sync(self.directory)  # the file may be new in its folder

    def metrics(self, synced: int | None = None) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl; none if the file does not exist.

        Args:
            synced: a step up to which the lines have reached the disk. After a power
                cut, later lines may be corrupt; the first such line ends the metrics.

        Raises:
            RunError: the file cannot be read, or a line is corrupt.
        """
        return read_lines(self.path("metrics.jsonl"), synced)

    def evaluations(self) -> list[dict[str, Any]]:
        """The lines of metrics that are evaluations."""
        return [line for line in self.metrics() if is_evaluation(line)]

    def rewind(self, step: int) -> None:
        """Removes metrics after ``step``; the run continues from there."""
        kept = [line for line in self.metrics(step) if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        self.write_text("metrics.jsonl", text)

    def save_weights(self, params: PyTree, name: str = "model.safetensors") -> None:
        """Writes one tensor per parameter, named by its path."""
        tensors = {name: np.asarray(leaf) for name, leaf in by_path(params).items()}
        with self._writing(name):
            files.write_safetensors(self.path(name), tensors)


class Onlooker(Run):
    """The folder of a run that another process writes. Whatever is written is dropped.

    The processes of one training make the same calls; only process 0 has a `Run`.
    """

    @classmethod
    def make(cls, directory: str | Path) -> "Run":
        return cls(directory)

    @classmethod
    def check_vacant(cls, directory: str | Path) -> None:
        del directory

    def begin(self, config: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        del config
        return dict(facts)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        yield

    def write_text(self, name: str, text: str) -> None:
        del name, text

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        del name, values

    def _append(self, name, lines):
        del name, lines

    def set_aside(self, name: str) -> None:
        del name

    def remove_leftovers(self) -> None:
        pass

    def sync(self) -> None:
        pass

    def rewind(self, step: int) -> None:
        del step

    def save_weights(self, params: PyTree, name: str = "model.safetensors") -> None:
        del params, name


def _lock(folder):
    """Takes the lock of a folder; BlockingIOError where another process keeps it."""
    assert fcntl is not None
    for _ in range(LOCK_TRIES - 1):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.05)
    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
