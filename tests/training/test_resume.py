"""A run that was stopped and resumed is, bit for bit, the run that was not."""

import json

import pytest

from lstm_jax.cli import main
from lstm_jax.runs import train
from lstm_jax.runs.load import trained
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.environment import environment
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module")
def whole(optax_promotion, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    args = tiny.write(folder)
    assert main(["train", *args, f"run.directory={folder / 'run'}"]) == 0
    return folder / "run"


def results(run):
    weights = (run / "model.safetensors").read_bytes()
    return tiny.metrics(run), weights, (run / "result-test.json").read_text()


def files(run):
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


@pytest.mark.parametrize(("stop", "block"), [(6, 4), (5, 5)])
def test_stop_and_resume(whole, tmp_path, monkeypatch, capsys, stop, block):
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]
    with monkeypatch.context() as patch:
        tiny.interrupt_at(patch, stop)
        assert main(["train", *args]) == 130
    said = capsys.readouterr().out
    assert "stopped at step" in said
    assert "by SIG" in said
    assert "--resume" in said
    assert len(tiny.metrics(tmp_path / "run")) < len(tiny.metrics(whole))
    assert main(["train", *args, "--resume", f"train.block={block}"]) == 0
    assert results(tmp_path / "run") == results(whole)


def test_metrics_later_than_the_checkpoint_are_made_again(whole, tmp_path, monkeypatch):
    """As after kill -9: the log is ahead of the checkpoint, its last line is torn."""
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]
    with monkeypatch.context() as patch:
        tiny.interrupt_at(patch, 4)
        assert main(["train", *args]) == 130
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "loss": 1.0, "learning_rate": 0.1}\n{"step": 6, "lo')
    assert main(["train", *args, "--resume"]) == 0
    assert results(tmp_path / "run") == results(whole)


def resume(run, *overrides):
    config, text = run.parent / "tiny.toml", run.parent / "text.txt"
    args = [str(config), f"data.path={text}", f"run.directory={run}", *overrides]
    return main(["train", *args, "--resume"])


def test_a_resume_that_names_no_data(whole, tmp_path, monkeypatch):
    """Goes on with the data of the run, not with those of the defaults."""
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]
    with monkeypatch.context() as patch:
        tiny.interrupt_at(patch, 6)
        assert main(["train", *args]) == 130
    without = [arg for arg in args if not arg.startswith("data.path")]
    assert main(["train", *without, "--resume"]) == 0
    assert results(tmp_path / "run") == results(whole)


def test_a_resume_with_a_config_of_another_task(whole, capsys):
    """Refused before its data are read with the tokens of the run."""
    before = files(whole)
    args = ["train", "classify", "--resume", f"run.directory={whole}"]
    assert main([*args, f"data.path={whole / 'absent.csv'}"]) == 2
    said = capsys.readouterr().err
    assert "trained with task='language_model', not 'classification'" in said
    assert files(whole) == before


def test_resuming_a_complete_run_trains_nothing(whole, monkeypatch, capsys):
    """But it is written down, with the machine that made the final figures."""
    before, began = results(whole), json.loads((whole / "run.json").read_text())
    capsys.readouterr()
    own = {"device": "another machine", "cpu": "of another make", "cores": 7}
    now = environment() | own
    monkeypatch.setattr(train, "environment", lambda: now)
    monkeypatch.setattr(train, "cpu_model", lambda: own["cpu"])
    monkeypatch.setattr(train, "cores", lambda: own["cores"])
    assert resume(whole) == 0
    assert results(whole) == before
    resumed = [*began.get("resumed", []), {"step": 12} | now]
    ended = json.loads((whole / "run.json").read_text())
    assert began.pop("seconds") <= ended.pop("seconds")
    assert ended == began | {"resumed": resumed}
    assert "parameters on another machine" in capsys.readouterr().out


def test_a_run_is_not_resumed_to_before_its_checkpoint(whole, capsys):
    before = files(whole)
    assert resume(whole, "train.steps=11") == 2
    said = capsys.readouterr().err
    assert "is at step 12, but train.steps is 11" in said
    assert "set train.steps=12 or more" in said
    assert files(whole) == before


def test_a_run_does_not_end_without_an_evaluation(tmp_path, monkeypatch, capsys):
    """Stopped at step 4 it has none yet, and no step would be left to train."""
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]
    with monkeypatch.context() as patch:
        tiny.interrupt_at(patch, 4)
        assert main(["train", *args]) == 130
    before = files(tmp_path / "run")
    assert resume(tmp_path / "run", "train.steps=4") == 2
    assert "set train.steps=5 or more" in capsys.readouterr().err
    assert files(tmp_path / "run") == before


def test_a_text_that_has_moved_is_still_the_text(whole, tmp_path, capsys):
    here = tmp_path / "elsewhere.txt"
    here.write_text(tiny.TEXT)
    before = results(whole)
    assert resume(whole, f"data.path={here}") == 0
    assert results(whole) == before
    here.write_text(tiny.TEXT + "more")
    assert resume(whole, f"data.path={here}") == 2
    assert "is not the one" in capsys.readouterr().err


def test_the_weights_of_the_last_step(whole, tmp_path):
    """Here they are not the best ones, which were those of the first."""
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]
    worse = ["optimizer.learning_rate=30.0", "optimizer.schedule.kind=constant"]
    assert main(["train", *args, *worse, "train.evaluate_every=1"]) == 0
    run = trained(tmp_path / "run")
    metrics = tiny.metrics(run.run.directory)
    *_, last = (m["valid_loss"] for m in metrics if "valid_loss" in m)
    ours = run.task.evaluate(train.last_weights(run), "valid")["loss"]
    assert ours == pytest.approx(last)
    kept = run.task.evaluate(run.params, "valid")["loss"]
    assert kept == pytest.approx(float(run.validation.best[0]))
    assert kept < ours


def test_a_run_is_not_written_to_before_its_state_is_at_hand(whole, monkeypatch):
    def restore(self, *args):
        raise KeyboardInterrupt

    before = files(whole)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "restore", restore)
        assert resume(whole, "train.block=3") == 130
    assert files(whole) == before


def test_a_non_finite_loss_stops_the_run(tmp_path, capsys):
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]
    broken = ["optimizer.kind=sgd", "optimizer.learning_rate=1e3"]
    off = [
        "optimizer.clip_norm=none",
        "optimizer.weight_decay=1e3",
        "optimizer.schedule.warmup_steps=4",
        "train.block=2",
    ]
    assert main(["train", *args, *broken, *off, "train.checkpoint_every=1"]) == 1
    said = capsys.readouterr().err
    assert "at step" in said
    assert "last good checkpoint is kept" in said
