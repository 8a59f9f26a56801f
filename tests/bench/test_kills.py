"""What `benchmarks.kills` does to a training, and what it sees."""

import os
import shutil
import struct
import subprocess
import sys

import pytest

from benchmarks import faults_processes, kills
from benchmarks.faults_processes import End
from benchmarks.faults_ways import SHIM, WAYS

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
LOST = "lstm-jax: process 1 has lost another process; start again.\n"
ENDS = {
    "right": (0, [End(137, "", 0.1), End(2, LOST, 0.2)]),
    "still running": (2, [End(137, "", 0.1), End(None, LOST, 0.2)]),
    "another status": (2, [End(137, "", 0.1), End(1, "", 0.2)]),
    "finished without results": (1, [End(137, "", 0.1), End(0, "", 0.2)]),
    "no word": (1, [End(137, "", 0.1), End(2, "", 0.2)]),
    "two errors": (1, [End(137, "", 0.1), End(2, LOST + LOST, 0.2)]),
    "a traceback": (1, [End(137, "Traceback (most", 0.1), End(2, LOST, 0.2)]),
    "a log": (1, [End(137, "", 0.1), End(2, f"E1130 06:32 x.cc:1\n{LOST}", 0.2)]),
}


@pytest.mark.parametrize("case", ENDS)
def test_kills_sees_how_processes_end(case, tmp_path):
    count, ends = ENDS[case]
    known = {"number": 0, "victim": "worker 0"}
    found = kills.faults_of_ends(WAYS["kill"](True), known, ends, tmp_path)
    assert len(found) == count


@linux
def test_kills_sees_what_is_left_behind():
    before = faults_processes.children(os.getpid())
    process = subprocess.Popen(["sleep", "60"])
    assert faults_processes.left_behind(before, 0) == [process.pid]
    assert faults_processes.left_behind(before, 0) == []
    process.returncode = -9  # it is no child any more


@pytest.mark.parametrize("how", ["flip", "cut"])
def test_a_file_of_the_newest_checkpoint_is_damaged(how, tmp_path):
    paths = [tmp_path / f"checkpoints/{step}/manifest.json" for step in (7, 14, 100)]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"0123456789")
    (tmp_path / "checkpoints/200.tmp").mkdir()
    found = WAYS[how](False).spoil(tmp_path)
    assert found == {"step": 100, "file": "manifest.json"}
    *others, damaged = (path.read_bytes() for path in paths)
    assert others == [b"0123456789"] * 2
    if how == "cut":
        assert damaged == b"0123456789"[: len(damaged)] != b"0123456789"
    else:
        changed = [a ^ b for a, b in zip(damaged, b"0123456789", strict=True)]
        assert sum(bits.bit_count() for bits in changed) == 1


@linux
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_clock_of_a_process_jumps(tmp_path):
    """And no other clock, nor a wait."""
    library, control = tmp_path / "shim.so", tmp_path / "control"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, SHIM, "-ldl"], check=True)
    control.write_bytes(struct.pack("qq", -3600 * 10**9, 0))
    code = """if True:
        import os, threading, time
        steady, day = time.monotonic(), time.time()
        assert not threading.Event().wait(0.05)
        assert 0.05 <= time.time() - day < 20
        assert 0.05 <= time.monotonic() - steady < 20
        print(day)
    """
    settings = {"LD_PRELOAD": str(library), "FAULTS_CONTROL": str(control)}
    command = [sys.executable, "-c", f"import time; print(time.time())\n{code}"]
    found = [
        subprocess.run(command, env=env, check=True, capture_output=True, text=True)
        for env in (dict(os.environ), os.environ | settings)
    ]
    day, shifted = (float(done.stdout.split()[0]) for done in found)
    assert abs(shifted + 3600 - day) < 60


@linux
def test_a_killed_run_is_resumed():
    """In a process of its own, which may fork: it has no backend of JAX."""
    command = [sys.executable, "-m", "benchmarks.kills", "--quick", "--moments", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 the same" in done.stdout
