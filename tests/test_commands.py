"""Commands that look at configs and runs: config, runs, compare, and event files."""

import errno
import functools
import json
import os
import platform
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from lstm_jax import init_lstm_stack, load_run, tables
from lstm_jax.cli import main
from lstm_jax.commands.process import keep_freed_memory
from lstm_jax.config import build, read
from lstm_jax.interop import save_stack
from lstm_jax.runs.summary import Summary
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


def test_the_meaning_of_one_key(capsys):
    one = said(capsys, "config", "tagging", "--schema", "train.patience")
    assert [line.startswith(" ") for line in one.splitlines()] == [False, True]
    assert one.startswith("train.patience = 0  (integer)")
    section = said(capsys, "config", "tagging", "--schema", "model")
    assert "model.crf = " in section
    assert "train." not in section
    wrong = said(capsys, "config", "tagging", "--schema", "model.crg", status=2)
    assert "the task tagging has no key model.crg; did you mean model.crf?" in wrong


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


def test_only_runs_that_can_be_compared_are_ranked_together(folder, tmp_path, capsys):
    """Of the same task, tokens and data: another length is another problem."""
    shutil.copytree(folder / "one", tmp_path / "runs" / "a")
    shutil.copytree(folder / "two", tmp_path / "runs" / "b")
    shutil.copytree(folder / "two", tmp_path / "runs" / "c")
    path = tmp_path / "runs" / "c" / "run.json"
    path.write_text(path.read_text().replace('"length": 6', '"length": 60'))
    text = said(capsys, "runs", str(tmp_path / "runs"))
    titles = [line for line in text.splitlines() if "lower is better" in line]
    assert titles == [
        f"memory · adding, length {n} · valid loss (lower is better)" for n in (6, 60)
    ]
    first, second = text.split(titles[1])
    assert str(tmp_path / "runs" / "a") in first
    assert str(tmp_path / "runs" / "b") in first
    assert str(tmp_path / "runs" / "c") in second
    compared = said(capsys, "compare", *(str(tmp_path / "runs" / n) for n in "ac"))
    assert "their metrics measure different things" in compared


def test_what_a_metric_is_of():
    facts = {"data": "/home/me/a.txt", "sha256": "0123456789", "vocabulary": 4000}
    facts |= {"parameters": 1, "monitor": {}}
    title = lambda name: (
        Summary(
            Run("run"),
            {"task": "language_model"},
            facts | {"tokenizer": {"name": name}},
            *(0, {}, {}, False),
        ).measured
    )
    assert title("words").title == (
        "language_model · 4,000 words of a.txt, sha256 01234567 · valid loss (lower is "
        "better)"
    )
    assert len({title(name) for name in ("bytes", "words", "bpe")}) == 3


def test_runs_as_json(folder, capsys):
    listed = json.loads(said(capsys, "runs", str(folder), "--json"))
    one, two = (
        next(run for run in listed["runs"] if run["run"] == str(folder / name))
        for name in ("one", "two")
    )
    lines = [m for m in tiny.metrics(folder / "one") if "valid_loss" in m]
    best = min(lines, key=lambda line: line["valid_loss"])
    assert (one["best"], one["best_step"]) == (best["valid_loss"], best["step"])
    assert one["metrics"] == json.loads((folder / "one/result-test.json").read_text())
    assert (two["state"], two["task"], two["split"]) == ("complete", "memory", "test")
    assert len(listed["left_out"]) == 1


def test_a_run_that_is_being_trained(folder, tmp_path, capsys):
    shutil.copytree(folder / "one", tmp_path / "one")
    state = lambda: json.loads(said(capsys, "runs", str(tmp_path), "--json"))
    with Run(tmp_path / "one").alone():
        assert state()["runs"][0]["state"] == "running"
    assert state()["runs"][0]["state"] == "complete"
    with Run(tmp_path / "one").alone():  # asking has not kept the lock
        pass


