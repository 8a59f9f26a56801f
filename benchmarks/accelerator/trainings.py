"""Does every task train, stop and resume?

Each trains for a few steps; once more, with Ctrl-C on the way and a resume. The two
runs must have the same metrics, bit for bit where the device adds in a fixed order.
"""

import functools
import math
import os
import tempfile
from pathlib import Path

import jax
import pytest

from lstm_jax.cli import main
from lstm_jax.runs import train
from tests import tiny
from tests.every_task import WRITERS

FEW = ("steps=8", "block=2", "evaluate_every=4", "checkpoint_every=2")
STOP = 4
"""The step at which Ctrl-C comes."""
LARGEST_DIFFERENCE = 1e-3
QUICK = ("memory",)


def cases(setting):
    names = QUICK if setting.dry_run else WRITERS
    return {name: functools.partial(training, name) for name in names}


def training(task):
    """Metrics of the whole run and of the resumed one."""
    with (
        tempfile.TemporaryDirectory() as folder,
        jax.numpy_dtype_promotion("standard"),
        pytest.MonkeyPatch.context() as plots,
    ):
        place = Path(folder)
        args = ["train", *WRITERS[task](place), *(f"train.{few}" for few in FEW)]
        # What is drawn does not depend on the device.
        plots.setattr(train, "plot_run", lambda *run: [])
        runs = place / "whole", place / "stopped"
        whole, stopped = ([*args, f"run.directory={run}"] for run in runs)
        expect(0, whole)
        with pytest.MonkeyPatch.context() as patch:
            tiny.interrupt_at(patch, STOP)
            expect(130, stopped)
        expect(0, [*stopped, "--resume"])
        first, second = (tiny.metrics(run) for run in runs)
    apart = difference(first, second)
    row = {"steps": first[-1]["step"], "loss": last(first, "loss"), "differs": apart}
    if apart <= LARGEST_DIFFERENCE:
        yield row
    else:
        yield row | {"status": "failed", "reason": "resuming changes the metrics"}


def expect(status, command):
    print(*command, sep=os.linesep + "  ", flush=True)
    if (found := main(command)) != status:
        raise RuntimeError(f"{command} has exit status {found}, expected {status}")


def last(lines, name):
    """The last value of this name."""
    return next(line[name] for line in reversed(lines) if name in line)


def difference(first, second):
    """The largest relative difference of two lists of metrics; infinite if they have
    other names."""
    if [line.keys() for line in first] != [line.keys() for line in second]:
        return math.inf
    largest = 0.0
    for a, b in zip(first, second, strict=True):
        for name in a:
            if isinstance(a[name], float):
                apart = abs(a[name] - b[name]) / max(abs(a[name]), 1e-6)
                largest = max(largest, apart if math.isfinite(apart) else math.inf)
            elif a[name] != b[name]:
                return math.inf
    return largest
