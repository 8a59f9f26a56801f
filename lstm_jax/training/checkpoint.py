"""The training state on disk: whole, or not there.

A checkpoint is a folder named by its step. Orbax writes it aside. It gets a manifest
with the size and SHA-256 of each file, with the SHA-256 of the manifest itself, and
with the record of the run: run.json and the config, so that a checkpoint of another run
is recognised and a lost run.json can be restored. The folder is renamed when all of it
has reached the disk. A checkpoint that does not match its manifest is never used.

Several processes write one checkpoint together, each its own parts of the arrays, and
process 0 the rest. They need a file system that all of them see. The parts are cut as
the mesh is, but Orbax reads them for any other mesh.
"""

import concurrent.futures
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import pydantic
from jax.sharding import SingleDeviceSharding

from lstm_jax import files
from lstm_jax._types import PyTree
from lstm_jax.core.arguments import IMPLEMENTATION
from lstm_jax.core.trees import by_path
from lstm_jax.training import processes
from lstm_jax.training.run_errors import RunError, cannot_write
from lstm_jax.training.step import TrainState

MANIFEST = "manifest.json"

_NAME = re.compile("0|[1-9][0-9]*", re.ASCII)
"""The name of a complete checkpoint; a folder called 0200 is not one."""
_HALF = re.compile(rf"(0|[1-9][0-9]*)(\.[0-9a-f]{{16}})?{re.escape(files.ASIDE)}")
"""The name of one that was not written to its end; older versions had no token."""


class _Facts(pydantic.BaseModel, strict=True):
    """What `lstm_jax.training.trainer.Trainer.facts` keeps beside the arrays."""

    validations: list[tuple[int, list[float]]]
    best_step: list[int]
    seconds: float = 0.0
    lost: list[int] = []


class _Manifest(pydantic.BaseModel, strict=True):
    """The types of a manifest; what it says is used only if they are right."""

    step: int
    facts: _Facts
    arrays: dict[str, dict[str, tuple[list[int], str]]]
    files: dict[str, tuple[int, str]]
    record: dict[str, str] = {}


class Restored(NamedTuple):
    """What a checkpoint holds."""

    state: TrainState
    best: PyTree
    """The best parameters; ``None`` before the first evaluation."""
    facts: dict[str, Any]
    """What was handed to `Checkpoints.save` beside the arrays."""


