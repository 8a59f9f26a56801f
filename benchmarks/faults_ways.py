"""What can happen to a training, and how it may end then.

kill      SIGKILL of a process; of several processes a parent or a worker
stop      SIGSTOP, and SIGCONT after a moment; of several processes a worker, which
          may also be silent until the others have ended without it
term      SIGTERM
hangup    SIGHUP
twice     Ctrl-C, and once more shortly after
pipe      the reader of the output goes away
full      the disk is full from then on
readonly  the disk is mounted read-only from then on
flip      kill, and then a bit of a file of the newest checkpoint is flipped
cut       kill, and then a file of the newest checkpoint is truncated
clock     the clock of the day jumps, forwards or backwards, and later again
slow      kill, and every write, rename and sync is slow, also in the resume

The disk is a small tmpfs, which needs root. Clock and disk are changed by a library in
the process (``faults_shim.c``), which needs a C compiler.
"""

import contextlib
import errno
import random
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.faults_processes import (
    COMPLETE,
    CONNECT,
    HEARTBEAT,
    MARGIN,
    Kind,
    Training,
)
from benchmarks.faults_run import Moment, steps

SHIM = Path(__file__).with_name("faults_shim.c")
STOPPED, OUTSIDE, REFUSED = 130, 143, 2
"""Exit statuses: saved after a request, stopped outside training, cannot go on."""
BY_SHELL = 128
"""A parent whose worker was ended by signal N has the exit status 128 + N."""


class Way:
    """One way. This class is SIGKILL.

    Args:
        several: whether there are several processes.
    """

    def __init__(self, several: bool):
        self.several = several

    def moment(self, expected: Mapping[str, Any], before: int, start: float) -> Moment:
        """When it happens; the arguments are those of `Moment.of_life`."""
        return Moment.of_life(expected, before, start)

    @contextlib.contextmanager
    def place(self) -> Iterator[Path]:
        """A folder for the run."""
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def prepared(self, kind: Kind, folder: Path) -> Iterator[Kind]:
        """How to start the processes.

        Args:
            kind: how they would be started otherwise.
            folder: for files that outlive a moment.
        """
        del folder
        yield kind

    @contextlib.contextmanager
    def happens(self, training: Training, run: Path) -> Iterator[dict[str, Any]]:
        """Does it; undoes it at the end of the block, when the training has ended.

        The value has the number of the process it happens to.
        """
        del run
        number = random.randrange(len(training.members))
        trains = random.random() < 0.5
        yield self._signal(training, number, signal.SIGKILL, trains)

    def _signal(self, training, number, kind, trains=False):
        victim = training.signal(number, kind, trains)
        known: dict[str, Any] = {"number": number}
        return known | ({"victim": victim} if self.several else {})

    def seconds(self, part: str) -> float:
        """The time within which the training has to end.

        Args:
            part: of the life of the training, when it happens.
        """
        return (CONNECT if part == "start" else HEARTBEAT) + MARGIN

    def statuses(self, known: Mapping[str, Any], number: int) -> set[int]:
        """Exit statuses of a process; 0 if it was done before."""
        if number != known["number"]:
            return {REFUSED}
        killed = BY_SHELL + signal.SIGKILL
        return {killed} if "worker" in known.get("victim", "") else {-signal.SIGKILL}

    def spoil(self, run: Path) -> dict[str, Any]:
        """Damages what the ended training has left; what was damaged."""
        del run
        return {}


class _Signal(Way):
    """A request to stop, which one process gets and all obey."""

    kind = signal.SIGTERM

    @contextlib.contextmanager
    def happens(self, training, run):
        number = random.randrange(len(training.members))
        yield self._signal(training, number, self.kind)

    def seconds(self, part):
        return CONNECT + 2 * MARGIN

    def statuses(self, known, number):
        if number != known["number"]:
            # Outside training the process ends at once, and the others have lost it.
            return {STOPPED, REFUSED}
        # Before the command line takes signals, they end the process themselves.
        return {STOPPED, OUTSIDE, -self.kind}


class _Hangup(_Signal):
    kind = signal.SIGHUP


class _Twice(_Signal):
    kind = signal.SIGINT

    @contextlib.contextmanager
    def happens(self, training, run):
        number = random.randrange(len(training.members))
        known = self._signal(training, number, self.kind)
        time.sleep(random.random() / 2)
        yield known | self._signal(training, number, self.kind)

    def statuses(self, known, number):
        return {STOPPED} if number == known["number"] else {STOPPED, REFUSED}


class _Stop(Way):
    """The worker of several processes is silent for a moment, or until all others have
    lost it."""

    @contextlib.contextmanager
    def happens(self, training, run):
        number = random.randrange(len(training.members))
        known = self._signal(training, number, signal.SIGSTOP, trains=True)
        began, others = training.hit_at, {*range(len(training.members))} - {number}
        long = random.random() < 0.7 and "worker" in known.get("victim", "")
        if long:
            training.wait_for([*others], CONNECT + MARGIN)
        else:
            time.sleep(1 + random.random() * HEARTBEAT / 4)
        training.signal(number, signal.SIGCONT, trains=True)
        training.hit_at = began
        yield known | {"long": long}

    def seconds(self, part):
        return COMPLETE

    def statuses(self, known, number):
        return {REFUSED} if known["long"] else set()


