"""Runs stages one after the other; whatever happens in one, the next one runs.

A stage is a process group. It is ended when its time is over, or when a case gives no
row for too long. After that, and after a crash, a new process goes on with the next
case.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.accelerator.record import FAILED, LATE, LEFT_OUT, WRONG, Record
from benchmarks.accelerator.stages import Stage, deadlines, patient

ROOT = Path(__file__).parents[2]
LAST_LINES = 12
"""Of the output of a process that crashed, kept as the reason."""


class Machine(NamedTuple):
    """Where the stages run."""

    platform: str
    dry_run: bool
    environment: Mapping[str, str]
    """Variables of the processes."""
    log: Path
    """Takes what the processes print."""


def run(
    stages: Sequence[Stage], machine: Machine, record: Record, minutes: float
) -> bool:
    """Runs everything for which there is time; whether all of it succeeded."""
    start, good = time.monotonic(), True
    for stage, end in zip(stages, deadlines(stages, minutes), strict=True):
        print(f"{stage.name}: {stage.asks}", flush=True)
        stage = patient(stage, minutes)
        began = time.monotonic()
        for case, row in rows_of(stage, machine, start + end):
            row = record.add(stage.name, case, row)
            print(f"  {describe(row)}", flush=True)
            bad = row["status"] in WRONG
            good &= not bad and not (stage.required and row["status"] == LEFT_OUT)
        record.end(stage.name, time.monotonic() - began)
    return good


def rows_of(
    stage: Stage, machine: Machine, deadline: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    """``(case, row)`` of every case of a stage, as they come."""
    names: list[str] | None = None
    done = 0
    while names is None or done < len(names):
        if time.monotonic() >= deadline:
            for name in (names or ["all cases"])[done:]:
                yield name, {"status": LEFT_OUT}
            return
        running = ""
        for message in _messages(stage, machine, done, deadline):
            if "cases" in message:
                names = message["cases"]
            elif "begin" in message:
                running = message["begin"]
                done += 1
            elif "row" in message:
                yield running, message["row"]
            else:  # why the process ended before it was through
                yield running or "the start", message
                if not running:  # no process gets any further
                    return


def _messages(stage, machine, skip, deadline) -> Iterator[dict[str, Any]]:
    """What a process sends; the last message says why it ended, if it was cut."""
    came, goes = os.pipe()
    command = [sys.executable, "-m", f"{__package__}.child", stage.module]
    command += ["--to", str(goes), "--skip", str(skip), "--platform", machine.platform]
    command += ["--dry-run"] if machine.dry_run else []
    with machine.log.open("ab") as log:
        log.write(f"\n== {stage.name}, from case {skip}\n".encode())
        log.flush()
        begins = log.tell()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(machine.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[goes],
            start_new_session=True,
        )
    os.close(goes)
    try:
        silent = False
        for line in _lines(came, stage.case_seconds, deadline):
            silent = line is None
            if line is not None:
                yield json.loads(line)
        if silent and time.monotonic() >= deadline:
            yield {"status": LEFT_OUT, "reason": "the time of the stage was over"}
        elif silent:
            yield {"status": LATE, "reason": f"no row for {stage.case_seconds:.0f} s"}
        elif code := process.wait():
            text = machine.log.read_bytes()[begins:].decode(errors="replace")
            last = "\n".join(text.splitlines()[-LAST_LINES:])
            yield {"status": FAILED, "reason": f"exit status {code}: {last}"}
    finally:
        _end(process)


def _lines(descriptor, limit, deadline):
    """Lines from a pipe until it closes, or ``None`` once it is silent for too long."""
    with os.fdopen(descriptor, "rb", 0) as pipe, selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        rest = b""
        while True:
            left = min(limit, deadline - time.monotonic())
            if not ready.select(max(0.0, left)):
                yield None
                return
            if not (chunk := pipe.read(2**16)):
                return
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines


def _end(process):
    """Ends a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def describe(row: Mapping[str, Any]) -> str:
    """A row in one line."""
    facts = {k: v for k, v in row.items() if k not in ("stage", "case", "status")}
    said = ", ".join(f"{k}: {_short(v)}" for k, v in facts.items())
    status = "" if row["status"] == "done" else f"{row['status']}; "
    return f"{row['case']}: {status}{said}".rstrip("; ")


def _short(value):
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        if value.keys() == {"median", "low", "high"}:
            return "{median:.2f} [{low:.2f}, {high:.2f}]".format(**value)
        return " ".join(f"{k}={_short(v)}" for k, v in value.items())
    return str(value).strip().splitlines()[-1][:200] if value != "" else ""
