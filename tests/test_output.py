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
