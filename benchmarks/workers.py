"""Every contender in a process of its own, taking turns.

Threads of one library go on looking for work for a while after a call and would slow
down whoever is timed next in the same process; and libraries disagree about the threads
they share. Here a contender waits for its turn in a process that does nothing else.
"""

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

from benchmarks import timing

NO_PREALLOCATION = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Several processes share one accelerator."""


class Worker:
    """A process that runs the calls that ``build(*case)`` returns, by name."""

    def __init__(self, build: Callable[..., tuple[dict[str, Callable], Any]]):
        # Not forked: XLA and OpenMP have threads, which a fork leaves behind.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        os.environ.update(NO_PREALLOCATION)
        self._process = context.Process(
            target=_serve, args=(theirs, build), daemon=True
        )
        self._process.start()

    def build(self, *case: Any) -> Any:
        """Gets ready for this case; returns what ``build`` says about it."""
        return self._ask("build", case)

    def clock(self, name: str) -> Callable[[], float]:
        """A function that runs a call once and returns its seconds."""
        return lambda: self._ask("time", name)

    def close(self) -> None:
        self._pipe.close()
        self._process.join()

    def _ask(self, *message):
        self._pipe.send(message)
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(pipe, build):
    clocks = {}
    while True:
        try:
            what, argument = pipe.recv()
        except EOFError:
            return
        try:
            if what == "build":
                calls, answer = build(*argument)
                clocks = {name: timing.stopwatch(call) for name, call in calls.items()}
            else:
                answer = clocks[argument]()
        except Exception as error:
            answer = error
        pipe.send(answer)
