"""Processes that train one run, and that a benchmark may end at any moment.

A training is one process, or several processes that run ``lstm-jax train
--distributed``. Each of several processes is a pair: a parent that watches, and a
worker that trains.

By default the processes are forked from the benchmark, which has imported everything
and has no backend of JAX. So a start takes less than a second. With ``real`` they are
started as a user starts them.
"""

import atexit
import contextlib
import ctypes
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from lstm_jax import cli
from lstm_jax.commands import worker

HEARTBEAT = 10
"""Seconds without a sign of life after which a process counts as lost."""
CONNECT = 20
"""Seconds that a process waits for the others at the start."""
MARGIN = 15
"""Seconds that a process may take to end, after it has noticed that it must."""
COMPLETE = 600
"""Seconds after which a training that nothing disturbs counts as stuck."""

PIPE_SIZE = 1031  # F_SETPIPE_SZ
BECOME_REAPER = 36  # PR_SET_CHILD_SUBREAPER


def adopt_orphans() -> None:
    """Makes this process the parent of orphans, so that `left_behind` finds them."""
    ctypes.CDLL(None).prctl(BECOME_REAPER, 1)


def children(pid: int) -> list[int]:
    """The children of a process, by the numbers of their processes."""
    try:
        threads = [*Path(f"/proc/{pid}/task").iterdir()]
        return [int(n) for t in threads for n in (t / "children").read_text().split()]
    except OSError:  # it has ended
        return []


def left_behind(before: Sequence[int], seconds: float) -> list[int]:
    """Ends orphans that do not end by themselves within so many seconds.

    Args:
        before: children of this process that are none.
        seconds: how long to wait for the others.

    Returns:
        The numbers of the processes that did not end.
    """
    until = time.monotonic() + seconds
    while True:
        found = [pid for pid in children(os.getpid()) if pid not in before]
        found = [pid for pid in found if not _has_ended(pid)]
        if not found or time.monotonic() > until:
            break
        time.sleep(0.01)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return found


def _has_ended(pid):
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


class Forked:
    """A forked process, with what is needed here of `subprocess.Popen`."""

    def __init__(self, target: Callable[[], int]):
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _run_and_exit(target)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, kind: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, kind)


def _run_and_exit(target):
    """Ends the process as Python does, without what the benchmark does at its end."""
    atexit._clear()
    status = 1
    try:
        status = target()
        threading._shutdown()  # type: ignore[attr-defined]
        jax.distributed.shutdown()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


class _ForkedWorker(Forked):
    """The worker that `lstm_jax.commands.worker.watch` starts, forked."""

    def __init__(self, command, env, stderr, process_group):
        assert command[1:3] == ["-m", "lstm_jax"]
        assert (stderr, process_group) == (subprocess.PIPE, 0)
        reader, writer = os.pipe()

        def work():
            os.setpgid(0, 0)
            os.dup2(writer, 2)
            os.closerange(3, max(reader, writer) + 1)
            os.environ.update(env)
            for name, value in worker.SETTINGS.items():  # JAX has been imported
                jax.config.update(name.lower(), {"false": False}[value])
            return _main(command[3:])

        super().__init__(work)
        os.close(writer)
        self.stderr = open(reader, "rb")  # noqa: SIM115


def _main(arguments):
    # Python's own handlers; nohup would go on ignoring SIGHUP.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for kind in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, signal.SIG_DFL)
    return cli.main(arguments)


class End(NamedTuple):
    """How a process of a training has ended."""

    status: int | None
    """The exit status; ``None`` if the benchmark had to end the process."""
    said: str
    """Its output."""
    seconds: float
    """After what was done to the training."""


class _Member:
    """One process of a training, and its output."""

    def __init__(self, arguments, environment, real):
        reader, writer = os.pipe()
        # Nobody reads until the process has ended.
        fcntl.fcntl(writer, PIPE_SIZE, 2**20)
        self.ended_at: float | None = None
        self.process: Any
        if real:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lstm_jax", *arguments],
                stdout=writer,
                stderr=writer,
                env=os.environ | environment,
            )
        else:
            self.process = Forked(lambda: _forked(arguments, environment, writer))
        os.close(writer)
        self.output = open(reader, encoding="utf-8", errors="replace")  # noqa: SIM115

    @property
    def is_over(self):
        if self.process.poll() is None:
            return False
        self.ended_at = self.ended_at or time.monotonic()
        return True

    @property
    def worker(self):
        """The number of the process that trains, as soon as there is one."""
        return next(iter(children(self.process.pid)), None)

    def read(self):
        if self.output.closed:
            return ""
        with self.output:
            return self.output.read()


def _forked(arguments, environment, writer):
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.closerange(3, writer + 1)  # with the outputs of the other processes
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
    sys.argv = ["lstm-jax", *arguments]
    os.environ.update(environment)
    tempfile.tempdir = None
    for name, value in _cache_settings(environment).items():
        jax.config.update(name, value)
    fork = types.SimpleNamespace(Popen=_ForkedWorker, PIPE=subprocess.PIPE)
    worker.subprocess = fork  # type: ignore[assignment]
    return _main(arguments)


def _cache(folder, fill):
    """Environment variables of JAX, for a cache of what is compiled.

    A process that is killed while it writes must not leave half an entry to others. So
    the cache is filled first and only read from then on.
    """
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0" if fill else "1e9",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def _cache_settings(environment):
    kinds = (str, float, int)
    names = _cache("", fill=False)
    return {
        name.lower(): kind(environment[name])
        for name, kind in zip(names, kinds, strict=True)
    }


