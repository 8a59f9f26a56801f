"""One process of several that train together, watched by a process of its own.

When another process does not answer any more, JAX's runtime ends this one from C++,
with pages of its own log and without a word to the user. So the training runs in a
child process. Its parent passes on signals, output and the exit status, and turns such
an end into one sentence.
"""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from lstm_jax.terminal import output_may_close
from lstm_jax.training.processes import BEGUN, JOINED, WORKER

SETTINGS = {"JAX_ENABLE_PREEMPTION_SERVICE": "false"}
"""Environment variables of the child. JAX's service would take SIGTERM for itself, and
a request to stop would be lost until the training loop begins."""

_FATAL = re.compile(
    r"^[EF]\d{4} .*(coordination|distributed|heartbeat|client\.h)|"
    r"Terminating process because|\*\*\* Check failure|Polled an error|"
    r"gloo::EnforceNotMet",
    re.IGNORECASE,
)
"""What the runtime logs as it ends the process; everything after it is its log too."""

_NOISE = re.compile(
    r"^[EWI]\d{4} [\d:.]+ +\d+ \S+\.cc:|^Additional GRPC error|^:UNKNOWN:Error received"
)
"""What the runtime logs of connections."""

LOST = 3
"""The exit status of a worker that has lost another process."""


class End(NamedTuple):
    """How a child ended."""

    status: int
    lost: bool
    """Whether another process does not answer any more."""
    told: frozenset[str]
    """What it had told before: `JOINED`, and `BEGUN` of the training."""


def is_worker() -> bool:
    """Whether this process is such a child."""
    return WORKER in os.environ


def follow_parent() -> None:
    """Ends this process when its parent ends, even by SIGKILL. Only on Linux."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (AttributeError, OSError):
        return
    if os.getppid() != int(os.environ[WORKER]):  # it has ended already
        os._exit(LOST)


class ProcessLost(Exception):
    """Another process does not answer any more. The parent says so."""


_is_done = False


@contextlib.contextmanager
def fails_alone(is_lost: Callable[[BaseException], bool]) -> Iterator[None]:
    """Marks the end of what the processes do together; after a failure there is none.

    Args:
        is_lost: whether an error comes from the loss of another process.

    Raises:
        ProcessLost: it does.
    """
    global _is_done
    try:
        yield
    except BaseException as error:
        if is_lost(error):
            raise ProcessLost from error
        raise
    _is_done = True


def leave(status: int) -> int:
    """The status at the end of the command; a worker that has failed ends here.

    At a normal end JAX waits until all processes have come to theirs. After a failure,
    even one while the processes join, the others would wait for this one, and this one
    for them.
    """
    if _is_done or not is_worker():
        return status
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def watch(argv: Sequence[str]) -> End:
    """Runs ``lstm-jax`` with these arguments in a child, and passes on its errors."""
    command = [sys.executable, "-m", "lstm_jax", *argv]
    environment = os.environ | {WORKER: str(os.getpid())} | SETTINGS
    # A group of its own: Ctrl-C reaches the parent alone, which passes it on once.
    child = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, process_group=0
    )
    kinds = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):  # Windows has none
        kinds.append(signal.SIGHUP)
    before = {
        kind: signal.signal(kind, lambda number, frame: child.send_signal(number))
        for kind in kinds
    }
    try:
        with output_may_close():  # a closed terminal must not cost a training
            told, ended_by_runtime = _pass_on(child.stderr)
        status = child.wait()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
    lost = status == LOST or (status == -signal.SIGABRT and ended_by_runtime)
    return End(status if status >= 0 else 128 - status, lost, told)


def _pass_on(stream) -> tuple[frozenset[str], bool]:
    """Copies standard error, but not the runtime's log of its own end.

    Returns:
        What the child tells its parent, and whether there was such a log.
    """
    told, fatal = set(), False
    for line in stream:
        text = line.decode("utf-8", "replace")
        if text.strip() in (JOINED, BEGUN):
            told.add(text.strip())
            continue
        fatal |= bool(_FATAL.search(text))
        if not (fatal or _NOISE.search(text)):
            sys.stderr.write(text)
            sys.stderr.flush()
    return frozenset(told), fatal
