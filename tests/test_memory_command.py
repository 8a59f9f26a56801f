"""The command that lets cells compete: figures and plots of all of them."""

import json

import numpy as np
import pytest

from lstm_jax.cli import main
from lstm_jax.commands.memory import gradients
from lstm_jax.commands.setup import trained
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")

CELLS = ("lstm_chrono", "rnn")


@pytest.fixture(scope="module")
def contest(optax_promotion, tmp_path_factory):
    """Cells that hardly train on sequences that are too long for one of them."""
    folder = tmp_path_factory.mktemp("contest")
    values = ["problem.length=40", "train.steps=2", "train.evaluate_every=1"]
    args = [*tiny.write_memory(folder, *values), f"run.directory={folder / 'runs'}"]
    # Solved at once: what is told of it is checked, not how it is learned.
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
        assert found["best"] == result["loss"]
        assert found["solved"] == "0 of 2"
        assert found["steps"] == 2
        assert found["minutes"] > 0
    for name in ("loss.png", "gradient.png"):
        assert (folder / name).stat().st_size > 10_000


def test_it_goes_on_where_it_stopped(contest, capsys):
    folder, args = contest
    assert main(["memory", *args, "--cells", *CELLS]) == 2
    assert "holds a run already" in capsys.readouterr().err
    out = folder.parent / "receipts"
    more = ["--resume", "--out", str(out)]
    assert main(["memory", *args, "--cells", *CELLS, *more]) == 0
    for name in ("memory.json", "loss.png", "gradient.png"):
        kept = out / f"memory-{name}"
        assert kept.read_bytes() == (folder / name).read_bytes()


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