class Kind(NamedTuple):
    """How the processes of a training are started."""

    processes: int = 1
    real: bool = False
    """Whether they are new processes of Python, not forks."""
    environment: Mapping[str, str] = types.MappingProxyType({})
    """More environment variables. Only a new process loads libraries they name."""
    each: Sequence[Mapping[str, str]] = ()
    """Environment variables of each process; none if empty."""


ONE = Kind()


class Training:
    """A training, from wherever the run is, as ``lstm-jax train`` does.

    Args:
        config: the config file; what is compiled is cached beside it.
        run: the folder of the run. If there is a run, the training resumes it.
        kind: how many processes train, and how they are started.
        fill: whether to write to the cache of what is compiled.
        port: of the coordinator; a free one if not given.
    """

    def __init__(
        self,
        config: Path,
        run: Path,
        kind: Kind = ONE,
        *,
        fill: bool = False,
        port: int | None = None,
    ):
        arguments = ["train", str(config), f"run.directory={run}"]
        if (run / "config.toml").exists():
            arguments.append("--resume")
        self.scratch = config.parent / "scratch"
        self.scratch.mkdir(exist_ok=True)
        self.port = (port or free_port()) if kind.processes > 1 else None
        shared = _cache(config.parent / "compiled", fill) | dict(kind.environment)
        shared |= {"TMPDIR": str(self.scratch)}
        self._before = children(os.getpid())
        self.members = []
        for n in range(kind.processes):
            more = (
                [] if self.port is None else _distributed(kind.processes, n, self.port)
            )
            environment = shared | dict(kind.each[n] if kind.each else {})
            member = _Member([*arguments, *more], environment, kind.real)
            self.members.append(member)
        self.began = self.hit_at = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether one of its processes has ended."""
        over = [member.is_over for member in self.members]  # each notes when
        return any(over)

    def wait(self, seconds: float) -> None:
        """Waits so long, or until one of its processes has ended."""
        until = time.monotonic() + seconds
        while not self.is_over and time.monotonic() < until:
            time.sleep(0.005)

    def wait_for(self, numbers: Sequence[int], seconds: float) -> None:
        """Waits so long at most for the end of some of its processes."""
        until = time.monotonic() + seconds
        at_work = lambda: [n for n in numbers if not self.members[n].is_over]
        while at_work() and time.monotonic() < until:
            time.sleep(0.01)

    def signal(self, n: int, kind: int, trains: bool = False) -> str:
        """Sends a signal to one of its processes, if it has not ended.

        Args:
            n: the number of the process.
            kind: the signal.
            trains: whether to take its worker, if there is one by now.

        Returns:
            Which process it was.
        """
        member = self.members[n]
        found = member.worker if trains and len(self.members) > 1 else None
        self.hit_at = time.monotonic()
        if found is None:
            if not member.is_over:
                member.process.send_signal(kind)
            return f"process {n}"
        with contextlib.suppress(ProcessLookupError):
            os.kill(found, kind)
        return f"worker {n}"

    def close_output(self, n: int) -> None:
        """Goes away as the reader of one of its processes."""
        self.hit_at = time.monotonic()
        self.members[n].output.close()

    def ends(self, seconds: float) -> tuple[list[End], list[str]]:
        """Waits so long at most for its end.

        Returns:
            How each process has ended, and in words what is still there.
        """
        self.wait_for(range(len(self.members)), seconds)
        statuses, faults = [], []
        for n, member in enumerate(self.members):
            statuses.append(member.process.returncode if member.is_over else None)
            if statuses[-1] is None:
                faults.append(f"process {n} still runs after {seconds:.0f} s")
                member.process.send_signal(signal.SIGKILL)
                member.process.wait()
        if left := left_behind(self._before, MARGIN):
            faults.append(f"{len(left)} orphans were left")
        ends = []
        for member, status in zip(self.members, statuses, strict=True):
            took = (member.ended_at or time.monotonic()) - self.hit_at
            ends.append(End(status, member.read(), round(took, 2)))
        if self.port is not None and not _is_free(self.port):
            faults.append(f"port {self.port} is in use")
        if left := sorted(path.name for path in self.scratch.iterdir()):
            faults.append(f"temporary files were left: {left}")
        return ends, faults

    def finish(self) -> tuple[int | None, str]:
        """Waits for its end; its exit status and what it said.

        Of several processes the first status that is not 0 counts.
        """
        self.hit_at = time.monotonic()
        ends, faults = self.ends(COMPLETE)
        status = next((end.status for end in ends if end.status != 0), 0)
        said = [end.said for end in ends]
        return (
            (status, "\n".join(said))
            if not faults
            else (None, "\n".join(faults + said))
        )


def _distributed(processes, n, port):
    named = {"coordinator": f"127.0.0.1:{port}", "processes": processes, "process": n}
    named |= {"heartbeat": HEARTBEAT, "connect-timeout": CONNECT}
    words = (
        word for name, value in named.items() for word in (f"--{name}", str(value))
    )
    return ["--distributed", *words]


def free_port() -> int:
    """A port that nothing listens on, and that the system gives to nobody."""
    while not _is_free(port := random.randrange(20000, 32000)):
        pass
    return port


def _is_free(port):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
            one.listen()
        except OSError:
            return False
    return True
