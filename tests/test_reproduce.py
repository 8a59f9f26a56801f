"""``lstm-jax reproduce``: runs of several seeds, and the receipt that is kept."""

import json
import math

import pytest

from lstm_jax.cli import main
from lstm_jax.commands.reproduce import REPRODUCTIONS
from tests import tiny
from tests.test_config import FILES

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module")
def done(optax_promotion, tmp_path_factory):
    """Three seeds of a small run in the place of the small model of 2014."""
    folder = tmp_path_factory.mktemp("reproduce")
    _, path = tiny.write(folder)
    (folder / "ptb_small.toml").write_text(tiny.CONFIG + '[data]\ntokens = "words"\n')
    args = ["reproduce", "ptb_small", path, "train.patience=9"]
    args += [f"run.directory={folder / 'runs'}", "--configs", str(folder)]
    args += ["--out", str(folder / "out")]
    assert main(args) == 0
    return folder, args


def test_the_receipt_is_what_the_runs_came_to(done):
    folder, _ = done
    receipt = json.loads((folder / "out" / "ptb_small.json").read_text())
    found = []
    for seed, kept in zip((0, 1, 2), receipt["seeds"], strict=True):
        run = folder / "runs" / f"seed-{seed}"
        result = json.loads((run / "result-test.json").read_text())
        assert kept["seed"] == seed
        assert kept["perplexity"] == result["perplexity"]
        found.append(result["perplexity"])
        valid = [m["valid_loss"] for m in tiny.metrics(run) if "valid_loss" in m]
        assert kept["course"]["step"] == [6, 12]
        assert kept["course"]["valid_loss"] == pytest.approx(valid, abs=1e-4)
        losses = [m["loss"] for m in tiny.metrics(run) if "loss" in m]
        means = [sum(losses[:6]) / 6, sum(losses[6:]) / 6]
        assert kept["course"]["train_loss"] == pytest.approx(means, abs=1e-4)
    assert len(set(found)) == 3
    assert receipt["obtained"] == pytest.approx(sum(found) / 3)
    assert receipt["figure"] == "test perplexity"
    assert receipt["reached"] == (receipt["obtained"] <= receipt["bar"])
    assert receipt["changed"] == ["train.patience=9"]
    assert (folder / "out" / "ptb_small.png").stat().st_size > 1000


def test_the_receipt_says_nothing_of_where_it_was_made(done):
    folder, _ = done
    text = (folder / "out" / "ptb_small.json").read_text()
    assert str(folder) not in text
    assert json.loads(text)["config"]["data"]["path"] == "text.txt"


def test_a_seed_that_is_missing_is_made_and_the_others_are_kept(done, capsys):
    folder, args = done
    before = (folder / "out" / "ptb_small.json").read_text()
    metrics = folder / "runs" / "seed-2" / "metrics.jsonl"
    lines = metrics.read_text()
    assert main(args) == 0
    after = json.loads((folder / "out" / "ptb_small.json").read_text())
    pick = lambda receipt: [
        (seed["seed"], seed["perplexity"], seed["course"]) for seed in receipt["seeds"]
    ]
    assert pick(after) == pick(json.loads(before))
    assert metrics.read_text() == lines
    said = capsys.readouterr().out
    assert f"{math.fsum(s['perplexity'] for s in after['seeds']) / 3:.4f}"[:4] in said


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_every_name_has_its_config(name):
    assert any(p.stem == name and p.parent.name == "reproduce" for p in FILES)


def test_names_and_places_that_are_not_there(tmp_path, capsys):
    wrong = ["reproduce", "awd", "--configs", str(tmp_path)]
    assert main(wrong) == 2
    assert "cannot read config" in capsys.readouterr().err
    missing = ["reproduce", "awd", f"data.path={tmp_path / 'none'}"]
    assert main([*missing, f"run.directory={tmp_path / 'runs'}"]) == 2
    assert "data.path" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
