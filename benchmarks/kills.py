"""Does training that is stopped at random moments reach the same results?

    python -m benchmarks.kills --moments 40 --how kill
    python -m benchmarks.kills --moments 60 --how all

A small classifier trains once without interruption. Its batches are shuffled, have
several shapes, and are loaded by threads. Then it is started again for every moment,
ended at a random moment of its life, and resumed. Every fourth run is ended once more
while it resumes. A run passes if

- the metrics that the ended run left are those of the uninterrupted run so far,
- whatever the process said had no traceback, and its exit status is the one it should
  be,
- the metrics, the best weights, the results and the whole training state at the end
  (parameters, optimizer state, random key) are those of the uninterrupted run, bit for
  bit.

kill     SIGKILL
term     SIGTERM
hangup   SIGHUP
twice    Ctrl-C, and once more shortly after
pipe     the reader of the output goes away; training goes on to its end
full     the disk is full from then on; needs root, to mount a small tmpfs
"""

import argparse
import contextlib
import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from lstm_jax import cli, files
from lstm_jax.bench import machine
from lstm_jax.training.metrics_file import TIMES

FORK = multiprocessing.get_context("fork")
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "hangup": signal.SIGHUP}
WAYS = (*SIGNALS, "twice", "pipe", "full")
STOPPED, OUTSIDE, REFUSED = 130, 143, 2
STATUS = {
    "kill": {-signal.SIGKILL},
    # Before the command line takes them, the signals end the process themselves.
    "term": {STOPPED, OUTSIDE, -signal.SIGTERM},
    "hangup": {STOPPED, OUTSIDE, -signal.SIGHUP},
    "twice": {STOPPED},
    "pipe": set(),
    "full": {REFUSED},
}
"""Exit statuses of a process that is ended in a way; 0 if it was done before."""

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
epochs = 6
batch_size = 16
buckets = 2
block = 8
evaluate_every = 15
checkpoint_every = 7
monitor = "valid_accuracy"
"""


def write(folder: Path) -> Path:
    """Series of 4 to 20 steps that rise or fall; the config that trains on them."""
    rng, lines = np.random.default_rng(0), ["id,x,label"]
    for n in range(400):
        for t in range(4 + n % 17):
            x = (-1) ** n * t / 5 + rng.normal()
            lines.append(f"s{n},{x:.4f},{('falls', 'rises')[n % 2]}")
    (folder / "series.csv").write_text("\n".join(lines) + "\n")
    config = folder / "kills.toml"
    config.write_text(CONFIG.format(path=folder / "series.csv"))
    return config


class Training:
    """A process that trains, from wherever the run is, as ``lstm-jax train`` does.

    It is forked from this process, which has imported everything and has no backend of
    JAX. What it compiles goes into a cache. So a moment takes seconds.
    """

    def __init__(self, config: Path, run: Path):
        arguments = ["train", str(config), f"run.directory={run}"]
        if (run / "config.toml").exists():
            arguments.append("--resume")
        reader, writer = os.pipe()
        cache = str(config.parent / "compiled")
        given = (arguments, reader, writer, cache)
        self._process = FORK.Process(target=_train, args=given)
        self._process.start()
        os.close(writer)
        self._output = open(reader, encoding="utf-8", errors="replace")  # noqa: SIM115

    @property
    def is_over(self) -> bool:
        return not self._process.is_alive()

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit status; ``None`` if it is not over after so many seconds."""
        self._process.join(seconds)
        return self._process.exitcode

    def kill(self, kind: int) -> None:
        """Sends a signal, if it is not over yet."""
        if not self.is_over:
            os.kill(self._process.pid, kind)

    def close_output(self) -> None:
        """Goes away as its reader."""
        self._output.close()

    def finish(self) -> tuple[int | None, str]:
        """Waits for its end; its exit status and what it said."""
        said = "" if self._output.closed else self._output.read()
        self._output.close()
        return self.wait(), said


def _train(arguments, reader, writer, cache):
    os.close(reader)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup would go on ignoring it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.close(writer)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    sys.exit(cli.main(arguments))


def finish(config, run):
    """Trains to the end, from wherever the run is."""
    return Training(config, run).finish()


def metrics(run):
    """The lines of metrics.jsonl without times; the last one may be half a line."""
    path = run / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [
        {k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines
    ]


def outcome(run):
    """All that must be the same at the end; read by a process that needs a backend."""
    reader, writer = FORK.Pipe(duplex=False)
    process = FORK.Process(target=lambda: writer.send(_outcome(run)))
    process.start()
    writer.close()
    found = reader.recv()
    process.join()
    return found


def _outcome(run):
    last = max(int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit())
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        state = checkpointer.restore(run / "checkpoints" / str(last) / "state")
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        "metrics": metrics(run),
        "weights": (run / "model.safetensors").read_bytes(),
        "results": json.loads((run / "result-test.json").read_text()),
        "step": last,
        "state": {str(path): np.asarray(leaf).tobytes() for path, leaf in leaves},
    }


