"""Does training that is killed at random moments reach the same results?

    python -m benchmarks.kills --moments 40 --how kill
    python -m benchmarks.kills --moments 60 --how all

A small classifier with shuffled batches of several shapes, loaded by threads, is
trained once without interruption. Then, for each moment, a run is started, killed at a
random time, and resumed. Metrics, weights and results must be the same, bit for bit.

kill     SIGKILL
term     SIGTERM
hangup   SIGHUP, as of a closed terminal
twice    Ctrl-C, and once more shortly after it
pipe     the reader of the output goes away
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lstm_jax.training.run_folder import TIMES, Run

WAYS = ("kill", "term", "hangup", "twice", "pipe")

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
epochs = 12
batch_size = 16
buckets = 3
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


def start(config, run, *more, **options):
    command = [sys.executable, "-u", "-m", "lstm_jax", "train", str(config)]
    command += [f"run.directory={run}", *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )


def finish(config, run):
    """Trains to the end, from wherever the run is."""
    more = ["--resume"] if (run / "config.toml").exists() else []
    process = start(config, run, *more)
    said, _ = process.communicate()
    return process.returncode, said.decode(errors="replace")


def outcome(run):
    """All that must be the same."""
    lines = Run(run).metrics()
    weights = (run / "model.safetensors").read_bytes()
    return (
        [{k: v for k, v in line.items() if k not in TIMES} for line in lines],
        weights,
        json.loads((run / "result-test.json").read_text()),
    )


def end(process, how, seconds):
    """Ends a process in some way after some time; it may have ended before."""
    if how == "pipe":
        process.stdout.close()
        process.wait()
        return
    time.sleep(seconds)
    kinds = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "hangup": signal.SIGHUP}
    if how == "twice":
        os.kill(process.pid, signal.SIGINT)
        time.sleep(random.random())
        if process.poll() is None:
            os.kill(process.pid, signal.SIGINT)
    else:
        os.kill(process.pid, kinds[how])
    process.communicate()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=40)
    parser.add_argument("--how", choices=(*WAYS, "all"), default="kill")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    random.seed(args.seed)
    same, reached = 0, []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        config = write(folder)
        began = time.monotonic()
        status, said = finish(config, folder / "whole")
        whole = time.monotonic() - began
        assert status == 0, said
        expected = outcome(folder / "whole")
        for n in range(args.moments):
            how = WAYS[n % len(WAYS)] if args.how == "all" else args.how
            run, seconds = folder / f"run{n}", random.random() * whole
            end(start(config, run), how, seconds)
            metrics = run / "metrics.jsonl"
            lines = len(metrics.read_text().splitlines()) if metrics.exists() else 0
            reached.append(lines)
            status, said = finish(config, run)
            equal = status == 0 and outcome(run) == expected
            same += equal
            print(f"{n}: {how} after {seconds:.1f} s, {lines} lines; same: {equal}")
            if not equal:
                print(said[-2000:])
    print(
        f"{same} of {args.moments} the same; ended before the first line in "
        f"{sum(lines == 0 for lines in reached)}"
    )
    return int(same < args.moments)


if __name__ == "__main__":
    sys.exit(main())
