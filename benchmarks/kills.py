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
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from lstm_jax import files
from lstm_jax.bench import machine
from lstm_jax.training.run_folder import TIMES

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "hangup": signal.SIGHUP}
WAYS = (*SIGNALS, "twice", "pipe", "full")
STOPPED, REFUSED = 130, 2
STATUS = {
    "kill": {-signal.SIGKILL},
    "term": {STOPPED, -signal.SIGTERM},  # by the signal while it does not train
    "hangup": {STOPPED, -signal.SIGHUP},
    "twice": {STOPPED},
    "pipe": set(),
    "full": {REFUSED},
}
"""Exit statuses after each way to stop a process. 0 is allowed too: it may be done."""

CACHE = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": -1,
}
"""All that is compiled goes into a cache, so that a moment takes seconds."""

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


def start(config, run):
    """A process that trains, from wherever the run is."""
    command = [sys.executable, "-u", "-m", "lstm_jax", "train", str(config)]
    command.append(f"run.directory={run}")
    if (run / "config.toml").exists():
        command.append("--resume")
    cache = {name: str(value) for name, value in CACHE.items()}
    cache["JAX_COMPILATION_CACHE_DIR"] = str(config.parent / "compiled")
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=os.environ | cache, **both)


def finish(config, run):
    """Trains to the end, from wherever the run is."""
    process = start(config, run)
    said, _ = process.communicate()
    return process.returncode, said.decode(errors="replace")


def metrics(run):
    """The lines of metrics.jsonl without times; the last one may be half a line."""
    path = run / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [
        {k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines
    ]


def outcome(run):
    """All that must be the same at the end."""
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
        found.append(said[-2000:])
    lines = metrics(run)
    if lines != expected["metrics"][: len(lines)]:
        found.append("metrics differ when it was ended")
    return found


def end(process, how, run):
    """Ends a process in some way; returns its exit status and what it said."""
    with contextlib.ExitStack() as stack:
        if how in SIGNALS:
            process.send_signal(SIGNALS[how])
        elif how == "twice":
            process.send_signal(signal.SIGINT)
            time.sleep(random.random() / 2)
            process.send_signal(signal.SIGINT)
        elif how == "pipe":
            process.stdout.close()
            return process.wait(), ""
        elif how == "full":
            stack.enter_context(no_room(run.parent, process))
        said, _ = process.communicate()
    return process.returncode, said.decode(errors="replace")


@contextlib.contextmanager
def no_room(folder, process):
    """Takes what room there is in the file system of a folder until a process ends."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        while process.poll() is None:
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


def wait_for(run, process):
    """Until there is something in the folder of a run, or its process has ended."""
    while process.poll() is None and not (run.is_dir() and any(run.iterdir())):
        time.sleep(0.01)


class Moments:
    """Ends runs of a config at random moments.

    Args:
        config: the path of the config.
        folder: where the uninterrupted run goes.
    """

    def __init__(self, config: Path, folder: Path):
        self.config = config
        status, said = finish(config, folder / "whole")
        if status:
            raise RuntimeError(said)
        self.expected = outcome(folder / "whole")
        # Once more: what is compiled by now takes no time any more.
        process = start(config, folder / "again")
        wait_for(folder / "again", process)
        began = time.monotonic()
        said, _ = process.communicate()
        self.seconds = time.monotonic() - began
        """From the first file of a run to the end of its process."""
        said = said.decode(errors="replace")
        found = faults(process.returncode, said, folder / "again", self.expected)
        if found:
            raise RuntimeError(f"two uninterrupted runs differ: {'; '.join(found)}")

    def one(self, n: int, how: str) -> dict:
        """A run that is ended and resumed; what has come of it."""
        with place(how) as folder:
            run, found, ended = folder / "run", [], []
            for _ in range(1 + (n % 4 == 3)):
                seconds = random.random() * self.seconds
                process = start(self.config, run)
                if not (run / "config.toml").exists():
                    wait_for(run, process)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)
                status, said = end(process, how, run)
                ended.append({"status": status, "lines": len(metrics(run))})
                found += faults_at_end(how, status, said, run, self.expected)
            found += faults(*finish(self.config, run), run, self.expected)
        return {"how": how, "ended": ended, "faults": found}


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
        moments = Moments(write(Path(folder)), Path(folder))
        print(f"the uninterrupted run takes {moments.seconds:.1f} s", flush=True)
        for n in range(args.moments):
            how = ways[n // 4 % len(ways)]  # each is ended once, and twice
            found.append(moments.one(n, how))
            print(f"{n}:", json.dumps(found[-1]), flush=True)
    same = sum(not moment["faults"] for moment in found)
    print(f"{same} of {args.moments} the same")
    if args.out:
        report = {"command": f"python -m benchmarks.kills --moments {args.moments}"}
        report["command"] += f" --how {args.how} --seed {args.seed}"
        report |= {"cpu": machine.cpu_model(), "same": same, "moments": found}
        files.write_json(args.out, report)
    return int(same < args.moments)


if __name__ == "__main__":
    sys.exit(main())