def faults(status, said, run, expected):
    """What is wrong with a run at its end, in words."""
    if status:
        return [f"exit status {status}: {said[-2000:]}"]
    found = outcome(run)
    return [f"{name} differ" for name in expected if found[name] != expected[name]]


def faults_at_end(how, status, said, run, expected):
    """What is wrong with what an ended process has left, in words."""
    found = []
    if status not in {0} | STATUS[how]:
        found.append(f"exit status {status} after {how}")
    if "Traceback" in said:
        found.append(said[:1500])
    lines = metrics(run)
    if lines != expected["metrics"][: len(lines)]:
        found.append("metrics differ when it was ended")
    return found


def end(process, how, run):
    """Ends a process in some way; returns its exit status and what it said."""
    with contextlib.ExitStack() as stack:
        if how in SIGNALS:
            process.kill(SIGNALS[how])
        elif how == "twice":
            process.kill(signal.SIGINT)
            time.sleep(random.random() / 2)
            process.kill(signal.SIGINT)
        elif how == "pipe":
            process.close_output()
        elif how == "full":
            stack.enter_context(no_room(run.parent, process))
        return process.finish()


@contextlib.contextmanager
def no_room(folder, process):
    """Takes what room there is in the file system of a folder until a process ends."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        while not process.is_over:
            try:
                file.write(bytes(4096))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                time.sleep(0.01)
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def place(how):
    """A folder for a run; a small disk of its own where that is to be full."""
    with tempfile.TemporaryDirectory() as folder:
        if how != "full":
            yield Path(folder)
            return
        size = ["-o", "size=4m"]
        subprocess.run(["mount", "-t", "tmpfs", *size, "none", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


class Moment(NamedTuple):
    """A random moment in the life of a run, however fast the machine is by then."""

    lines: int
    """Of metrics, that it has at least; -1: from its first file on."""
    seconds: float
    """After these."""

    @classmethod
    def draw(cls, expected: Mapping[str, Any]) -> "Moment":
        """A moment of a run with this outcome."""
        return cls(random.randint(-1, len(expected["metrics"])), random.random() / 2)

    def wait(self, run: Path, process: Training) -> None:
        """Waits for it, or for the end of the process."""
        while not process.is_over and not self._has_come(run):
            time.sleep(0.005)
        process.wait(self.seconds)

    def _has_come(self, run):
        if self.lines < 0:
            return run.is_dir() and any(run.iterdir())
        path = run / "metrics.jsonl"
        return path.exists() and path.read_bytes().count(b"\n") >= self.lines


def uninterrupted(config, run):
    """The outcome of a run that nothing ends."""
    status, said = finish(config, run)
    if status:
        raise RuntimeError(said)
    return outcome(run)


def ended(config: Path, how: str, times: int, expected: dict) -> dict:
    """A run that is ended and resumed; what has come of it."""
    with place(how) as folder:
        run, found, ends = folder / "run", [], []
        for _ in range(times):
            process = Training(config, run)
            moment = Moment.draw(expected)
            moment.wait(run, process)
            status, said = end(process, how, run)
            ends.append({"status": status, "lines": len(metrics(run))})
            found += faults_at_end(how, status, said, run, expected)
        found += faults(*finish(config, run), run, expected)
    # What is kept names no folder of this machine.
    for name, path in (("DATA", config.parent), ("RUN", folder), ("ENV", sys.prefix)):
        found = [fault.replace(str(path), name) for fault in found]
    return {"how": how, "ended": ends, "faults": found}


def report(found, moments, command, out):
    """Prints how many moments had no fault, and writes all of them; 1 for a fault."""
    same = sum(not moment["faults"] for moment in found)
    print(f"{same} of {moments} the same")
    if out:
        values = {"command": f"python -m benchmarks.{command}"}
        values |= {"cpu": machine.cpu_model(), "same": same, "moments": found}
        files.write_json(out, values)
    return int(same < moments)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=40)
    parser.add_argument("--how", choices=(*WAYS, "all"), default="kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a file of JSON for what is found")
    args = parser.parse_args(arguments)
    random.seed(args.seed)
    ways, found = WAYS if args.how == "all" else (args.how,), []
    with tempfile.TemporaryDirectory() as folder:
        config = write(Path(folder))
        expected = uninterrupted(config, Path(folder) / "whole")
        for n in range(args.moments):
            times = 2 if n // len(ways) % 4 == 3 else 1
            found.append(ended(config, ways[n % len(ways)], times, expected))
            print(f"{n}:", json.dumps(found[-1]), flush=True)
    command = f"kills --moments {args.moments} --how {args.how} --seed {args.seed}"
    return report(found, args.moments, command, args.out)


if __name__ == "__main__":
    sys.exit(main())
