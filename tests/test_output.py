"""What becomes of the output never costs a training."""

import os
import signal
import subprocess
import sys

import pytest

import lstm_jax
from lstm_jax.cli import main
from lstm_jax.training import progress
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")


def train(folder, *more, **options):
    args = [*tiny.write_memory(folder), f"run.directory={folder / 'run'}", *more]
    command = [sys.executable, "-m", "lstm_jax", "train", *args]
    return subprocess.run(command, check=False, capture_output=True, **options)


def test_a_reader_that_goes_away(tmp_path):
    """As with ``lstm-jax train ... | head -1``."""
    args = [*tiny.write_memory(tmp_path), f"run.directory={tmp_path / 'run'}"]
    command = [sys.executable, "-u", "-m", "lstm_jax", "train", *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert b"needs no memory" in process.stdout.readline()
        process.stdout.close()
        assert process.wait() in (0, 141)
    assert (tmp_path / "run" / "result-test.json").exists()
    assert (tmp_path / "run" / "loss.png").exists()


@pytest.mark.parametrize("output", ["a full disk", "closed"])
def test_an_output_that_takes_nothing(tmp_path, monkeypatch, output):
    """The text is lost, the training is not."""
    args = [*tiny.write_memory(tmp_path), f"run.directory={tmp_path / 'run'}"]
    with open("/dev/full", "w", buffering=1) as full:
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, full if output == "a full disk" else None)
        assert main(["train", *args, "train.steps=3"]) == 0
        for stream in {sys.stdout, sys.stderr} - {full}:
            stream.close()
    assert (tmp_path / "run" / "loss.png").exists()


def test_a_table_that_cannot_be_written(monkeypatch, capsys, tmp_path):
    """Any command says so in a line."""
    tiny.new_run(tmp_path / "run")
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said == "lstm-jax: cannot write the output: No space left on device.\n"


def test_an_encoding_without_our_characters(tmp_path):
    done = train(tmp_path, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert b"\\xb7 validation" in done.stdout


def test_a_closed_terminal_is_a_request_to_stop(tmp_path, monkeypatch, capsys):
    update = progress.ProgressReport.update

    def hang_up(self, step, values):
        update(self, step, values)
        if step >= 5:
            signal.raise_signal(signal.SIGHUP)

    args = [*tiny.write_memory(tmp_path), f"run.directory={tmp_path / 'run'}"]
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    monkeypatch.setattr(progress.ProgressReport, "update", hang_up)
    try:
        assert main(["train", *args]) == 130
        assert "stopped at step" in capsys.readouterr().out
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
        assert main(["train", *args, "--resume"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert lstm_jax.__version__ in capsys.readouterr().out
