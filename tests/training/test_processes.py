"""A run in several processes is the run in one, and ends cleanly when one is lost."""

import math
import os
import signal
import subprocess
import sys
import time

import pytest

from lstm_jax.cli import main
from lstm_jax.training.processes import BEGUN, JOINED, is_lost
from tests import tiny
from tests.tasks import labelled
from tests.training.pairs import flags, free_port

pytestmark = pytest.mark.usefixtures("optax_promotion")

GROUPS, ROUNDS = 5, 4
SHARDED = "parallel.shard_parameters=true"


def environment(**more):
    """Without the simulated devices, which processes cannot share."""
    flags = os.environ["XLA_FLAGS"].split()
    kept = [flag for flag in flags if "device_count" not in flag]
    flags = " ".join(["--xla_backend_optimization_level=0", *kept])
    return os.environ | {"XLA_FLAGS": flags} | more


def forked(rounds, count, folder, args, **more):
    command = [sys.executable, "-m", "tests.training.pairs", str(rounds), str(count)]
    command += [str(folder), *args]
    return subprocess.run(command, env=environment(**more), timeout=1200).returncode


@pytest.fixture(scope="module")
def whole(optax_promotion, tmp_path_factory):
    """The arguments of a run, and that run on one device."""
    folder = tmp_path_factory.mktemp("whole")
    args = [*tiny.write(folder), "train.batch_size=8"]
    assert main(["train", *args, f"run.directory={folder / 'run'}"]) == 0
    return args, folder / "run"


def assert_same_curve(one, other, tolerance=1e-5):
    for line, found in zip(tiny.metrics(one), tiny.metrics(other), strict=True):
        assert [*line] == [*found]
        for key, value in line.items():
            assert math.isclose(found[key], value, rel_tol=tolerance), key


@pytest.mark.parametrize("group", range(GROUPS))
def test_two_processes_many_times(group, whole, tmp_path):
    args, one = whole
    assert forked(ROUNDS, 2, tmp_path, args) == 0
    runs = [tmp_path / str(n) / "run" for n in range(ROUNDS)]
    assert_same_curve(one, runs[0])
    weights = [(run / "model.safetensors").read_bytes() for run in runs]
    assert weights == [weights[0]] * ROUNDS
    logs = [(run.parent / "log1").read_text() for run in runs]
    assert {log.strip() for log in logs} == {"\n".join([JOINED, BEGUN])}


@pytest.mark.parametrize("count", [2, 4])
def test_the_curve_of_200_steps(count, tmp_path):
    long = ["train.steps=200", "train.evaluate_every=100", "train.checkpoint_every=200"]
    args = [*tiny.write(tmp_path), "train.batch_size=8", *long]
    assert main(["train", *args, f"run.directory={tmp_path / 'run'}"]) == 0
    assert forked(1, count, tmp_path / "many", [*args, SHARDED]) == 0
    assert_same_curve(tmp_path / "run", tmp_path / "many" / "0" / "run")


@pytest.mark.parametrize("kind", ["labels", "text"])
def test_batches_from_the_host(kind, tmp_path):
    """Each process loads its own rows, and rows of weight 0 fill up odd batches."""
    if kind == "labels":
        args = labelled.write_series(tmp_path)
        args += ["train.batch_size=5", "train.epochs=2"]
    else:
        args = [*tiny.write(tmp_path), "train.batch_size=8", "train.device_bytes=0"]
    assert main(["train", *args, f"run.directory={tmp_path / 'run'}"]) == 0
    assert forked(1, 2, tmp_path / "two", args) == 0
    assert_same_curve(tmp_path / "run", tmp_path / "two" / "0" / "run")


def test_four_processes_stopped_and_resumed(whole, tmp_path):
    """Ctrl-C reaches one of four; one process, and three of them, finish the run."""
    args, one = whole
    stop = forked(1, 4, tmp_path, [*args, SHARDED], STOP_AT="4")
    assert stop == 130
    run = tmp_path / "0" / "run"
    assert len(tiny.metrics(run)) < len(tiny.metrics(one))
    again = [*args, "--resume", "train.steps=12"]
    assert forked(1, 2, tmp_path, [*again, SHARDED], STOP_AT="8") == 130
    assert main(["train", *again, f"run.directory={run}"]) == 0
    assert_same_curve(one, run)


