"""Does a sweep whose processes are killed come to the same trials?

    python -m benchmarks.sweep_kills --trials 30 --workers 2 --kills 2
    python -m benchmarks.sweep_kills --trials 8 --kills 12 --when any

A small sweep runs once without interruption, by one process. Then the same sweep is
started with several workers. At random moments all of its processes are killed
(SIGKILL), and the same command is started again. Every second start is that of two
terminals with a process each. The sweep passes if

- it has the trials 0 to N - 1, each complete, in a folder of its own, and no others,
- no trial was started more often than the kills explain, and its metrics have every
  step once,
- its values are those of the uninterrupted sweep, bit for bit,
- a trial that had a checkpoint when it was killed continued from a checkpoint.

training   it is killed while a trial trains that has a checkpoint
any        it is killed at any moment, also while it starts

Needs Linux: workers are found in /proc.
"""

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lstm_jax import files
from lstm_jax.bench import machine

CONFIG = """
task = "memory"
[problem]
name = "adding"
length = 6
[optimizer]
learning_rate = 0.05
[train]
steps = {steps}
batch_size = 4
block = 4
evaluate_every = {every}
checkpoint_every = {every}
[evaluation]
sequences = 8
batch_size = 4
"""
WORDS = ("optimizer.learning_rate=log:1e-3..1e-1", "model.hidden_size=4")
SPACES = (*WORDS, "optimizer.clip_norm=0.5..2")
ANY_SECONDS = 15.0
"""A process is killed in so many seconds after its start."""


def write(folder: Path, steps: int = 240, every: int = 20) -> Path:
    """The config of a sweep whose trials are short, with many checkpoints."""
    path = folder / "small.toml"
    path.write_text(CONFIG.format(steps=steps, every=every))
    return path


