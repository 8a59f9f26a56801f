"""Records that others have written to, and places where nothing can be written."""

import errno
import fcntl
import os
import re
from pathlib import Path

import pytest

from lstm_jax.cli import main
from lstm_jax.training import events
from lstm_jax.training.run_errors import RunError, cannot_write, make_folder
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture
def stopped(tmp_path):
    """Arguments that go on with a run after its eighth step, and its folder."""
    args = [*tiny.write_memory(tmp_path), f"run.directory={tmp_path / 'run'}"]
    assert main(["train", *args, "train.steps=8"]) == 0
    return ["train", *args, "--resume"], tmp_path / "run"


def test_keys_that_are_newer_than_a_run(stopped):
    args, run = stopped
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(re.sub("chrono_steps.*\n", "", text))
    assert main(args) == 0
    assert (run / "config.toml").read_text() == text.replace("steps = 8", "steps = 12")


def test_half_a_checkpoint_of_other_steps(stopped, capsys):
    args, run = stopped
    (run / "checkpoints" / "7.tmp" / "state").mkdir(parents=True)
    assert main(args) == 0
    said = capsys.readouterr().out
    assert "the checkpoint of step 7 was not written to its end" in said
    assert not [*run.rglob("*.tmp")]


@pytest.mark.parametrize("line", ["{}", "[]", "5", '{"step": "one"}'])
def test_metrics_that_are_none(stopped, capsys, line):
    """Nothing is written before they are understood."""
    args, run = stopped
    first, *rest = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join([first, line + "\n", *rest]))
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert main(args) == 2
    assert "metrics.jsonl is corrupt" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in before}
    assert main(["runs", str(run)]) == 0
    assert "left out" in capsys.readouterr().out


def test_metrics_that_are_lost(stopped, capsys):
    args, run = stopped
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:3]))
    assert main(args) == 0
    assert "metrics.jsonl ends at step 3; its curves" in capsys.readouterr().out


def test_a_schedule_that_was_to_end_earlier(stopped, capsys):
    args, _ = stopped
    assert main([*args, "train.steps=9"]) == 0
    said = capsys.readouterr().out
    assert (
        "as in a run of 9 steps; so far the cosine schedule was that of 8 steps."
        in said
    )


def test_what_stops_a_training_is_told_as_it_is(tmp_path):
    """A pipe that is full for now is not another process."""
    run = tiny.new_run(tmp_path / "run")
    with pytest.raises(BlockingIOError), run.alone():
        raise BlockingIOError


def test_where_there_are_no_locks(tmp_path, monkeypatch):
    run = tiny.new_run(tmp_path / "run")

    def no_locks(*args):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    error = errno.ENOLCK
    with run.alone():
        pass
    error = errno.EIO
    with pytest.raises(RunError, match="cannot write"), run.alone():
        pass


def test_a_run_that_took_no_step_stands_in_nobody_s_way(tmp_path, capsys, monkeypatch):
    args = [*tiny.write_memory(tmp_path), f"run.directory={tmp_path / 'run'}"]

    def not_installed(*args):
        raise RunError("no tensorboardX; set train.tensorboard=false.")

    monkeypatch.setattr(events, "Events", not_installed)
    assert main(["train", *args, "train.tensorboard=true"]) == 2
    assert main(["train", *args]) == 0
    assert main(["train", *args]) == 2
    assert "already holds a run" in capsys.readouterr().err


def test_an_error_without_words():
    said = str(cannot_write(Path("a"), MemoryError()))
    assert said.startswith("cannot write a: MemoryError; ")


def test_a_folder_for_copies_that_cannot_be_written():
    with pytest.raises(RunError, match="--out /proc/self cannot be written to"):
        make_folder(Path("/proc/self"), "--out")


def test_more_than_there_is_memory_for(tmp_path, capsys):
    args = tiny.write_memory(tmp_path, "train.batch_size=1000000")
    args += ["model.hidden_size=500"]
    assert main(["train", *args, f"run.directory={tmp_path / 'run'}"]) == 2
    said = capsys.readouterr().err
    assert "lstm-jax: the device has not enough memory (" in said
    assert "lower train.batch_size" in said
    assert len(said.splitlines()) == 1
