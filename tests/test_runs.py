"""A run goes by the metric it monitors, and comes back into Python."""

import json

import jax
import numpy as np
import pytest

import lstm_jax
from lstm_jax.cli import main
from lstm_jax.data.text import DataError
from lstm_jax.training.run_errors import RunError
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    assert main(["train", *tiny.write(folder), f"run.directory={folder / 'run'}"]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    """Goes by how many answers are right, which two evaluations are alike in."""
    folder = tmp_path_factory.mktemp("memory")
    args = tiny.write_memory(folder, "train.monitor=valid_right", "train.seeds=3")
    assert main(["train", *args, f"run.directory={folder / 'run'}"]) == 0
    return folder / "run"


def test_the_best_is_that_of_the_monitored_metric(memory, capsys):
    lines = [line for line in tiny.metrics(memory) if "valid_right" in line]
    each = np.array([line["valid_right_each"] for line in lines])
    losses = np.array([line["valid_loss_each"] for line in lines])
    steps = [line["step"] for line in lines]
    best = [steps[n] for n in each.argmax(0)]
    assert best != [steps[n] for n in losses.argmin(0)], "the two would be the same"
    main(["evaluate", str(memory), "--split", "valid"])
    result = json.loads((memory / "result-valid.json").read_text())
    found = [seed["right"] for seed in result["seeds"]]
    np.testing.assert_allclose(found, each.max(0), rtol=1e-6)
    said = capsys.readouterr().out
    assert "valid right (higher is better)" in said
    assert [int(line.split()[1]) for line in said.splitlines()[4:7]] == best
    assert main(["runs", str(memory)]) == 0
    assert "valid right" in capsys.readouterr().out
    facts = json.loads((memory / "run.json").read_text())
    assert facts["monitor"] == {"name": "valid_right", "better": "higher"}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.monitor=valid_accuracy", "valid: valid_loss, valid_right"),
        ("train.monitor=loss", "valid: valid_loss, valid_right"),
        ("train={steps=2, epochs=2}", "both say how long to train"),
        ("train.epochs=2", "never end; set train.steps instead"),
        ("optimizer.accumulate=100", "12 is not a multiple of it: the last 12 steps"),
        ("optimizer.accumulate=5", "would change nothing; set train.steps=10"),
        ("train.block=1e18", "train.block"),
        ("train.block=1000000000000000000", "should be less than or equal to 1000000"),
        ("train.steps=3000000000", "should be less than 2147483648"),
        ("optimizer.learning_rate=1e308", "learning_rate is 1e+308: should be less"),
    ],
)
def test_what_a_run_cannot_go_by(tmp_path, capsys, override, says):
    run = tmp_path / "run"
    args = [*tiny.write_memory(tmp_path), f"run.directory={run}", override]
    assert main(["train", *args]) == 2
    assert says in capsys.readouterr().err
    assert not run.exists()


def test_epochs_are_steps(tmp_path, text):
    args = tiny.write(tmp_path)
    config = tmp_path / "tiny.toml"
    config.write_text(config.read_text().replace("steps = 12", "epochs = 1"))
    assert main(["train", *args, f"run.directory={tmp_path / 'run'}"]) == 0
    rows = lstm_jax.load_run(text).task.rows
    assert tiny.metrics(tmp_path / "run")[-1]["step"] == (len(rows) - 1) // 16


def test_a_run_is_loaded_without_its_data(text, tmp_path, capsys):
    run = lstm_jax.load_run(text)
    assert run.config.model.hidden_size == 8
    assert main(["generate", str(text), "--prompt", "line", "--length", "30"]) == 0
    assert capsys.readouterr().out == run.generate("line", 30) + "\n"
    assert run.tokenizer.decode(run.tokenizer.encode("line")) == "line"
    tokens = run.tokenizer.encode("line 1 of a small")
    _, logits = run.model(tokens[:, None])
    assert logits.shape == (len(tokens), 1, len(run.tokenizer))
    result = json.loads((text / "result-test.json").read_text())
    assert run.evaluate() == pytest.approx(
        {name: result[name] for name in ("loss", "bits_per_character")}
    )
    with pytest.raises(DataError, match="the vocabulary of this model does not have"):
        run.generate("Ω")


def test_a_run_of_another_task_says_what_it_cannot_do(memory):
    run = lstm_jax.load_run(memory)
    assert jax.tree.leaves(run.params)
    assert run.tokenizer is None
    with pytest.raises(RunError, match=r"the task memory .* cannot generate text"):
        run.generate()
    with pytest.raises(RunError, match="is not a run"):
        lstm_jax.load_run(memory / "checkpoints")