def start(count, n, port, args):
    command = [sys.executable, "-m", "lstm_jax", "train", *args, "--heartbeat", "10"]
    return subprocess.Popen(
        [*command, *flags(port, count, n)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


LOST_SECONDS = 60
"""A killed process closes its connections, so the others know at once. They may be in
the middle of compiling a program."""


@pytest.mark.parametrize("kind", ["killed", "stopped"])
def test_the_loss_of_a_process(kind, whole, tmp_path):
    """The other one ends with one clear line, and one process resumes the run."""
    args, _ = whole
    run, one = tmp_path / "run", tmp_path / "one"
    # Long enough not to be done before the other process is lost.
    slow = [*args, "train.block=1", "train.steps=300", f"run.directory={run}"]
    assert main(["train", *slow, f"run.directory={one}"]) == 0
    port = free_port()
    first, second = (start(2, n, port, slow) for n in range(2))
    wait_for(lambda: (run / "checkpoints" / "4").exists())
    worker = children(second.pid)[0]
    os.kill(worker, {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}[kind])
    _, said = first.communicate(timeout=LOST_SECONDS)
    if kind == "stopped":
        os.kill(worker, signal.SIGKILL)
    second.communicate(timeout=LOST_SECONDS)
    assert first.returncode == 2
    assert said.startswith("lstm-jax: process 0 has lost another process")
    assert said.count("\n") == 1
    assert not [*children(first.pid), *children(second.pid)]
    assert main(["train", *slow, "--resume"]) == 0
    assert_same_curve(one, run)
    assert not [*run.rglob("*.tmp")]


REFUSED = {
    "--distributed lacks --coordinator and --process": ["--processes", "2"],
    "expected 0 to 1 for --processes=2": [
        *["--processes", "2", "--process", "2"],
        *["--coordinator", "127.0.0.1:1"],
    ],
    "expected HOST:PORT": [
        *["--processes", "2", "--process", "1", "--coordinator", "here"],
    ],
    "could not join the others within 2 s": [
        *["--processes", "2", "--process", "1", "--connect-timeout", "2"],
        *["--coordinator", "127.0.0.1:1"],
    ],
    "finds no cluster": [],
}


@pytest.mark.parametrize("said", REFUSED)
def test_refusals(said, tmp_path):
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]
    command = [sys.executable, "-m", "lstm_jax", "train", *args, "--distributed"]
    found = subprocess.run(
        [*command, *REFUSED[said]], env=environment(), capture_output=True, text=True
    )
    assert found.returncode == 2
    assert said in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


DIFFERENT = {
    "has another config": ["optimizer.learning_rate=0.5"],
    "has another data or model": ["data.path=other.txt"],
    "does not see the folder": ["run.directory=elsewhere"],
    "before the training began": ["train.batch_size=7"],
}


@pytest.mark.parametrize("said", DIFFERENT)
def test_processes_that_differ(said, tmp_path):
    """Both end with one sentence, before anything is trained."""
    args = [*tiny.write(tmp_path), "train.batch_size=8"]
    (tmp_path / "other.txt").write_text(tiny.TEXT[::-1])
    port, changed = free_port(), [f"run.directory={tmp_path / 'run'}"]
    changed += [word.replace("=o", f"={tmp_path}/o") for word in DIFFERENT[said][:1]]
    changed = [word.replace("=e", f"={tmp_path}/e") for word in changed]
    if said == "before the training began":  # process 0 refuses its folder
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "metrics.jsonl").write_text("")
        changed = changed[:1]
    first = start(2, 0, port, [*args, f"run.directory={tmp_path / 'run'}"])
    second = start(2, 1, port, [*args, *changed])
    ends = [process.communicate(timeout=120)[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [2, 2]
    assert said in ends[1]
    assert [end.count("\n") for end in ends] == [1, 1]


def test_simulated_devices_cannot_be_shared(tmp_path):
    command = [sys.executable, "-m", "lstm_jax", "train", *tiny.write(tmp_path)]
    flag = "--xla_force_host_platform_device_count=4"
    found = subprocess.run(
        [*command, "--distributed"],
        env=environment(XLA_FLAGS=flag),
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert "unset --xla_force_host_platform_device_count" in found.stderr


def test_options_without_distributed(tmp_path, capsys):
    assert main(["train", *tiny.write(tmp_path), "--processes", "2"]) == 2
    assert "--processes: for --distributed only" in capsys.readouterr().err


def test_one_process_has_lost_nobody():
    assert not is_lost(ValueError("Gloo all-reduce failed: Connection reset by peer"))
