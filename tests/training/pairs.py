"""Trains one run in several processes, again and again.

    python -m tests.training.pairs ROUNDS PROCESSES FOLDER ARGUMENT ...

A round is a run in ``FOLDER/0``, ``FOLDER/1``, ... with the arguments of ``lstm-jax
train``. Exits with the first status that is not 0. The processes are forked from this
one, which has imported everything and has no backend of JAX, so a round takes seconds.
With ``STOP_AT=STEP`` the last process gets Ctrl-C at this step of every round.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
import socket
import sys
from pathlib import Path

from lstm_jax import cli
from lstm_jax.commands import worker
from lstm_jax.training import progress

LATER = ("matplotlib.figure", "safetensors.numpy", "scipy.linalg")
"""What a run imports when it needs it: every process of every round would do so anew.
"""
FORK = multiprocessing.get_context("fork")
SECONDS = 120


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def flags(port: int, count: int, n: int) -> list[str]:
    """The options of process ``n``."""
    where = ["--coordinator", f"127.0.0.1:{port}"]
    return ["--distributed", *where, "--processes", str(count), "--process", str(n)]


def train(n, count, port, folder, arguments):
    os.environ[worker.WORKER] = str(os.getppid())
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / f"log{n}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if n == count - 1 and "STOP_AT" in os.environ:
        interrupt(int(os.environ["STOP_AT"]))
    directory = f"run.directory={folder / 'run'}"
    with contextlib.suppress(SystemExit):
        os._exit(cli.main(["train", *arguments, directory, *flags(port, count, n)]))


def interrupt(step):
    update = progress.ProgressReport.update

    def and_interrupt(self, at, loss):
        update(self, at, loss)
        if at >= step:
            signal.raise_signal(signal.SIGINT)

    progress.ProgressReport.update = and_interrupt


def main(rounds: str, count: str, folder: str, *arguments: str) -> int:
    for name in LATER:
        importlib.import_module(name)
    for k in range(int(rounds)):
        given = (int(count), free_port(), Path(folder) / str(k), [*arguments])
        group = [
            FORK.Process(target=train, args=(n, *given)) for n in range(int(count))
        ]
        for process in group:
            process.start()
        for process in group:
            process.join(SECONDS)
        statuses = [process.exitcode for process in group]
        if any(statuses):
            print(f"round {k}: {statuses}", file=sys.stderr)
            return max(abs(status or 99) for status in statuses)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