class Command:
    """A process of ``lstm-jax sweep`` and its workers.

    Args:
        config: the config file.
        directory: the folder of the sweep.
        trials: the number of trials.
        workers: the number of processes that train.
    """

    def __init__(self, config: Path, directory: Path, trials: int, workers: int = 1):
        command = [sys.executable, "-m", "lstm_jax", "sweep", str(config), *SPACES]
        # What is sampled at random does not depend on which trials have finished.
        command += ["--sampler", "random", "--trials", str(trials)]
        command += ["--directory", str(directory), "--workers", str(workers)]
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command, stdout=self._output, stderr=subprocess.STDOUT
        )

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kills the process and its workers."""
        found = [self._process.pid, *_children(self._process.pid)]
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.finish()

    def send(self, kind: int) -> None:
        """Sends a signal to the process alone."""
        self._process.send_signal(kind)

    def finish(self) -> tuple[int, str]:
        """Waits for its end; its exit status and what it said."""
        status = self._process.wait()
        with self._output:
            self._output.seek(0)
            return status, self._output.read().decode(errors="replace")


def _children(pid):
    try:
        threads = [*Path(f"/proc/{pid}/task").iterdir()]
        return [int(n) for t in threads for n in (t / "children").read_text().split()]
    except OSError:
        return []


def trial_lines(directory: Path) -> list[dict[str, Any]]:
    """The lines of sweep.jsonl, by the numbers of the trials."""
    lines = (directory / "sweep.jsonl").read_text().splitlines()
    return sorted(map(json.loads, lines), key=lambda line: line["number"])


def in_training(directory: Path) -> list[Path]:
    """The runs that have a checkpoint, and no results yet."""
    found = []
    for run in sorted(directory.glob("trial-*")):
        checkpoints = run / "checkpoints"
        names = os.listdir(checkpoints) if checkpoints.is_dir() else []
        if any(map(str.isdecimal, names)) and not (run / "result-test.json").exists():
            found.append(run)
    return found


def done(directory: Path) -> int:
    """The number of trials that have results."""
    return len([*directory.glob("trial-*/result-test.json")])


def kill(
    commands: Sequence[Command], directory: Path, after: int, when: str = "training"
) -> list[Path]:
    """Kills commands at a random moment; returns the runs that had a checkpoint.

    Args:
        commands: all processes of the sweep.
        directory: its folder.
        after: so many trials have finished by then, in training.
        when: in training, or at any moment.
    """
    wait = 0.25
    if when == "any":
        wait = ANY_SECONDS
    else:
        at_work = lambda: done(directory) >= after and in_training(directory)
        while not at_work() and not any(command.is_over for command in commands):
            time.sleep(0.002)
    time.sleep(random.random() * wait)
    for command in commands:
        command.kill()
    return in_training(directory)


def faults(
    directory: Path,
    expected: Sequence[Mapping[str, Any]],
    kills: int,
    steps: int,
    cut: Sequence[Path] = (),
) -> list[str]:
    """What is wrong with a sweep at its end, in words.

    Args:
        directory: the folder of the sweep.
        expected: the trials of the uninterrupted sweep.
        kills: how often processes were killed, each process counted.
        steps: the steps of a trial.
        cut: runs that had a checkpoint when their process was killed.
    """
    found, trials = [], trial_lines(directory)
    numbers = [trial["number"] for trial in trials]
    if numbers != [trial["number"] for trial in expected]:
        found.append(f"the trials are {numbers}")
    folders = sorted(path.name for path in directory.glob("trial-*"))
    if folders != sorted(Path(trial["directory"]).name for trial in expected):
        found.append(f"the folders are {folders}")
    for one, other in zip(trials, expected, strict=False):
        for key in ("state", "overrides", "value"):
            if one[key] != other[key]:
                said = f"{key} is {one[key]}, not {other[key]}"
                found.append(f"trial {one['number']}: {said}")
    extra = sum(trial["starts"] - 1 for trial in trials)
    if extra > kills:
        found.append(f"{extra} trials were started again after {kills} kills")
    for run in sorted(directory.glob("trial-*")):
        found += [f"{run.name}: {fault}" for fault in _faults_of_run(run, steps)]
    for run in cut:
        starts = json.loads((run / "run.json").read_text()).get("resumed", [])
        if not any(start["step"] > 0 for start in starts):
            found.append(f"{run.name} had a checkpoint, and began again")
    return found


def _faults_of_run(run, steps):
    if not (run / "result-test.json").exists():
        yield "it has no results"
        return
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    trained = collections.Counter(line["step"] for line in lines if "loss" in line)
    if trained != collections.Counter(range(1, steps + 1)):
        yield "its metrics do not have every step once"


def disturbed(
    config: Path,
    directory: Path,
    trials: int,
    workers: int,
    kills: int,
    when: str = "training",
) -> list[Path]:
    """A sweep that is killed so many times and finished; returns the runs that were
    cut.

    Raises:
        RuntimeError: the last command failed.
    """
    cut = []
    for n in range(kills):
        # Every second time two terminals do the same.
        sizes = [workers] if n % 2 == 0 else [1, 1]
        commands = [Command(config, directory, trials, size) for size in sizes]
        after = trials * (n + 1) // (kills + 2)
        cut += kill(commands, directory, after, when)
        print(f"killed after {done(directory)} trials", flush=True)
    status, said = Command(config, directory, trials, workers).finish()
    if status:
        raise RuntimeError(said)
    return cut


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--when", choices=("training", "any"), default="training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a file of JSON for what is found")
    args = parser.parse_args(arguments)
    random.seed(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        config, steps = write(folder), 240
        status, said = Command(config, folder / "whole", args.trials).finish()
        if status:
            raise RuntimeError(said)
        expected = trial_lines(folder / "whole")
        sweep = folder / "killed"
        sizes = args.trials, args.workers, args.kills
        cut = disturbed(config, sweep, *sizes, args.when)
        processes = args.kills * max(args.workers, 2)
        found = faults(sweep, expected, processes, steps, cut)
        starts = [trial["starts"] for trial in trial_lines(sweep)]
    runs = [run.name for run in cut]
    print(f"{args.trials} trials, {len(runs)} cut: {', '.join(runs)}")
    print(*found or ["no faults"], sep="\n")
    if args.out:
        names = "trials", "workers", "kills", "when"
        shared = {name: getattr(args, name) for name in names}
        command = f"sweep_kills {' '.join(f'--{k} {v}' for k, v in shared.items())}"
        values = {"command": f"python -m benchmarks.{command} --seed {args.seed}"}
        values |= {"cpu": machine.cpu_model(), **shared, "cut": runs}
        files.write_json(args.out, values | {"starts": starts, "faults": found})
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
