"""Does training that is disturbed at random moments reach the same results?

    python -m benchmarks.kills --moments 50 --how kill
    python -m benchmarks.kills --moments 50 --how kill --processes 2
    python -m benchmarks.kills --moments 60 --how all

A small classifier trains once without interruption. Its batches are shuffled, have
several shapes, and are loaded by threads. Then it is started again for every moment,
disturbed at a random moment of its life, and resumed. `benchmarks.faults_ways` has the
ways. Every second run is disturbed once more while it resumes. A run passes if

- every process ends by itself in time, with the exit status it should have,
- its output has no traceback and no log of a library, and one line for an error,
- no process, no port in use and no temporary file is left,
- the metrics that the ended run left are those of the uninterrupted run so far,
- the resume names a damaged checkpoint and uses the one before,
- the metrics, the best weights, the results and the whole training state at the end
  (parameters, optimizer state, random key) are those of the uninterrupted run of as
  many processes, bit for bit,
- the run has no file that was written half.

Needs Linux.
"""

import argparse
import collections
import contextlib
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults_processes import (
    ONE,
    End,
    Kind,
    Training,
    adopt_orphans,
    free_port,
)
from benchmarks.faults_run import (
    errors,
    faults,
    finish,
    logged_by_libraries,
    metrics,
    part_of_life,
    uninterrupted,
    write,
)
from benchmarks.faults_ways import REFUSED, WAYS, Way
from lstm_jax import files
from lstm_jax.bench import machine

START = {False: 2.0, True: 8.0}
"""Seconds that a start takes, about: of one process, and of several."""
IMPORTS = 4.0
"""Seconds that a new process takes longer than a fork, about."""


def faults_of_ends(
    way: Way, known: Mapping[str, Any], ends: Sequence[End], run: Path
) -> list[str]:
    """What is wrong with how processes have ended, in words."""
    found = []
    complete = (run / "result-test.json").exists()
    for n, end in enumerate(ends):
        who = f"process {n}: " if len(ends) > 1 else ""
        expected = way.statuses(known, n)
        if end.status not in {0} | expected:
            found.append(f"{who}exit status {end.status}, not {expected or 0}")
            found.append(f"{who}{end.said[-1500:]}")
        if end.status == 0 and not complete:
            found.append(f"{who}exit status 0, but the run has no results")
        if logs := logged_by_libraries(end.said):
            found.append(f"{who}{logs[0]} in {end.said[-3000:]}")
        lines = errors(end.said)
        if not (end.status == REFUSED) <= len(lines) <= (end.status != 0):
            found.append(f"{who}exit status {end.status} and the errors {lines}")
    return found


def disturbed(
    config: Path, how: str, times: int, expected: dict, kind: Kind = ONE
) -> dict:
    """A run that is disturbed and resumed; what has come of it."""
    several = kind.processes > 1
    way, port = WAYS[how](several), free_port() if several else None
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(way.place())
        kind = stack.enter_context(way.prepared(kind, config.parent))
        run, found, ended = folder / "run", [], []
        start = START[several] + kind.real * IMPORTS
        for _ in range(times):
            began = time.time()
            moment = way.moment(expected, len(metrics(run)), start)
            training = Training(config, run, kind, port=port)
            moment.wait(run, training)
            part = part_of_life(run, began, expected["step"])
            with way.happens(training, run) as known:
                ends, left = training.ends(way.seconds(part))
            found += left + faults_of_ends(way, known, ends, run)
            lines = metrics(run)
            if lines != expected["metrics"][: len(lines)]:
                found.append("metrics differ when it was ended")
            ended.append(_told(ends, lines, part, known))
        spoilt = way.spoil(run)
        status, said = finish(config, run, kind, port)
        if spoilt:
            ended[-1] |= {"spoilt": spoilt}
            if f"checkpoint of step {spoilt['step']:,} is corrupt" not in said:
                found.append(f"the resume names no corrupt checkpoint: {said[-1500:]}")
        found += faults(status, said, run, expected)
        # What is kept names no folder of this machine.
        places = ("DATA", config.parent), ("RUN", folder), ("ENV", sys.prefix)
        for name, path in places:
            found = [fault.replace(str(path), name) for fault in found]
    return {"how": how, "processes": kind.processes, "ended": ended, "faults": found}


def _told(ends, lines, part, known):
    """How a training has ended, for people and for the table."""
    statuses = [end.status for end in ends]
    told = {"status": statuses[0] if len(ends) == 1 else statuses}
    told |= {"lines": len(lines), "part": part}
    others = [end.seconds for n, end in enumerate(ends) if n != known["number"]]
    if others:
        told["seconds"] = max(others)
    return told | {name: value for name, value in known.items() if name != "number"}


def table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row for every way: moments, those without faults, and seconds of the others."""
    rows = ["| way | processes | moments | same | others end after, median and most |"]
    rows.append("|---|---|---|---|---|")
    by_way = collections.defaultdict(list)
    for moment in found:
        by_way[moment["how"], moment["processes"]].append(moment)
    for (how, processes), moments in by_way.items():
        ends = [end for moment in moments for end in moment["ended"]]
        seconds = [end["seconds"] for end in ends if end.get("seconds", -1) >= 0]
        same = sum(not moment["faults"] for moment in moments)
        middle = f"{statistics.median(seconds):.1f} s" if seconds else "-"
        most = f", {max(seconds):.1f} s" if seconds else ""
        row = how, processes, len(moments), same, middle + most
        rows.append(f"| {' | '.join(map(str, row))} |")
    return rows


def report(found, moments, command, out):
    """Prints how many moments had no fault, and writes all of them; 1 for a fault."""
    same = sum(not moment["faults"] for moment in found)
    print(f"{same} of {moments} the same")
    if out:
        values = {"command": f"python -m benchmarks.{command}"}
        values |= {"cpu": machine.cpu_model(), "same": same, "moments": found}
        files.write_json(out, values)
    return int(same < moments)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        epilog=f"ways: {', '.join(WAYS)}, all",
    )
    parser.add_argument("--moments", type=int, default=40)
    parser.add_argument("--how", default="kill", help="ways, with commas in between")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--real", action="store_true", help="start Python anew for every process"
    )
    parser.add_argument("--quick", action="store_true", help="a run of one epoch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a file of JSON for what is found")
    args = parser.parse_args(arguments)
    ways = [*WAYS] if args.how == "all" else args.how.split(",")
    if unknown := {*ways} - {*WAYS}:
        parser.error(
            f"--how {', '.join(sorted(unknown))}: must be of {', '.join(WAYS)}"
        )
    random.seed(args.seed)
    adopt_orphans()
    kind, found = Kind(args.processes, args.real), []
    # Not a TemporaryDirectory: a forked process would remove it at its end.
    folder = Path(tempfile.mkdtemp())
    try:
        # Several processes take longer to start and to save.
        epochs = 6 if args.processes == 1 else 3
        config = write(folder, 1 if args.quick else epochs)
        expected = uninterrupted(config, folder / "whole", kind)
        for n in range(args.moments):
            times = 1 + n // len(ways) % 2
            how = ways[n % len(ways)]
            found.append(disturbed(config, how, times, expected, kind))
            print(f"{n}:", json.dumps(found[-1]), flush=True)
    finally:
        shutil.rmtree(folder)
    print(*table(found), sep="\n")
    command = f"kills --moments {args.moments} --how {args.how}"
    command += f" --processes {args.processes}" if args.processes > 1 else ""
    command += " --real" * args.real + " --quick" * args.quick
    return report(found, args.moments, f"{command} --seed {args.seed}", args.out)


if __name__ == "__main__":
    sys.exit(main())
