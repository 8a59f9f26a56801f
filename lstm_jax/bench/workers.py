"""Every contender in a process of its own, taking turns.

Threads of one library go on looking for work for a while after a call and would slow
down whoever is timed next in the same process; and libraries disagree about the threads
they share. Here a contender waits for its turn in a process that does nothing else.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lstm_jax.bench import timing

NO_PREALLOCATION = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Several processes share one accelerator."""

Build = Callable[..., Any]
"""In the process: calls by name, and what it has to say about the case."""


class BenchError(Exception):
    """A benchmark that cannot go on, and why, in one sentence."""


class Absent(BenchError):
    """A contender that does not take part in a case, and why."""


class Worker:
    """A process that runs the calls that ``build(*case)`` returns, by name."""

    def __init__(self, name: str, build: Build):
        # Not forked: XLA and OpenMP have threads, which a fork leaves behind.
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, theirs = context.Pipe()
        os.environ.update(NO_PREALLOCATION)
        self._process = context.Process(
            target=_serve, args=(theirs, build), daemon=True
        )
        self._process.start()
        # Held open here too, it would never end for us when the process does.
        theirs.close()

    def build(self, *case: Any) -> Any:
        """Gets ready for this case; returns what ``build`` says about it.

        Raises:
            Absent: the library is not installed, or does not support the case.
            BenchError: anything else went wrong, or the process ended.
        """
        return self._ask("build", case)

    def clock(self, name: str) -> Callable[[], float]:
        """A function that runs a call once and returns its seconds."""
        return lambda: self._ask("time", name)

    def close(self) -> None:
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _ask(self, *message):
        try:
            self._pipe.send(message)
            status, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise BenchError(self._end()) from None
        if status == "absent":
            raise Absent(answer)
        if status == "failed":
            raise BenchError(f"{self.name} failed with {answer}.")
        return answer

    def _end(self):
        self._process.join(timeout=5)
        code = self._process.exitcode
        how = f"with exit status {code}"
        if code is not None and code < 0:
            how = f"by signal {signal.Signals(-code).name}"
        hint = ", as happens when memory runs out" if code == -signal.SIGKILL else ""
        return (
            f"the process of {self.name} ended {how}{hint}; leave it out with --peers, "
            f"or take smaller shapes."
        )


@contextlib.contextmanager
def crew(builds: Mapping[str, Build]) -> Iterator[dict[str, Worker]]:
    """A worker for each name, all closed in the end."""
    with contextlib.ExitStack() as stack:
        workers = {}
        for name, build in builds.items():
            workers[name] = Worker(name, build)
            stack.callback(workers[name].close)
        yield workers


def _serve(pipe, build):
    # Ctrl-C reaches every process of a terminal; only the first decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    clocks = {}
    with contextlib.suppress(EOFError, OSError):
        while True:
            what, argument = pipe.recv()
            if what == "build":
                answer, clocks = _attempt(_build, build, argument)
            else:
                answer, _ = _attempt(_time, clocks[argument])
            pipe.send(answer)


def _build(build, case):
    calls, said = build(*case)
    return said, {name: timing.stopwatch(call) for name, call in calls.items()}


def _time(clock):
    return clock(), {}


def _attempt(f, *args):
    """What to answer, errors as text: not every one of them can be pickled."""
    try:
        answer, clocks = f(*args)
        return ("done", answer), clocks
    except (ImportError, NotImplementedError) as error:
        return ("absent", str(error)), {}
    except Exception as error:
        return ("failed", f"{type(error).__name__}: {error}"), {}