class _Pipe(Way):
    @contextlib.contextmanager
    def happens(self, training, run):
        number = random.randrange(len(training.members))
        training.close_output(number)
        yield {"number": number}

    def seconds(self, part):
        return COMPLETE

    def statuses(self, known, number):
        return set()


class _Full(Way):
    @contextlib.contextmanager
    def place(self):
        with tempfile.TemporaryDirectory() as folder:
            size = ["-o", "size=4m"]
            subprocess.run(["mount", "-t", "tmpfs", *size, "none", folder], check=True)
            try:
                yield Path(folder)
            finally:
                subprocess.run(["umount", folder], check=True)

    @contextlib.contextmanager
    def happens(self, training, run):
        training.hit_at = time.monotonic()
        filler = run.parent / "filler"
        with filler.open("wb", buffering=0) as file:
            while not training.is_over:
                try:
                    file.write(bytes(4096))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    time.sleep(0.01)
        try:
            yield {"number": None}
        finally:
            filler.unlink()

    def seconds(self, part):
        return COMPLETE if part == "start" else HEARTBEAT + 4 * MARGIN

    def statuses(self, known, number):
        return {REFUSED}


class _ReadOnly(_Full):
    @contextlib.contextmanager
    def happens(self, training, run):
        training.hit_at = time.monotonic()
        done = False
        # Refused while a file is open for writing.
        while not done and not training.is_over:
            done = not self._mount(run.parent, "ro").returncode
        try:
            yield {"number": None}
        finally:
            self._mount(run.parent, "rw").check_returncode()

    def _mount(self, folder, how):
        command = ["mount", "-o", f"remount,{how}", str(folder)]
        return subprocess.run(command, stderr=subprocess.DEVNULL)


class _Flip(Way):
    def moment(self, expected, before, start):
        # There are two checkpoints by then.
        last = len(expected["metrics"])
        return Moment(random.randint(last // 2, last), random.random() / 2)

    def spoil(self, run):
        found = steps(run)
        if len(found) < 2:
            return {}
        folder = run / "checkpoints" / str(found[-1])
        paths = [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size]
        path = random.choice(sorted(paths))
        path.write_bytes(self._damaged(path.read_bytes()))
        return {"step": found[-1], "file": path.relative_to(folder).as_posix()}

    def _damaged(self, data):
        at, bit = random.randrange(len(data)), 1 << random.randrange(8)
        return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


class _Cut(_Flip):
    def _damaged(self, data):
        return data[: random.randrange(len(data))]


class _Shimmed(Way):
    """Every process has a file that says how its clock and its disk are."""

    @contextlib.contextmanager
    def prepared(self, kind, folder):
        library = folder / "shim.so"
        if not library.exists():
            options = ["-shared", "-fPIC", "-O2", "-o", str(library), str(SHIM), "-ldl"]
            subprocess.run(["cc", *options], check=True)
        self.controls = [folder / f"control{n}" for n in range(kind.processes)]
        self._begin()
        each = [{"FAULTS_CONTROL": str(path)} for path in self.controls]
        preload = {"LD_PRELOAD": str(library)}
        yield kind._replace(real=True, environment=preload, each=each)

    def _begin(self):
        for n in range(len(self.controls)):
            self._set(n)

    def _set(self, n, ahead=0.0, delay=0.0):
        """Sets the seconds that a clock is ahead, and that a write takes longer."""
        values = struct.pack("qq", int(ahead * 1e9), int(delay * 1e6))
        with self.controls[n].open("r+b" if self.controls[n].exists() else "wb") as f:
            f.write(values)


class _Clock(_Shimmed):
    """The jumps are of a minute to a day."""

    @contextlib.contextmanager
    def happens(self, training, run):
        training.hit_at = time.monotonic()
        number, jumps = random.randrange(len(training.members)), []
        for _ in range(2):
            jumps.append(round(random.choice((-1, 1)) * 60 * 1440 ** random.random()))
            self._set(number, ahead=sum(jumps))
            training.wait(3 * random.random())
        victim = {"victim": f"process {number}"} if self.several else {}
        yield {"number": number, "seconds_ahead": jumps} | victim

    def seconds(self, part):
        return COMPLETE

    def statuses(self, known, number):
        # JAX's coordinator in process 0 measures silence by the clock of the day.
        return {REFUSED} if self.several and known["number"] == 0 else set()


class _Slow(_Shimmed):
    def _begin(self):
        delay = 0.002 + 0.03 * random.random()
        for n in range(len(self.controls)):
            self._set(n, delay=delay)

    def seconds(self, part):
        return super().seconds(part) + 2 * MARGIN


WAYS: dict[str, type[Way]] = {
    "kill": Way,
    "stop": _Stop,
    "term": _Signal,
    "hangup": _Hangup,
    "twice": _Twice,
    "pipe": _Pipe,
    "full": _Full,
    "readonly": _ReadOnly,
    "flip": _Flip,
    "cut": _Cut,
    "clock": _Clock,
    "slow": _Slow,
}
