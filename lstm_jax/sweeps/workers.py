"""Several workers of a sweep: processes that train trials of one study."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from lstm_jax.terminal import say
from lstm_jax.training.run_errors import RunError, cannot_write
from lstm_jax.training.stop import stop_requests

POLL_SECONDS = 0.5


class Workers:
    """Processes of the command ``lstm-jax sweep``, each with a log in the folder.

    A worker stops and saves when its standard input ends. So it does when this process
    is killed, and no worker is left behind.

    Args:
        arguments: of a worker's command, without its number.
        count: how many.
        directory: the folder of the sweep.

    Raises:
        RunError: the folder cannot be written.
    """

    def __init__(self, arguments: Sequence[str], count: int, directory: Path):
        self.logs = [directory / f"worker-{n}.log" for n in range(1, count + 1)]
        # A process takes most of the memory of an accelerator, unless it is told.
        share = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / count:.3f}"}
        self._processes: list[subprocess.Popen] = []
        command = [sys.executable, "-m", "lstm_jax", "sweep", *arguments]
        for n, log in enumerate(self.logs, start=1):
            try:
                output = log.open("ab")
            except OSError as error:
                self.stop()
                raise cannot_write(log, error) from error
            with output:
                self._processes.append(
                    subprocess.Popen(
                        [*command, "--as-worker", str(n)],
                        stdin=subprocess.PIPE,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        env=share | os.environ,
                        start_new_session=True,  # Ctrl-C is for this process
                    )
                )

    def wait(self, look: Callable[[], None]) -> str | None:
        """Waits until all workers have ended.

        Args:
            look: called every now and then.

        Returns:
            The signal that stopped them; ``None`` if there was none.

        Raises:
            RunError: no worker finished, because of errors; the message has the last
                line of one.
        """
        ended: dict[int, int] = {}
        with stop_requests() as stop:
            try:
                while len(ended) < len(self._processes) and not stop.is_set():
                    stop.wait(POLL_SECONDS)
                    look()
                    self._tell_of_ends(ended)
                if stop.is_set():
                    say("stopping; the workers save their trials.")
                self.stop()
            except BaseException:  # a second Ctrl-C; no trial is lost by a kill
                for process in self._processes:
                    process.kill()
                self.stop()
                raise
        look()
        return stop.signal if stop.is_set() else self._check(ended)

    def stop(self) -> None:
        """Asks all workers to stop and save, and waits for them."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            process.wait()

    def _tell_of_ends(self, ended):
        for n, process in enumerate(self._processes):
            if n not in ended and process.poll() is not None:
                ended[n] = process.returncode
                if process.returncode and len(ended) < len(self._processes):
                    say(self._said(n), error=True)

    def _check(self, ended):
        failed = [n for n, status in ended.items() if status]
        if len(failed) == len(ended):
            raise RunError(
                f"{self._said(failed[-1])} Its output is in {self.logs[failed[-1]]}."
            )

    def _said(self, n):
        status = self._processes[n].returncode
        return f"worker {n + 1} ended with status {status}: {_last_line(self.logs[n])}"


def _last_line(path):
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    lines = [line for line in lines if line.strip()]
    return lines[-1].removeprefix("lstm-jax: ") if lines else "it said nothing."


def stops_with_parent() -> Callable[[], bool]:
    """Stops this process when its standard input ends, as SIGTERM does.

    Returns:
        A function that says whether it has ended.
    """
    ended = threading.Event()

    def watch():
        # Not sys.stdin, whose lock a thread may not hold when Python ends.
        while os.read(0, 1):
            pass
        ended.set()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    return ended.is_set
