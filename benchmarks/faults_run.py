"""The run that benchmarks interrupt: its config, its moments and its outcome."""

import json
import multiprocessing
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from benchmarks.faults_processes import ONE, Kind, Training
from lstm_jax import files
from lstm_jax.training.metrics_file import TIMES

FORK = multiprocessing.get_context("fork")

CONFIG = """
task = "classification"
[data]
kind = "series"
path = "{path}"
valid_fraction = 0.2
test_fraction = 0.1
[model]
hidden_size = 16
output_dropout = 0.2
[optimizer]
learning_rate = 0.01
[train]
epochs = {epochs}
batch_size = 16
buckets = 2
block = 8
evaluate_every = 15
checkpoint_every = 7
monitor = "valid_accuracy"
"""


def write(folder: Path, epochs: int = 6) -> Path:
    """Series of 4 to 20 steps that rise or fall; the config that trains on them."""
    rng, lines = np.random.default_rng(0), ["id,x,label"]
    for n in range(400):
        for t in range(4 + n % 17):
            x = (-1) ** n * t / 5 + rng.normal()
            lines.append(f"s{n},{x:.4f},{('falls', 'rises')[n % 2]}")
    (folder / "series.csv").write_text("\n".join(lines) + "\n")
    config = folder / "kills.toml"
    config.write_text(CONFIG.format(path=folder / "series.csv", epochs=epochs))
    return config


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without times; the last one may be half a line."""
    path = run / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [
        {k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines
    ]


def steps(run: Path) -> list[int]:
    """The checkpoints that were written to their end, in order."""
    folder = run / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


def outcome(run: Path) -> dict[str, Any]:
    """All that must be the same at the end; read by a process that needs a backend."""
    reader, writer = FORK.Pipe(duplex=False)
    process = FORK.Process(target=lambda: writer.send(_outcome(run)))
    process.start()
    writer.close()
    found = reader.recv()
    process.join()
    return found


def _outcome(run):
    last = max(steps(run))
    folder = run / "checkpoints" / str(last) / "state"
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        # Several processes store how they share the arrays; here they are read whole.
        tree = checkpointer.metadata(folder).item_metadata.tree
        whole = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        args = ocp.args.PyTreeRestore(restore_args=whole)
        state = checkpointer.restore(folder, args=args)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        "metrics": metrics(run),
        "weights": (run / "model.safetensors").read_bytes(),
        "results": json.loads((run / "result-test.json").read_text()),
        "step": last,
        "state": {str(path): np.asarray(leaf).tobytes() for path, leaf in leaves},
    }


def finish(
    config: Path, run: Path, kind: Kind = ONE, port: int | None = None
) -> tuple[int | None, str]:
    """Trains to the end, from wherever the run is; arguments as of `Training`."""
    return Training(config, run, kind, port=port).finish()


def uninterrupted(config: Path, run: Path, kind: Kind = ONE) -> dict[str, Any]:
    """The outcome of a run that nothing ends. It fills the cache of what is compiled.

    Raises:
        RuntimeError: the run failed.
    """
    status, said = Training(config, run, kind, fill=True).finish()
    if status != 0:
        raise RuntimeError(said)
    return outcome(run)


def faults(
    status: int | None, said: str, run: Path, expected: Mapping[str, Any]
) -> list[str]:
    """What is wrong with a run at its end, in words."""
    if status != 0:
        return [f"exit status {status}: {said[-2000:]}"]
    found = outcome(run)
    wrong = [f"{name} differ" for name in expected if found[name] != expected[name]]
    left = [path for path in run.rglob("*") if is_half_written(path.name)]
    return wrong + [f"{path.relative_to(run)} was left" for path in left]


def is_half_written(name: str) -> bool:
    """Whether a file or folder of a run has the name of one that is being written."""
    return name.endswith(files.ASIDE) or "checkpoint-tmp" in name


START = -2
"""In place of a number of lines: from the start of the process on."""
FIRST_FILE = -1
"""In place of a number of lines: from the first file of the run on."""


class Moment(NamedTuple):
    """A random moment in the life of a run, however fast the machine is by then."""

    lines: int
    """Of metrics, that it has at least; or `START` or `FIRST_FILE`."""
    seconds: float
    """After these."""
    saves: bool = False
    """Whether it comes while a checkpoint is being written."""
    step: int = 0
    """Of a checkpoint that has been written by then."""

    @classmethod
    def draw(cls, expected: Mapping[str, Any]) -> "Moment":
        """A moment of a run with this outcome."""
        return cls(random.randint(-1, len(expected["metrics"])), random.random() / 2)

    @classmethod
    def of_life(cls, expected: Mapping[str, Any], before: int, start: float):
        """A moment that may also be in the start, in a checkpoint, and in the end.

        Args:
            expected: the outcome of the run.
            before: the lines of metrics that the run has already.
            start: seconds that the start takes, about.
        """
        last = len(expected["metrics"])
        lines = random.randint(min(before, last), last)
        parts = "start", "first", "lines", "lines", "lines", "saves", "end"
        part = random.choice(parts)
        if part == "start":
            return cls(START, random.random() * start)
        if part == "first":
            return cls(FIRST_FILE, random.random() / 2)
        if part == "saves":
            return cls(max(min(lines, last - 10), 0), random.random() / 20, saves=True)
        if part == "end":
            step = expected["step"]
            return cls(last, random.random() * start / 2, step=step)
        return cls(lines, random.random() / 2)

    def wait(self, run: Path, process: Training) -> None:
        """Waits for it, or for the end of the process."""
        while not process.is_over and not self._has_come(run):
            time.sleep(0.005)
        if self.saves:
            while not process.is_over and not is_saving(run):
                time.sleep(0.002)
        process.wait(self.seconds)

    def _has_come(self, run):
        if self.lines == START:
            return True
        if self.lines == FIRST_FILE:
            return run.is_dir() and any(run.iterdir())
        path = run / "metrics.jsonl"
        if not path.exists() or path.read_bytes().count(b"\n") < self.lines:
            return False
        return not self.step or self.step in steps(run)


def is_saving(run: Path) -> bool:
    """Whether a checkpoint is being written."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return False
    return any(is_half_written(path.name) for path in folder.iterdir())


def part_of_life(run: Path, began: float, last: int) -> str:
    """What a training does at this moment, as far as the files of its run show it.

    Args:
        run: the folder of the run.
        began: the clock at the start of the training.
        last: the last step of the whole run.
    """
    path = run / "metrics.jsonl"
    if not path.exists() or path.stat().st_mtime < began:
        return "start"
    if is_saving(run):
        return "checkpoint"
    return "end" if last in steps(run) else "training"


def logged_by_libraries(said: str) -> list[str]:
    """Lines of an output that are from C++ libraries, or of a traceback."""
    return [line for line in said.splitlines() if _is_log(line)]


def _is_log(line):
    head = line[:5]
    is_code = head[:1] in "EFWI" and head[1:].isdigit() and len(head) == 5
    return is_code or line.startswith("Traceback")


def errors(said: str) -> Sequence[str]:
    """What the command line says of errors."""
    return [line for line in said.splitlines() if line.startswith("lstm-jax: ")]
