"""The command that lets cells compete: figures and plots of all of them."""

import json
import shutil
import signal

import numpy as np
import pytest

from lstm_jax.bench.machine import cores
from lstm_jax.cli import main
from lstm_jax.commands import memory
from lstm_jax.commands.memory import gradients
from lstm_jax.runs.load import trained
from lstm_jax.tasks.memory import Memory
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.trainer import Diverged
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")

CELLS = ("lstm_chrono", "rnn")


@pytest.fixture(scope="module")
def contest(optax_promotion, tmp_path_factory):
    """Cells that hardly train on sequences that are too long for one of them."""
    folder = tmp_path_factory.mktemp("contest")
    values = ["problem.length=40", "train.steps=2", "train.evaluate_every=1"]
    args = [*tiny.write_memory(folder, *values), f"run.directory={folder / 'runs'}"]
    args += ["train.seeds=2", "optimizer.learning_rate=1e-4"]
    assert main(["memory", *args, "--cells", *CELLS]) == 0
    return folder / "runs", args


def test_what_it_leaves(contest):
    folder, _ = contest
    said = json.loads((folder / "memory.json").read_text())
    assert said["memoryless"] == pytest.approx(1 / 6)
    assert {*said["cells"]} == {*CELLS}
    for cell, found in said["cells"].items():
        result = json.loads((folder / cell / "result-test.json").read_text())
        assert found["test_loss"] == result["loss"]
        assert found["solved"] == "0 of 2"
        assert found["steps"] == 2
        assert found["minutes"] > 0
        assert {"jax", "lstm-jax"} <= {*found["versions"]}
        assert found["machine"]["cores"] == cores()
    assert "train.seeds=2" in said["changed"]
    assert "--cells lstm_chrono rnn" in said["changed"]
    assert said["config"]["train"]["seeds"] == 2
    assert "cell" not in said["config"]["model"]
    for name in ("loss.png", "gradient.png"):
        assert (folder / name).stat().st_size > 10_000


def test_it_goes_on_where_it_stopped(contest, capsys):
    folder, args = contest
    assert main(["memory", *args, "--cells", *CELLS]) == 2
    assert "already holds a run" in capsys.readouterr().err
    out = folder.parent / "receipts"
    more = ["--resume", "--out", str(out)]
    assert main(["memory", *args, "--cells", *CELLS, *more]) == 0
    for name in ("memory.json", "loss.png", "gradient.png"):
        kept = out / f"memory-changed-{name}"
        assert kept.read_bytes() == (folder / name).read_bytes()


def test_where_it_was_solved(contest, tmp_path):
    """At the first evaluation that meets the condition, each seed for itself."""
    folder, _ = contest
    copy = tmp_path / "rnn"
    shutil.copytree(folder / "rnn", copy)
    bad, good = 1.0, 1e-4
    losses = [[bad, None], [good, bad], [bad, good], [good, good]]
    lines = [
        {"step": 10 * n, "valid_loss": 1.0, "valid_loss_each": each}
        | {"valid_right": 1.0, "valid_right_each": [1.0, 1.0]}
        for n, each in enumerate(losses, 1)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (copy / "metrics.jsonl").write_text(text)
    memory.compare(tmp_path, ["rnn"])
    found = json.loads((tmp_path / "memory.json").read_text())["cells"]["rnn"]
    assert found["solved_at_each"] == [20, 30]
    assert (found["solved_at"], found["solved"]) == (25.0, "2 of 2")

    (copy / "metrics.jsonl").write_text("")
    with pytest.raises(RunError, match="no evaluations"):
        memory.compare(tmp_path, ["rnn"])


def test_what_would_be_found_out_too_late(tmp_path, capsys):
    args = [*tiny.write_memory(tmp_path), f"run.directory={tmp_path / 'runs'}"]
    (tmp_path / "file").touch()
    assert main(["memory", *args, "--out", str(tmp_path / "file")]) == 2
    assert "--out" in capsys.readouterr().err
    assert main(["memory", *args, "--cells", "rnn", "lstn"]) == 2
    assert "--cells lstn; valid: lstm, lstm_chrono, gru" in capsys.readouterr().err
    assert main(["memory", *args, "--cells", "train.steps=3"]) == 2
    assert "--cells names none; valid" in capsys.readouterr().err
    assert main(["memory", *args, "--cells", "rnn", "rnn"]) == 2
    assert "names a cell twice" in capsys.readouterr().err
    assert main(["memory", *args, "model.cell=rnn"]) == 2
    assert "choose with --cells" in capsys.readouterr().err
    (tmp_path / "runs" / "rnn").mkdir(parents=True)
    (tmp_path / "runs" / "rnn" / "metrics.jsonl").touch()
    assert main(["memory", *args, "--cells", "lstm", "rnn"]) == 2
    assert "rnn already holds a run" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "lstm").exists()


def test_a_cell_that_diverges_leaves_the_others(tmp_path, capsys, monkeypatch):
    train_run = memory.train_run

    def diverges(config, directory, **options):
        if config.model.cell == "rnn":
            raise Diverged("loss is nan at step 1")
        return train_run(config, directory, **options)

    monkeypatch.setattr(memory, "train_run", diverges)
    args = tiny.write_memory(tmp_path, f"run.directory={tmp_path / 'runs'}")
    assert main(["memory", *args, "--cells", "rnn", "gru", "train.steps=2"]) == 1
    said = json.loads((tmp_path / "runs" / "memory.json").read_text())
    assert {*said["cells"]} == {"gru"}
    assert said["cells"]["gru"]["steps"] == 2
    assert said["diverged"] == {"rnn": "loss is nan at step 1"}


def test_stopped_in_the_last_moment_of_a_cell(tmp_path, monkeypatch):
    """The next cell is not begun; the final evaluation of this one is made later."""
    evaluate = Memory.evaluate

    def terminate(self, params, part):
        if part == "valid":
            signal.raise_signal(signal.SIGTERM)
        return evaluate(self, params, part)

    monkeypatch.setattr(Memory, "evaluate", terminate)
    values = ["train.steps=2", f"run.directory={tmp_path / 'runs'}"]
    args = [*tiny.write_memory(tmp_path, *values), "--cells", "rnn", "gru"]
    assert main(["memory", *args]) == 130
    assert (tmp_path / "runs" / "rnn" / "checkpoints" / "2").is_dir()
    assert not (tmp_path / "runs" / "rnn" / "result-test.json").exists()
    assert not (tmp_path / "runs" / "gru").exists()


def test_a_cell_is_evaluated_otherwise(contest, capsys):
    folder, _ = contest
    assert main(["evaluate", str(folder / "rnn"), "evaluation.sequences=12"]) == 0
    assert "possible without a memory" in capsys.readouterr().out


def test_how_far_gradients_reach(contest):
    """The chrono-initialised LSTM keeps them along its cell, the plain network not."""
    folder, _ = contest
    ratio = {}
    for cell, state in zip(CELLS, ("c", "h"), strict=True):
        norms = np.array(gradients(trained(folder / cell))["before"][state])
        assert norms.shape == (40,)
        ratio[cell] = norms[0] / norms[-1]
    assert ratio["lstm_chrono"] > 30 * ratio["rnn"]


def test_of_another_task(tmp_path, capsys):
    assert main(["memory", *tiny.write(tmp_path)]) == 2
    assert "is of task language_model, expected memory" in capsys.readouterr().err
