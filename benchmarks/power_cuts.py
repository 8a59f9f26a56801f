"""Whether a training that lost its power at random moments comes to the same results.

    python -m benchmarks.power_cuts --moments 24

A small classifier (`benchmarks.faults_run`) trains in a file system of its own, on a
loop device. At random moments its image is cloned. A clone holds what has reached the
device by then and nothing of what only memory held, as a disk does after a power cut.
Each clone is mounted, which replays its journal, and the run in it is resumed. A moment
passes if

- no checkpoint is missing that was complete on the disk,
- the metrics that are left are those of the uninterrupted run so far,
- the metrics, the best weights, the results and the whole training state at the end are
  those of the uninterrupted run, bit for bit.

The moments are shared among ext4 and xfs. A clone is of one instant: the images are
files of an xfs with reflinks. What a device loses that answers a flush before its own
cache is safe is not simulated.

Needs Linux, root, mkfs.ext4 and mkfs.xfs.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import faults_run, kills
from benchmarks.faults_processes import Training

MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q"),
}
OPTIONS = {"ext4": "loop", "xfs": "loop,nouuid"}
"""A clone has the UUID of its original, which xfs refuses otherwise."""
SIZE = 2**29


def run(*command):
    subprocess.run([*map(str, command)], check=True)


def make_image(path: Path, kind: str, size: int = SIZE) -> None:
    """A file with an empty file system, which takes no more room than it needs."""
    with path.open("wb") as file:
        file.truncate(size)
    run(*MAKE[kind], path)


@contextlib.contextmanager
def mounted(image: Path, kind: str, folder: Path):
    """A file system while it is mounted."""
    folder.mkdir(exist_ok=True)
    run("mount", "-o", OPTIONS[kind], image, folder)
    try:
        yield folder
    finally:
        run("umount", folder)


def clone(image: Path, copy: Path, folder: Path) -> dict:
    """Clones an image; returns what the run in it had by then, seen from the system."""
    # Listed before, since the run goes on meanwhile. The newest may not be synced yet,
    # which the one before it is.
    safe = faults_run.steps(folder)[-2:-1]
    lines = len(faults_run.metrics(folder))
    run("cp", "--reflink=always", image, copy)
    return {"safe": safe, "lines": lines}


def cuts(config: Path, image: Path, kind: str, count: int, expected: dict):
    """Trains in an image; returns clones of random moments, with what was known."""
    moments = sorted(faults_run.Moment.draw(expected) for _ in range(count))
    found = []
    with mounted(image, kind, image.with_suffix(".mounted")) as place:
        process = Training(config, place / "run")
        for n, moment in enumerate(moments):
            moment.wait(place / "run", process)
            copy = image.with_suffix(f".{n}")
            known = {"file_system": kind, "ended": process.is_over}
            found.append((copy, known | clone(image, copy, place / "run")))
        status, said = process.finish()
        if status:
            raise RuntimeError(said)
        if faults_run.outcome(place / "run") != expected:
            raise RuntimeError(f"two uninterrupted runs differ, on {kind}")
    return found


def resume(config: Path, copy: Path, known: dict, expected: dict) -> dict:
    """Resumes the run in a clone; what has come of it."""
    faults = []
    with mounted(copy, known["file_system"], copy.with_suffix(".mounted")) as place:
        run = place / "run"
        steps = faults_run.steps(run)
        if known["safe"] and known["safe"] > steps[-1:]:
            faults.append(f"step {known['safe']} was on the disk, now {steps}")
        lines = faults_run.metrics(run)
        if lines != expected["metrics"][: len(lines)]:
            faults.append("metrics differ after the cut")
        found = {"left": len(lines), "checkpoints": steps}
        faults += faults_run.faults(*faults_run.finish(config, run), run, expected)
    return known | found | {"faults": faults}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--moments", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a file of JSON for what is found")
    args = parser.parse_args(arguments)
    random.seed(args.seed)
    found, kinds = [], [*MAKE]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        config = faults_run.write(folder)
        expected = faults_run.uninterrupted(config, folder / "whole")
        make_image(folder / "disk.img", "xfs", 16 * SIZE)
        with mounted(folder / "disk.img", "xfs", folder / "disk") as disk:
            for n, kind in enumerate(kinds):
                image = disk / f"{kind}.img"
                make_image(image, kind)
                count = len(range(n, args.moments, len(kinds)))
                for copy, known in cuts(config, image, kind, count, expected):
                    found.append(resume(config, copy, known, expected))
                    copy.unlink()
                    print(f"{len(found)}:", json.dumps(found[-1]), flush=True)
    command = f"power_cuts --moments {args.moments} --seed {args.seed}"
    return kills.report(found, args.moments, command, args.out)


if __name__ == "__main__":
    sys.exit(main())
