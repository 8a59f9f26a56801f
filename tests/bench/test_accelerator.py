"""`scripts/accelerator.sh`: stages leave rows, whatever happens to one of them."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.accelerator import command, packages, supervise
from benchmarks.accelerator.contenders import Crew, Event, Pace, race, sample
from benchmarks.accelerator.record import Record
from benchmarks.accelerator.stages import STAGES, Stage, deadlines

ROOT = Path(__file__).parents[2]
PLANTED = Stage("planted", "tests.bench.planted", "?", 10, case_seconds=10)
ENDLESS = Stage("endless", "tests.bench.endless", "?", 10)


def machine(folder):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    variables = os.environ | {"PYTHONPATH": path}
    return supervise.Machine("cpu", True, variables, folder / "log")


def test_every_stage_leaves_rows(tmp_path):
    """As CI runs it, with the wheel of a package that the machine lacks."""
    wheel = tmp_path / "carried-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("carried.py", "")
        about = "Metadata-Version: 2.1\nName: carried\nVersion: 1.0\n"
        file.writestr("carried-1.0.dist-info/METADATA", about)
        file.writestr("carried-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        file.writestr("carried-1.0.dist-info/RECORD", "")
    script = [ROOT / "scripts/accelerator.sh", "--dry-run", "--wheels", tmp_path]
    # A busy machine is waited for: this is no measurement.
    script += ["--minutes", "60"]
    done = subprocess.run(
        [*script, "--out", tmp_path / "out"],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    (path,) = (tmp_path / "out").glob("*.json")
    log = path.with_suffix(".log").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log[-3000:]
    assert "carried" in done.stdout.splitlines()[0]
    found = json.loads(path.read_text())
    assert found["environment"]["device"] == "cpu"
    done = [row["stage"] for row in found["rows"] if row["status"] == "done"]
    assert list(dict.fromkeys(done)) == [stage.name for stage in STAGES]
    absent = [row for row in found["rows"] if row["status"] == "not available"]
    assert all(row["reason"] for row in absent)


def test_what_goes_wrong_is_recorded_and_the_rest_runs(tmp_path, capsys):
    record = Record(tmp_path / "out" / "results.json", {})
    assert not supervise.run([PLANTED], machine(tmp_path), record, minutes=1)
    rows = json.loads(record.path.read_text())["rows"]
    found = [(row["case"], row["status"]) for row in rows]
    assert found == [
        ("fine", "done"),
        ("refused", "done"),
        ("refused", "not available"),
        ("broken", "failed"),
        ("killed", "done"),
        ("killed", "failed"),
        ("silent", "timed out"),
        ("fine_again", "done"),
    ]
    reasons = [row.get("reason", "") for row in rows]
    assert reasons[2:4] == ["no such kernel", "ValueError: planted"]
    assert "exit status -9" in reasons[5]
    assert reasons[6] == "no row for 10 s"
    assert "planted" in capsys.readouterr().out


def test_a_stage_without_a_package(tmp_path):
    record = Record(tmp_path / "results.json", {})
    lacking = Stage("lacking", "tests.bench.lacking", "?", 10)
    assert supervise.run([lacking], machine(tmp_path), record, minutes=1)
    (row,) = record.rows
    assert row["status"] == "not available"
    assert row["reason"] == "No module named 'torch'"


def test_a_stage_that_cannot_start_and_one_without_time(tmp_path):
    record = Record(tmp_path / "results.json", {})
    nowhere = Stage("nowhere", "tests.bench.nowhere", "?", 10)
    assert not supervise.run([nowhere], machine(tmp_path), record, minutes=1)
    assert "No module named" in record.rows[0]["reason"]
    for required in (False, True):
        late = PLANTED._replace(required=required)
        assert supervise.run([late], machine(tmp_path), record, 0) is not required
        assert record.rows[-1]["status"] == "no time left"


def test_a_run_that_is_killed_leaves_complete_rows(tmp_path):
    code = (
        "import sys; from benchmarks.accelerator import supervise; "
        "from benchmarks.accelerator.record import Record; from tests.bench import "
        "test_accelerator as t; from pathlib import Path; folder = Path(sys.argv[1]); "
        "record = Record(folder / 'results.json', {}); "
        "supervise.run([t.ENDLESS], t.machine(folder), record, 5)"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    path, end = tmp_path / "results.json", time.monotonic() + 120
    while not path.exists() or len(json.loads(path.read_text())["rows"]) < 20:
        assert time.monotonic() < end
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    rows = json.loads(path.read_text())["rows"]
    assert [row["number"] for row in rows] == [*range(len(rows))]


def step_of(factor):
    """A contender that multiplies by a factor."""
    if factor == "absent":
        raise NotImplementedError("not here")
    a = np.arange(5.0) * factor
    return {"step": lambda: a.sum()}, ({"a": a}, {"device": "none"})


def test_who_is_wrong_or_absent_is_not_timed():
    builds = {
        name: lambda case, factor=factor: step_of(factor)
        for name, factor in {"ours": 1, "same": 1.001, "wrong": 1.5}.items()
    }
    builds["absent"] = lambda case: step_of("absent")
    crew = Crew(builds, one_process=True)
    event = Event("ours", 0.01, Pace(repeats=2))
    rows = {
        row["contender"]: row for row in race(crew, list(builds), "ours", event, "case")
    }
    crew.close()
    assert rows["wrong"]["differs"] == {"a": pytest.approx(0.5)}
    assert "milliseconds" not in rows["wrong"]
    assert rows["absent"]["reason"] == "not here"
    assert rows["same"]["ours / this"].low > 0
    assert list(rows) == ["wrong", "absent", "ours", "same"]


def test_samples_are_of_every_column():
    a = jnp.arange(2**19).reshape(-1, 64)
    found = sample(a)
    assert len(found) <= 2**16
    assert len({int(n) % 64 for n in found}) == 64


def test_time_is_shared_and_passed_on():
    ends = deadlines(STAGES, 8)
    assert ends[-1] == 480
    assert np.diff([0, *ends]) == pytest.approx([stage.seconds for stage in STAGES])


def test_the_list_names_every_stage(capsys):
    assert command.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert all(f"{stage.seconds} s  {stage.name}" in said for stage in STAGES)


def test_what_is_missing_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(packages.NEEDED, "no_such_module", "this test")
    assert command.main(["--out", str(tmp_path)]) == 2
    assert "no_such_module (for this test)" in capsys.readouterr().err
    assert command.main(["--wheels", str(tmp_path)]) == 2
    assert "no file that ends in .whl" in capsys.readouterr().err
