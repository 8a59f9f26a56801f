"""What becomes of the output never costs a training."""

import logging
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

import lstm_jax
from lstm_jax import _starting
from lstm_jax.cli import main
from lstm_jax.commands.process import quiet_after_failed_writes
from lstm_jax.runs import train as train_module
from lstm_jax.tasks.memory import Memory
from lstm_jax.training import progress
from lstm_jax.training.run_errors import cannot_write
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


IMPORT = """
import sys
sys.argv[:] = [{argv!r}]
class Interrupted:
    def find_spec(self, name, *args):
        if name == "jax":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
import lstm_jax.cli
"""


@pytest.mark.parametrize(
    ("argv", "quiet"), [("/bin/lstm-jax", True), ("-m", True), ("mine.py", False)]
)
def test_ctrl_c_while_libraries_are_imported(argv, quiet):
    """The command has no traceback; other programs keep theirs."""
    command = [sys.executable, "-c", IMPORT.format(argv=argv)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if quiet:
        assert (done.returncode, done.stderr) == (130, "lstm-jax: interrupted.\n")
    else:
        assert "Traceback" in done.stderr


def test_an_interrupt_inside_an_import_error(monkeypatch, capsys):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    error = ImportError("cannot import")
    error.__context__ = KeyboardInterrupt()
    _starting.quiet(ImportError, error, None)
    assert ended == [130]
    monkeypatch.setattr(sys, "__excepthook__", lambda *error: ended.append(error))
    other = ValueError("other")
    _starting.quiet(ValueError, other, None)
    assert ended[1:] == [(ValueError, other, None)]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_last_validation(tmp_path, monkeypatch, capsys, kind):
    """The final evaluation waits for --resume."""
    evaluate = Memory.evaluate
    calls = []

    def stop(self, params, split):
        calls.append(split)
        if len(calls) == 4:  # at steps 3, 6, 9 and 12
            signal.raise_signal(kind)
        return evaluate(self, params, split)

    args = [*tiny.write_memory(tmp_path), f"run.directory={tmp_path / 'run'}"]
    with monkeypatch.context() as patch:
        patch.setattr(Memory, "evaluate", stop)
        assert main(["train", *args]) == 130
    assert calls == ["valid"] * 4
    assert "stopped at step 12" in capsys.readouterr().out
    assert not (tmp_path / "run" / "result-test.json").exists()
    assert main(["train", *args, "--resume"]) == 0
    assert (tmp_path / "run" / "result-test.json").exists()


@pytest.mark.parametrize(
    ("kind", "status", "says"),
    [
        (signal.SIGTERM, 143, "stopped by SIGTERM."),
        (signal.SIGINT, 130, "interrupted."),
    ],
)
def test_stopped_while_it_finishes(tmp_path, monkeypatch, capsys, kind, status, says):
    args = [*tiny.write_memory(tmp_path), f"run.directory={tmp_path / 'run'}"]
    args += ["train.steps=1", "train.evaluate_every=1"]
    before = signal.getsignal(signal.SIGTERM)
    # A test run in the background may ignore it.
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        patch.setattr(train_module, "report", lambda *args: signal.raise_signal(kind))
        assert main(["train", *args]) == status
    signal.signal(signal.SIGINT, interrupt)
    said = capsys.readouterr()
    assert said.err == f"lstm-jax: {says}\n"
    assert "is trained and saved; finish it with --resume." in said.out
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_output_on_a_full_disk():
    command = [sys.executable, "-m", "lstm_jax", "config", "--schema"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, check=False, stdout=full, stderr=-1, text=True)
    said = "lstm-jax: cannot write the output: No space left on device.\n"
    assert (done.returncode, done.stderr) == (2, said)
    script = (
        "from lstm_jax.terminal import output_may_close\n"
        "with output_may_close():\n"
        "    print('a log on a full disk', flush=True)\n"
        "    print('goes on')\n"
    )
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, check=False, stdout=full, stderr=-1, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_said_in_the_words_of_the_system():
    error = ValueError(
        'RESOURCE_EXHAUSTED: Error writing "w" in OCDBT database: No space left on '
        "device [os_error_code='28']"
    )
    said = str(cannot_write(Path("a"), error, "it is kept"))
    assert said == (
        "cannot write a: No space left on device; it is kept; make room and resume it."
    )


def test_what_fails_after_a_failed_write_is_not_printed(monkeypatch, caplog):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    log = logging.getLogger("asyncio")
    monkeypatch.setattr(log, "filters", [])
    quiet_after_failed_writes()
    for text in ("Event loop is closed", "another"):
        sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError(text)))
        log.error("Task exception was never retrieved" if told == [] else text)
    assert [str(one.exc_value) for one in told] == ["another"]
    assert [record.getMessage() for record in caplog.records] == ["another"]