def test_imported_weights_are_not_a_run(tmp_path, capsys):
    folder = tmp_path / "weights"
    save_stack(folder, init_lstm_stack(jax.random.key(0), 3, 5, num_layers=1))
    text = said(capsys, "runs", str(tmp_path))
    assert text.strip() == (
        f"imported weights, not a run: {folder} (see lstm-jax export)"
    )
    error = said(capsys, "generate", str(folder), status=2)
    assert "it holds weights made by lstm-jax import" in error
    assert "use lstm-jax export" in error
    error = said(capsys, "evaluate", str(tmp_path / "none"), status=2)
    assert "there is no such folder" in error


def test_what_is_not_a_run_is_told(folder, capsys):
    error = said(capsys, "evaluate", str(folder), status=2)
    assert "is not a run, but a folder of runs; name one of them" in error
    assert f"or list them with lstm-jax runs {folder}." in error
    config = folder / "one" / "config.toml"
    for command in (["evaluate"], ["compare", str(folder / "one")]):
        error = said(capsys, *command, str(config), status=2)
        assert "config.toml is a file, expected the folder of a run" in error
    error = said(capsys, "train", str(folder / "one"), status=2)
    assert f"to continue the run in it: lstm-jax train {config} --resume" in error


def test_what_a_loaded_run_says_of_itself(folder):
    run = load_run(folder / "one")
    size = run.metadata["parameters"]
    assert repr(run) == (
        f"LoadedRun({str(folder / 'one')!r}, task='memory', parameters={size})"
    )
    with pytest.raises(TypeError, match="path is of type ndarray, expected the path"):
        run.predict(np.ones((2, 3)))


def test_a_shipped_config_by_its_name(capsys, tmp_path, monkeypatch):
    """As it stands, comments included; a file of that name goes first."""
    folder = Path(__file__).parent.parent / "configs"
    for path in folder.rglob("*.toml"):
        name = path.relative_to(folder).with_suffix("").as_posix()
        assert said(capsys, "config", name) == path.read_text()
    text = (folder / "quickstart.toml").read_text()
    full = said(capsys, "config", "quickstart", "train.steps=7")
    assert "steps = 7" in full
    assert "patience = 0" in full
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()  # a folder is no config
    assert said(capsys, "config", "quickstart") == text
    (tmp_path / "quickstart").rmdir()
    (tmp_path / "quickstart").write_text('task = "memory"')
    assert 'task = "memory"' in said(capsys, "config", "quickstart")
    error = said(capsys, "train", "configs/quickstart.toml", status=2)
    assert "did you mean quickstart?" in error
    assert "quickstart" in said(capsys, "config", status=2)
    error = said(capsys, "train", "tagging", status=2)
    assert "tagging is a task, not a config; name one of the configs" in error
    assert "(tag), or edit a copy: lstm-jax config tag > my.toml" in error


def test_a_shipped_config_is_trained(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["model.hidden_size=2", "problem.length=4", "train.steps=1"]
    small += ["train.batch_size=2", "evaluation.sequences=2", "evaluation.batch_size=2"]
    said(capsys, "train", "memory_adding", *small)
    assert (tmp_path / "runs" / "memory_adding" / "result-test.json").exists()


@pytest.mark.parametrize("width", [40, 80, 1000])
def test_a_terminal_breaks_no_name_and_no_number(capsys, monkeypatch, width):
    sized = functools.partial(Console, width=width, height=25, color_system=None)
    monkeypatch.setattr(tables, "Console", sized)
    monkeypatch.setattr(Console, "is_terminal", True)
    path = "runs/a-rather-long-name-of-a-run-x"
    said = "test loss 1.2346, test bits per character 2.1234, test perplexity 123.45"
    columns = ["run", "state", "best at step", "final"]
    tables.print_table(columns, [(path, "complete", 1_234_567, said)])
    text = capsys.readouterr().out
    assert path in text
    assert "1,234,567" in text
    assert all(word in text.split() for word in [*said.split(), "step", "final"])
    if width == 80:
        assert max(map(len, text.splitlines())) <= 80


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
    config = tmp_path / "valid" / "config.toml"  # as of an older version
    config.write_text(config.read_text().replace("accumulate = 1\n", ""))
    assert "accumulate" not in said(
        capsys, "compare", str(folder / "one"), str(tmp_path / "valid")
    )
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
