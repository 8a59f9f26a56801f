"""A run that starts from the weights of another, and another rate on resume."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from lstm_jax.cli import main
from lstm_jax.runs import train
from lstm_jax.runs.load import best_of
from lstm_jax.training.metrics_file import TIMES
from lstm_jax.training.run_folder import Run
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module")
def whole(optax_promotion, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    args = tiny.write(folder)
    assert main(["train", *args, f"run.directory={folder / 'run'}"]) == 0
    return folder / "run"


def resume(run, *overrides):
    return main(["train", str(run / "config.toml"), *overrides, "--resume"])


def facts(run):
    return json.loads((run / "run.json").read_text())


def test_a_run_from_the_weights_of_another(whole, tmp_path, monkeypatch, capsys):
    """With a rate of nearly 0 its weights stay where they were."""
    (config, _), text = tiny.write(tmp_path), tmp_path / "other.txt"
    text.write_text(tiny.TEXT[:3000].replace("square", "are"))
    args = [config, f"data.path={text}", f"train.init_from={whole}"]
    args += ["optimizer.learning_rate=1e-20", "seed=3", "train.steps=6"]
    run = tmp_path / "tuned"
    assert main(["train", *args, f"run.directory={run}"]) == 0
    assert f"from the weights of {whole}, seed 0" in capsys.readouterr().out
    ours, theirs = (load_file(r / "model.safetensors") for r in (run, whole))
    for name in ours | theirs:
        np.testing.assert_array_equal(ours[name], theirs[name])
    origin, best = facts(run)["init_from"], best_of(whole)
    assert origin["id"] == facts(whole)["id"]
    assert facts(run)["tokenizer"] == facts(whole)["tokenizer"]
    assert best[1].tokenizer.decode([1]) == best_of(run)[1].tokenizer.decode([1])
    # It goes on without the other run.
    monkeypatch.setattr(train, "source_of", None)
    assert resume(run, "train.steps=7") == 0
    assert facts(run)["init_from"] == origin


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "model.hidden_size=9",
            "model: model.hidden_size is 8 there and 9 here; use the sizes",
        ),
        ("model.num_layers=2", "model.num_layers is 1 there and 2 here"),
        ("data.tokens=words", "has data.tokens='characters', not 'words'"),
        ("train.init_from=nowhere", "train.init_from: nowhere is not a run"),
        ("data.path=new.txt", "vocabulary of this model does not have"),
    ],
)
def test_what_does_not_fit(whole, tmp_path, monkeypatch, capsys, override, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.txt").write_text(tiny.TEXT + "Ω")
    args = [*tiny.write(tmp_path), f"train.init_from={whole}", override]
    assert main(["train", *args, "run.directory=run"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_another_learning_rate_on_resume(whole, tmp_path, capsys):
    """Constant after the warm-up, it goes on as it was, or as it is told to."""
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]
    args += ["optimizer.schedule.kind=constant", "train.steps=4"]
    args += ["optimizer.schedule.warmup_steps=6", "train.evaluate_every=2"]
    assert main(["train", *args]) == 0
    run = tmp_path / "run"
    shutil.copytree(run, tmp_path / "other")
    rate = "optimizer.learning_rate=0.01"
    assert resume(run, rate) == 2
    assert "has nothing left to train" in capsys.readouterr().err
    assert resume(run, "train.steps=8") == 0
    assert resume(tmp_path / "other", rate, "train.steps=8") == 0
    assert "learning_rate is 0.01 from here on, after 0.05" in capsys.readouterr().out
    rates = lambda at: [m["learning_rate"] for m in tiny.metrics(at) if "loss" in m]
    rise = np.array([1, 2, 3, 4, 5, 6, 7, 7]) / 7
    np.testing.assert_allclose(rates(run), 0.05 * rise, rtol=1e-6)
    np.testing.assert_allclose(
        rates(tmp_path / "other")[4:], 0.01 * rise[4:], rtol=1e-6
    )
    changed = facts(tmp_path / "other")["resumed"][0]["changed"]
    assert changed == {"optimizer.learning_rate": [0.05, 0.01], "train.steps": [4, 8]}
    assert resume(run, "optimizer.accumulate=2") == 2
    said = capsys.readouterr().err
    assert "was trained with optimizer.accumulate=1, not 2" in said
    assert "optimizer.learning_rate, " in said


def test_times_and_cores_across_a_resume(whole, tmp_path, capsys):
    """Training time goes on from the checkpoint. Another number of cores is told."""
    run = shutil.copytree(whole, tmp_path / "run")
    path = run / "run.json"
    cores = facts(run)["cores"]
    path.write_text(json.dumps(facts(run) | {"cores": cores + 3}))
    text = whole.parent / "text.txt"
    assert resume(run, "train.steps=14", f"data.path={text}") == 0
    said = capsys.readouterr().out
    assert f"trained on {cores + 3} cores and continues on {cores}" in said
    for name in TIMES:
        times = [line[name] for line in Run(run).metrics()]
        assert times == sorted(times)
    before = [line["seconds"] for line in Run(whole).metrics()][-1]
    assert Run(run).metrics()[-1]["seconds"] - before < 60


def test_early_stopping_is_on_record(tmp_path, capsys):
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]
    args += ["optimizer.learning_rate=1e-20", "train.patience=1"]
    assert main(["train", *args, "train.evaluate_every=3"]) == 0
    assert facts(tmp_path / "run")["stopped_early"] == {"0": 6}
    assert main(["runs", str(tmp_path)]) == 0
    assert "complete, stopped early at 6" in capsys.readouterr().out
