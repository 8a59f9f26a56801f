"""Whatever stops a run, it goes on as if nothing had happened.

The run here has all the state there is: momentum, accumulated gradients, averages that
start late, a learning rate that follows validation, and two seeds.
"""

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from lstm_jax import files
from lstm_jax.cli import main
from lstm_jax.config import read
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.runs.load import params_like, trained
from lstm_jax.tasks.memory import Memory
from lstm_jax.training import checkpoint, progress, trainer
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.run_folder import Run
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")

EVERYTHING = [
    "model.hidden_size=3",
    "optimizer.kind=sgd",
    "optimizer.momentum=0.9",
    "optimizer.learning_rate=0.5",
    "optimizer.schedule.kind=plateau",
    "optimizer.schedule.decay=0.5",
    "optimizer.schedule.after=1",
    "optimizer.average.kind=nt_asgd",
    "optimizer.average.after=1",
    "optimizer.accumulate=2",
    "train.evaluate_every=2",
    "train.seeds=2",
]


def arguments(folder):
    return tiny.write_memory(folder, *EVERYTHING, f"run.directory={folder / 'run'}")


@pytest.fixture(scope="module")
def whole(optax_promotion, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert main(["train", *arguments(folder)]) == 0
    return folder / "run"


def results(run):
    names = ["model.safetensors", "model-seed1.safetensors", "result-test.json"]
    return [tiny.metrics(run), *((run / name).read_bytes() for name in names)]


@pytest.fixture(scope="module")
def at_step_8(optax_promotion, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    assert main(["train", *arguments(folder), "train.steps=8"]) == 0
    return folder / "run"


@pytest.fixture
def cut(at_step_8, tmp_path):
    """The run as it was after step 8, with the checkpoints of steps 4 and 8."""
    arguments(tmp_path)
    shutil.copytree(at_step_8, tmp_path / "run")
    return tmp_path / "run"


def test_all_of_the_state_is_in_use(whole):
    lines = tiny.metrics(whole)
    rates = {line["learning_rate"] for line in lines if "loss" in line}
    assert len(rates) > 1, "validation never lowered a learning rate"
    assert trained(whole).validation.averaging.any(), "averaging never started"


@pytest.mark.parametrize(("stop", "every"), [(1, 4), (7, 5)])
def test_stop_at_any_step(whole, tmp_path, monkeypatch, stop, every):
    """By SIGTERM; it goes on with other blocks and other checkpoints."""
    update = progress.ProgressReport.update

    def terminate(self, step, loss):
        update(self, step, loss)
        if step == stop:
            signal.raise_signal(signal.SIGTERM)

    args = arguments(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(progress.ProgressReport, "update", terminate)
        assert main(["train", *args, "train.block=1"]) == 130
    at = tiny.metrics(tmp_path / "run")[-1]["step"]
    assert stop <= at <= stop + 1
    more = [f"train.checkpoint_every={every}", "train.block=3"]
    assert main(["train", *args, "--resume", *more]) == 0
    assert results(tmp_path / "run") == results(whole)


KILL = """
import os, signal, sys
import jax
jax.config.update("jax_default_matmul_precision", "highest")
from lstm_jax.training import checkpoint, progress
def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)
{plant}
from lstm_jax.cli import main
main(sys.argv[1:])
"""
KILLED = {
    "between checkpoints": """
update = progress.ProgressReport.update
progress.ProgressReport.update = lambda self, step, loss: (
    die() if step >= 10 else update(self, step, loss))
""",
    "while one is written": """
save = checkpoint._save_tree
def half(folder, tree):
    save(folder, tree)
    if folder.parent.name.startswith("8."):
        die()
checkpoint._save_tree = half
""",
}


@pytest.mark.parametrize("plant", KILLED.values(), ids=KILLED)
def test_kill_9(whole, tmp_path, plant):
    script = KILL.format(plant=plant)
    command = [sys.executable, "-c", script, "train", *arguments(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    run = tmp_path / "run"
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert "4" in names
    assert "12" not in names
    assert main(["train", *arguments(tmp_path), "--resume"]) == 0
    assert results(run) == results(whole)
    assert not [*run.rglob("*.tmp")]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def largest(folder):
    return max(folder.rglob("d/*"), key=lambda path: path.stat().st_size)


def edit(folder, change):
    path = folder / checkpoint.MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def tell_another_loss(manifest):
    manifest["facts"]["validations"][0][1][0] += 1e-3


DAMAGE = {
    "the manifest tells another loss": lambda f: edit(f, tell_another_loss),
    "the manifest names no files": lambda f: edit(f, lambda m: m.pop("files")),
    "a bit flips": lambda folder: flip(largest(folder)),
    "a file is cut": lambda folder: os.truncate(largest(folder), 100),
    "a file is gone": lambda folder: largest(folder).unlink(),
    "the manifest is gone": lambda folder: (folder / checkpoint.MANIFEST).unlink(),
    "the manifest is cut": lambda folder: os.truncate(folder / checkpoint.MANIFEST, 50),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_not_used(cut, damage, capsys):
    folder = cut / "checkpoints" / "8"
    DAMAGE[damage](folder)
    found = []
    checkpoints = checkpoint.Checkpoints(cut / "checkpoints", say=found.append)
    assert checkpoints.last_good() == 4
    assert found[0].startswith("the checkpoint of step 8 is corrupt (")


def test_after_damage_the_last_good_one_goes_on(whole, cut, capsys):
    flip(largest(cut / "checkpoints" / "8"))
    assert main(["train", *arguments(cut.parent), "--resume"]) == 0
    said = capsys.readouterr().out
    assert "the checkpoint of step 8 is corrupt" in said
    assert "SHA-256" in said
    assert "resuming at step 4" in said
    assert results(cut) == results(whole)
    assert (cut / "checkpoints" / "8.damaged").is_dir(), "thrown away"


def test_damage_is_not_told_among_what_is_generated(cut, capsys):
    flip(largest(cut / "checkpoints" / "8"))
    trained(cut)
    said = capsys.readouterr()
    assert "the checkpoint of step 8 is corrupt" in said.err
    assert not said.out


@pytest.mark.parametrize("checkpoints", ["damaged", "gone"])
def test_a_run_at_its_end_does_not_begin_anew(cut, capsys, checkpoints):
    """Its curve and its figures would be lost."""
    for folder in [*(cut / "checkpoints").iterdir()]:
        shutil.rmtree(folder) if checkpoints == "gone" else flip(largest(folder))
    before = {p: p.read_bytes() for p in cut.rglob("*") if p.is_file()}
    assert main(["train", *arguments(cut.parent), "--resume"]) == 2
    assert "no valid checkpoint" in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in cut.rglob("*") if p.is_file()}


def test_a_run_at_its_end_without_its_metrics(cut, capsys):
    (cut / "metrics.jsonl").unlink()
    assert main(["train", *arguments(cut.parent), "train.steps=8", "--resume"]) == 0
    assert "plots: none" in capsys.readouterr().out


def test_metrics_that_cannot_be_read(cut, capsys):
    (cut / "metrics.jsonl").unlink()
    (cut / "metrics.jsonl").mkdir()
    assert main(["train", *arguments(cut.parent), "--resume"]) == 2
    assert "metrics.jsonl: Is a directory" in capsys.readouterr().err
    assert main(["runs", str(cut.parent)]) == 0


def test_a_divergence_that_was_taken_back(cut):
    """The run goes on from a checkpoint before the seed was over."""
    facts = json.loads((cut / "run.json").read_text())
    (cut / "run.json").write_text(json.dumps(facts | {"diverged": {"0": 9}}))
    assert main(["train", *arguments(cut.parent), "--resume"]) == 0
    assert "diverged" not in json.loads((cut / "run.json").read_text())


def test_a_stop_before_the_first_block(cut, monkeypatch):
    """Asked for just after the loop has looked for it, it takes no step, and what was
    evaluated is not evaluated once more."""
    answers = iter([False])
    stop = SimpleNamespace(is_set=lambda: next(answers, True), signal="SIGINT")
    monkeypatch.setattr(trainer, "stop_requests", lambda: contextlib.nullcontext(stop))
    before = (cut / "metrics.jsonl").read_bytes()
    assert main(["train", *arguments(cut.parent), "--resume"]) == 130
    assert (cut / "metrics.jsonl").read_bytes() == before


def one_line(capsys):
    said = capsys.readouterr().err.strip()
    assert said.startswith("lstm-jax: cannot write ")
    assert "\n" not in said, said
    return said


def test_the_disk_is_full(cut, capsys):
    """No file may grow beyond what the log has already, as if no room were left."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    good = {p: p.read_bytes() for p in (cut / "checkpoints").rglob("*") if p.is_file()}
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        assert main(["train", *arguments(cut.parent), "--resume"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "make room and resume it" in one_line(capsys)
    assert good == {p: p.read_bytes() for p in good}


def test_a_disk_that_becomes_read_only(whole, cut, capsys, monkeypatch):
    """As after an error of the device; the remedy is that of the error."""
    append = files.append

    def read_only(path, data):
        if b'"step": 10' in data:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        append(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "append", read_only)
        assert main(["train", *arguments(cut.parent), "--resume"]) == 2
    assert "are intact; make it writable and resume it" in one_line(capsys)
    assert main(["train", *arguments(cut.parent), "--resume"]) == 0
    assert results(cut) == results(whole)


def test_no_room_for_a_checkpoint(whole, cut, capsys, monkeypatch):
    """It is the checkpoint that does not fit any more: the one before is intact."""
    save = checkpoint._save_tree

    def fails(folder, tree):
        if folder.parent.name.startswith("12."):
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
            try:
                save(folder, tree)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        save(folder, tree)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_save_tree", fails)
        assert main(["train", *arguments(cut.parent), "--resume"]) == 2
    said = one_line(capsys)
    assert ": File too large; the checkpoint" in said, "not what TensorStore says"
    assert "the checkpoint of step 8 is intact" in said
    assert not [*cut.rglob("*.tmp")]
    assert main(["train", *arguments(cut.parent), "--resume"]) == 0
    assert results(cut) == results(whole)


@pytest.mark.parametrize("folder", ["/proc/lstm_jax", "{}/memory.toml/run"])
def test_a_folder_that_cannot_be_written(tmp_path, capsys, folder):
    """Not even by root."""
    args = [*arguments(tmp_path), f"run.directory={folder.format(tmp_path)}"]
    assert main(["train", *args]) == 2
    assert "run.directory=FOLDER" in one_line(capsys)


def test_the_checkpoint_of_another_model(whole, capsys):
    values = read(whole / "config.toml")
    config = read_config(values, ["model.hidden_size=5", "train.seeds=1"])
    checkpoints = checkpoint.Checkpoints(whole / "checkpoints")
    like = params_like(make_task(config))
    said = r"its head.bias.value is float32\[2, 1\], expected float32\[1\]"
    with pytest.raises(RunError, match=said):
        checkpoints.restore_best(12, like)


def test_the_checkpoints_of_another_run(whole, cut, tmp_path, capsys):
    """Found out before anything is written."""
    args = [*tiny.write_memory(tmp_path, *EVERYTHING), "model.hidden_size=5"]
    other = tmp_path / "other"
    assert main(["train", *args, f"run.directory={other}"]) == 0
    shutil.rmtree(cut / "checkpoints")
    shutil.copytree(other / "checkpoints", cut / "checkpoints")
    before = {path: path.read_bytes() for path in cut.iterdir() if path.is_file()}
    capsys.readouterr()
    for command in (["evaluate", str(cut)], ["train", *arguments(tmp_path)]):
        more = ["--resume"] if command[0] == "train" else []
        assert main([*command, *more]) == 2
        assert "belongs to another run" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in before}


def test_an_evaluation_that_a_longer_run_would_not_have(tmp_path, capsys):
    """It has lowered a learning rate, or begun an average."""
    args = [*arguments(tmp_path), "train.evaluate_every=3"]
    assert main(["train", *args, "train.steps=8"]) == 0
    assert main(["train", *args, "--resume"]) == 2
    said = capsys.readouterr().err
    assert "last evaluation is at step 8" in said
    assert "set train.steps=8" in said


def test_an_evaluation_that_patience_would_count(tmp_path, capsys):
    args = [*tiny.write_memory(tmp_path), f"run.directory={tmp_path / 'run'}"]
    assert main(["train", *args, "train.steps=8"]) == 0
    assert main(["train", *args, "--resume", "train.patience=2"]) == 2
    assert "last evaluation is at step 8" in capsys.readouterr().err
    assert main(["train", *args, "--resume"]) == 0


def test_another_patience_would_have_kept_other_weights(tmp_path, capsys, monkeypatch):
    losses = iter([3.0, 3.1, 2.0, 2.0])  # of three validations and the test
    told = lambda self, params, part: {"loss": next(losses), "right": 0.0}
    args = [*tiny.write_memory(tmp_path), f"run.directory={tmp_path / 'run'}"]
    with monkeypatch.context() as patch:
        patch.setattr(Memory, "evaluate", told)
        assert main(["train", *args, "train.steps=9"]) == 0
    assert main(["train", *args, "--resume", "train.patience=1"]) == 2
    assert "with train.patience=1 the best step would be" in capsys.readouterr().err
    assert main(["train", *args, "--resume", "train.patience=2"]) == 0


RULES = {
    "ema": ["optimizer.average.kind=ema", "optimizer.average.decay=0.9"],
    "lion": ["optimizer.kind=lion", "optimizer.learning_rate=0.01"],
    "patience": ["train.patience=3", "train.evaluate_every=2"],
    "adamw": ["optimizer.kind=adamw", "optimizer.weight_decay=0.1"],
}


@pytest.mark.parametrize("more", RULES.values(), ids=RULES)
def test_every_rule_goes_on(tmp_path, monkeypatch, more):
    args = tiny.write_memory(tmp_path, *more)
    assert main(["train", *args, f"run.directory={tmp_path / 'whole'}"]) == 0
    update = progress.ProgressReport.update

    def terminate(self, step, loss):
        update(self, step, loss)
        if step == 5:
            signal.raise_signal(signal.SIGTERM)

    args = ["train", *args, f"run.directory={tmp_path / 'cut'}"]
    with monkeypatch.context() as patch:
        patch.setattr(progress.ProgressReport, "update", terminate)
        assert main([*args, "train.block=1"]) == 130
    assert main([*args, "--resume"]) == 0
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert tiny.metrics(whole) == tiny.metrics(cut)
    for name in ("model.safetensors", "result-test.json"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl"])
def test_a_record_that_is_no_text(cut, capsys, name):
    (cut / name).write_bytes(b"\xff\n" + (cut / name).read_bytes())
    assert main(["runs", str(cut)]) == 0
    assert "left out: " in capsys.readouterr().out
    restored = name == "run.json"  # from the checkpoint
    status = main(["train", *arguments(cut.parent), "--resume"])
    assert status == (0 if restored else 2)
    said = capsys.readouterr()
    assert "corrupt" in (said.out if restored else said.err)


def test_a_run_that_goes_on_is_not_complete(cut, capsys, monkeypatch):
    """Its final figures were those of an earlier end."""
    args = [*arguments(cut.parent), "--resume", "train.block=1"]
    update = progress.ProgressReport.update

    def terminate(self, step, loss):
        update(self, step, loss)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(progress.ProgressReport, "update", terminate)
        assert main(["train", *args]) == 130
    capsys.readouterr()
    assert main(["runs", str(cut)]) == 0
    said = capsys.readouterr().out
    assert "stopped" in said
    assert "complete" not in said


def test_two_processes_do_not_train_the_same_run(cut, capsys):
    before = {path: path.read_bytes() for path in cut.iterdir() if path.is_file()}
    with Run.open(cut).alone():
        assert main(["train", *arguments(cut.parent), "--resume"]) == 2
    assert "another process is training" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in before}
    with Run.open(cut).alone():
        pass  # it is free again