class Checkpoints:
    """The checkpoints of a run, the newest ``keep`` of them.

    Writing overlaps with training: ``save`` copies the arrays and returns, and whatever
    went wrong is raised by the next ``save`` or by ``wait``.

    Args:
        directory: the folder they are in; the first `save` does not make it, `make`
            does.
        keep: how many there are.
        say: is told in a sentence about a checkpoint that is corrupt.
        record: files of the run by name, of which every manifest keeps a copy.
    """

    def __init__(
        self,
        directory: Path,
        keep: int = 2,
        say: Callable[[str], None] = print,
        record: Mapping[str, str] | None = None,
    ):
        self.directory = directory.absolute()
        self._keep, self._say = keep, say
        self._record = dict(record or {})
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._writing: concurrent.futures.Future | None = None

    # Writing

    def make(self) -> None:
        """Makes the folder before training starts.

        If the folder is removed while training, the next checkpoint makes it again:
        only the process knows the state by then. A link to a disk that is not there is
        left alone: a new folder in its place would hide the checkpoints.
        """
        try:
            files.make_folders(self.directory)
        except OSError as error:
            raise cannot_write(self.directory, error) from error

    def save(self, state: TrainState, best: PyTree, facts: dict[str, Any]) -> None:
        """Begins to write; the arrays may be donated as soon as it returns.

        Raises:
            RunError: the previous checkpoint could not be written.
        """
        self.wait()
        arrays = {"state": _arrays(state)} | ({} if best is None else {"best": best})
        if processes.count() > 1:
            self._write_together(int(state.step), arrays, facts)
            return
        copies = jax.tree.map(lambda leaf: np.array(leaf, copy=True), arrays)
        # So are the facts by this: the run goes on adding to its validation losses.
        facts = json.loads(json.dumps(facts))
        self._writing = self._writer.submit(self._write, int(state.step), copies, facts)

    def wait(self) -> None:
        """Until everything is on disk.

        Raises:
            RunError: it could not be written; what was there before is intact.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _write(self, step, arrays, facts):
        final = self.directory / str(step)
        if final.is_dir():
            return
        try:
            try:
                self._write_folder(final, arrays, facts)
            except Exception:
                if not self._make_again():
                    raise
                self._write_folder(final, arrays, facts)
            self._prune()
        except Exception as error:
            raise self._explain(final, error) from error

    def _write_folder(self, final, arrays, facts):
        with files.writing_folder(final) as aside:
            for name, tree in arrays.items():
                _save_tree(aside / name, tree)
            self._write_manifest(aside, int(final.name), arrays, facts)

    def _write_manifest(self, aside, step, arrays, facts):
        shapes = {name: _shapes(tree) for name, tree in arrays.items()}
        manifest = {"step": step, "facts": facts, "arrays": shapes}
        manifest |= {"record": self._record, "files": _digests(aside)}
        manifest["sha256"] = _sha256_of(manifest)
        files.write_text(aside / MANIFEST, json.dumps(manifest))

    def _write_together(self, step, arrays, facts):
        """Training waits meanwhile: the processes talk to each other as they write."""
        final = self.directory / str(step)
        if processes.of_first(final.is_dir()):
            return
        aside = final.with_name(f"{step}{files.ASIDE}")
        try:
            if not processes.is_first():
                processes.wait("checkpoint folder")
                for name, tree in arrays.items():
                    _save_tree(aside / name, tree)
            else:
                shutil.rmtree(aside, ignore_errors=True)
                with files.writing_folder(final, aside):
                    processes.wait("checkpoint folder")
                    for name, tree in arrays.items():
                        _save_tree(aside / name, tree)
                    self._write_manifest(aside, step, arrays, facts)
                self._prune()
        except Exception as error:
            if processes.is_lost(error):
                raise
            raise self._explain(final, error) from error
        processes.wait("checkpoint")

    def _make_again(self):
        """Whether the folder was removed, and is there again."""
        if os.path.lexists(self.directory) or not self.directory.parent.is_dir():
            return False
        self._say(f"{self.directory} was removed; it is made again.")
        self.directory.mkdir()  # not the folders above: the run may have been moved
        files.sync(self.directory.parent)
        return True

    def _explain(self, path, error):
        steps = self.steps
        kept = f"the checkpoint of step {steps[-1]:,} is intact" if steps else ""
        return cannot_write(path, error, kept or "there is no checkpoint yet")

    def _prune(self):
        for step in self.steps[: -self._keep]:
            shutil.rmtree(self.directory / str(step), ignore_errors=True)

    # Reading

    @property
    def steps(self) -> list[int]:
        """Steps of all complete checkpoints, ascending; some may be corrupt now."""
        return sorted(int(name) for name in self._folders() if _NAME.fullmatch(name))

    def _folders(self):
        try:
            with os.scandir(self.directory) as entries:
                return [entry.name for entry in entries if entry.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise RunError(
                f"cannot read {self.directory}: {error.strerror}."
            ) from error

    def last_good(self) -> int | None:
        """The step of the newest checkpoint whose checksums match, or ``None``.

        Reports newer checkpoints that are corrupt.
        """
        for step in reversed(self.steps):
            fault = self._fault(step)
            if fault is None:
                return step
            self._say(f"the checkpoint of step {step:,} is corrupt ({fault}).")
        return None

    def restore(self, step: int, like: TrainState, best_like: PyTree) -> Restored:
        """A checkpoint, in the structures, dtypes and shapes of the arguments.

        Raises:
            RunError: the checkpoint is of another model.
        """
        folder = self.directory / str(step)
        state: Any = self._load(folder / "state", _arrays(like))
        key = jax.random.wrap_key_data(state.key, impl=IMPLEMENTATION)
        state = state._replace(key=key)
        best = None
        if (folder / "best").exists():
            best = self._load(folder / "best", best_like)
        return Restored(state, best, self.facts(step))

    def facts(self, step: int) -> dict[str, Any]:
        """What was handed to `save` beside the arrays."""
        return self._manifest(step)["facts"]

    def record(self, step: int) -> dict[str, str]:
        """Copies of files of the run that a checkpoint is of; none in older ones."""
        return self._manifest(step).get("record", {})

    def restore_best(self, step: int, like: PyTree) -> PyTree:
        """The best parameters of a checkpoint; ``None`` before the first evaluation.

        Raises:
            RunError: they are those of another model.
        """
        folder = self.directory / str(step) / "best"
        return self._load(folder, like) if folder.exists() else None

    def set_aside(self, later_than: int) -> None:
        """Renames checkpoints that would stand in the way of those to come."""
        for step in self.steps:
            if step > later_than:
                folder = self.directory / str(step)
                damaged = folder.with_suffix(".damaged")
                shutil.rmtree(damaged, ignore_errors=True)
                try:
                    os.replace(folder, damaged)
                    files.sync(self.directory)
                except OSError as error:
                    raise self._explain(damaged, error) from error

    def remove_half_written(self) -> None:
        """Says which were not written to their end, and removes them."""
        for name in sorted(self._folders()):
            if half := _HALF.fullmatch(name):
                step = half.group(1)
                self._say(f"the checkpoint of step {step} was not written to its end.")
                shutil.rmtree(self.directory / name, ignore_errors=True)

    def _load(self, folder, like):
        there = self._manifest(int(folder.parent.name))["arrays"][folder.name]
        wanted = _shapes(like)
        for name in there | wanted:
            if there.get(name) != wanted.get(name):
                raise RunError(
                    f"{folder} is of another model: its {name} is {_say(there, name)}, "
                    f"expected {_say(wanted, name)}; use it with its own config."
                )
        target = jax.tree.map(_target, like)
        try:
            with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
                restore = ocp.args.StandardRestore(target)
                return checkpointer.restore(folder, args=restore)
        except Exception as error:  # Orbax has no common error for corrupt files
            said = (str(error) or type(error).__name__).splitlines()[0]
            raise RunError(
                f"{folder} cannot be restored: {said}; remove {folder.parent}, so that "
                f"the checkpoint before is used."
            ) from error

    def _manifest(self, step):
        return files.read_json(self.directory / str(step) / MANIFEST)

    def _fault(self, step):
        """What is wrong with a checkpoint, in words."""
        folder = self.directory / str(step)
        try:
            manifest = self._manifest(step)
            if not _is_itself(manifest):
                return f"{MANIFEST} does not agree with its SHA-256"
            _Manifest.model_validate_json(json.dumps(manifest))
            if manifest["step"] != step:
                return f"{MANIFEST} is of step {manifest['step']}"
            return _first_difference(folder, manifest["files"])
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            return f"{MANIFEST}: {where}: {first['msg']}"
        except (OSError, ValueError) as error:
            return f"{MANIFEST}: {error}"


def _target(leaf):
    """Where to restore an array: as ``leaf`` lies, or on one device.

    Without a place, Orbax would look for the devices that wrote the checkpoint.
    """
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
        sharding = SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _first_difference(folder, wanted):
    """What a file differs in from its size and SHA-256. All sizes come first: a wrong
    one tells without reading a file, which may be huge."""
    there = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    for name, (size, _) in wanted.items():
        if name not in there:
            return f"{name} is missing"
        if there[name].stat().st_size != size:
            return f"{name} does not agree with its SHA-256"
    for name, (_, digest) in wanted.items():
        if _digest(there[name]) != digest:
            return f"{name} does not agree with its SHA-256"
    return None


def _arrays(state):
    """Orbax stores arrays; a typed key goes as its data."""
    return state._replace(key=jax.random.key_data(state.key))


def _shapes(tree):
    """Name to shape and dtype of every array."""
    return {
        name: [[*leaf.shape], str(leaf.dtype)] for name, leaf in by_path(tree).items()
    }


def _say(shapes, name):
    if name not in shapes:
        return "not there"
    shape, dtype = shapes[name]
    return f"{dtype}{shape}"


def _save_tree(folder, tree):
    # What Orbax would log of a failure is in the error that it raises as well.
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            checkpointer.save(folder, args=ocp.args.StandardSave(tree))
    finally:
        log.setLevel(level)


def _files(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in paths if path.name != MANIFEST]


def _digests(folder):
    return {
        path.relative_to(folder).as_posix(): [
            path.stat().st_size,
            _digest(path),
        ]
        for path in sorted(_files(folder))
    }


def _digest(path):
    with files.open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of(manifest):
    text = json.dumps(manifest, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_itself(manifest):
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    return manifest.get("sha256") == _sha256_of(rest)
