"""Commands that look at configs and runs: config, runs, compare, and event files."""

import errno
import os
import platform
import shutil

import pytest

from lstm_jax import tables
from lstm_jax.cli import main
from lstm_jax.commands.process import keep_freed_memory
from lstm_jax.config import build, read
from lstm_jax.tasks import TASKS
from lstm_jax.training.run_folder import Run
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")


def said(capsys, *argv, status=0):
    capsys.readouterr()
    assert main(argv) == status
    out = capsys.readouterr()
    return out.err if status else out.out


@pytest.fixture(scope="module")
def folder(optax_promotion, tmp_path_factory):
    """Two runs of one task, and a third that is not one any more."""
    folder = tmp_path_factory.mktemp("runs")
    args = tiny.write_memory(folder, "train.steps=6", "train.tensorboard=true")
    assert main(["train", *args, f"run.directory={folder / 'one'}"]) == 0
    more = ["optimizer.learning_rate=0.01", f"run.directory={folder / 'two'}"]
    assert main(["train", *args, *more]) == 0
    (folder / "three").mkdir()
    (folder / "three" / "config.toml").write_text("task = = 1")
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_every_key_has_its_type_default_and_meaning(task, capsys, tmp_path):
    lines = [
        line for line in said(capsys, "config", task, "--schema").splitlines() if line
    ]
    keys, meanings = lines[::2], lines[1::2]
    assert all(line.startswith("    ") for line in meanings)
    for key, meaning in zip(keys, meanings, strict=True):
        assert len(meaning.split()) >= 2, f"{key} is not explained"
    (tmp_path / "all.toml").write_text(
        "\n".join(line.rpartition("  (")[0] for line in keys)
    )
    assert build(TASKS[task][0], read(tmp_path / "all.toml")) == build(
        TASKS[task][0], {}
    )
    assert 'optimizer.kind = "adam"  ("adam")' in keys
    assert '# optimizer.kind = "sgd"  ("sgd")' in keys
    assert keys.count('# optimizer.schedule.kind = "constant"  ("constant")') == 1
    assert "train.block = 500  (integer)" in keys
    assert "# train.steps =  (integer, unset)" in keys


def test_without_a_task_the_keys_of_all_are_explained(capsys):
    each = [said(capsys, "config", task, "--schema") for task in TASKS]
    assert said(capsys, "config", "--schema") == "\n".join(each)
    assert "language_model, memory" in said(capsys, "config", status=2)


def test_config_prints_what_a_run_would_read(capsys, tmp_path):
    (path,) = tiny.write_memory(tmp_path)
    (tmp_path / "copy.toml").write_text(said(capsys, "config", path, "seed=7"))
    values = read(path) | {"seed": 7}
    kind, _ = TASKS["memory"]
    assert build(kind, read(tmp_path / "copy.toml")) == build(kind, values)
    wrong = said(capsys, "config", "memoy", "--schema", status=2)
    assert "did you mean memory?" in wrong


def test_runs_are_listed(folder, capsys):
    lines = said(capsys, "runs", str(folder)).splitlines()
    (one,) = [line for line in lines if str(folder / "one") in line]
    best = min(
        m["valid_loss"] for m in tiny.metrics(folder / "one") if "valid_loss" in m
    )
    assert "complete" in one
    assert f"{best:.5g}" in one
    assert any("left out" in line and "three" in line for line in lines)
    (folder / "none").mkdir(exist_ok=True)
    assert "holds no runs" in said(capsys, "runs", str(folder / "none"))
    assert "is not a folder" in said(capsys, "runs", str(folder / "nowhere"), status=2)


def test_no_table_is_cut_or_read_as_markup(capsys, monkeypatch):
    """As a pipe gets it; a terminal folds what is too long for it."""
    monkeypatch.setenv("COLUMNS", "40")
    path = "runs/of a [bold]long[/bold] name/" + "x" * 60
    tables.print_table(["run", "[/y]"], [(path, 1.5), ("[/]", None)])
    lines = capsys.readouterr().out.splitlines()
    assert any(path in line and "1.5" in line for line in lines)
    assert any("[/]" in line for line in lines)


def test_runs_are_compared(folder, tmp_path, capsys):
    text = said(capsys, "compare", str(folder / "one"), str(folder / "two"))
    (line,) = [line for line in text.splitlines() if "optimizer.learning_rate" in line]
    assert line.split()[-2:] == ["0.05", "0.01"]
    assert "run.directory" not in text
    curves = [
        {
            m["step"]: m["valid_loss"]
            for m in tiny.metrics(folder / name)
            if "valid_loss" in m
        }
        for name in ("one", "two")
    ]
    for step in (3, 6):
        row = [str(step), *(f"{curve[step]:.5g}" for curve in curves)]
        assert row in [line.split() for line in text.splitlines()]
    # Of one the last word was on its validation part.
    shutil.copytree(folder / "two", tmp_path / "valid")
    (tmp_path / "valid" / "result-test.json").rename(
        tmp_path / "valid" / "result-valid.json"
    )
    facts = (tmp_path / "valid" / "run.json").read_text()
    changed = facts.replace('"final_part": "test"', '"final_part": "valid"')
    (tmp_path / "valid" / "run.json").write_text(changed)
    text = said(capsys, "compare", str(folder / "one"), str(tmp_path / "valid"))
    (line,) = [line for line in text.splitlines() if line.strip()[:6] == "valid "][-1:]
    assert line.split()[-2] == "-"
    same = said(capsys, "compare", str(folder / "one"), str(folder / "one"))
    assert "configs are the same" in same
    assert "is not a run" in said(
        capsys, "compare", str(folder / "one"), str(folder), status=2
    )


@pytest.mark.parametrize("resumed", [False, True])
def test_event_files(folder, resumed):
    """Read back, they are the metrics, once each, at the time of their steps."""
    from tensorboardX.proto.event_pb2 import Event

    if resumed:
        args = tiny.write_memory(folder, "train.tensorboard=true", "train.steps=9")
        run = f"run.directory={folder / 'one'}"
        assert main(["train", *args, run, "--resume"]) == 0
    (path,) = (folder / "one" / "tensorboard").iterdir()
    data, scalars, clock = path.read_bytes(), {}, {}
    while data:  # framed as in a TFRecord: size, checksum, event, checksum
        size = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]
        for value in event.summary.value:
            assert (event.step, value.tag) not in scalars
            scalars[event.step, value.tag] = value.simple_value
            clock[event.step, value.tag] = event.wall_time
    for line in tiny.metrics(folder / "one"):
        for name in line.keys() - {"step"}:
            assert scalars[line["step"], name] == pytest.approx(line[name], rel=1e-6)
    for line in Run(folder / "one").metrics():
        name = "valid_loss" if "valid_loss" in line else "loss"
        assert clock[line["step"], name] == line["time"]


class Full:
    """A file for which no room is left."""

    def write(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_event_files_on_a_full_disk(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("tensorboardX.record_writer.open_file", lambda path: Full())
    args = tiny.write_memory(tmp_path, "train.tensorboard=true")
    run = f"run.directory={tmp_path / 'run'}"
    error = said(capsys, "train", *args, run, status=2)
    assert "tensorboard: No space left on device; what the run has" in error


def test_memory_that_is_freed_is_kept():
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
