"""``lstm-jax reproduce``: runs of several seeds, and the receipt that is kept."""

import errno
import json
import os
import shutil

import pytest

from lstm_jax.bench.machine import cores
from lstm_jax.cli import main
from lstm_jax.commands.receipts import machine_of
from lstm_jax.commands.reproduce import REPRODUCTIONS, digest, receipt, write
from lstm_jax.config import read
from lstm_jax.runs.load import trained
from lstm_jax.training.run_errors import RunError
from tests import tiny
from tests.test_config import FILES

pytestmark = pytest.mark.usefixtures("optax_promotion")

RECEIPT = "ptb_small-changed.json"


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
    receipt = json.loads((folder / "out" / RECEIPT).read_text())
    found = []
    for seed, kept in zip((0, 1, 2), receipt["seeds"], strict=True):
        run = folder / "runs" / f"seed-{seed}"
        result = json.loads((run / "result-test.json").read_text())
        assert kept["seed"] == seed
        assert kept["perplexity"] == result["perplexity"]
        # As published, the figure is that of the last step, here not the best.
        assert kept["obtained"] == kept["last"]["perplexity"]
        found.append(kept["obtained"])
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
    assert receipt["changed"] == ["train.patience=9", "the recipe", "the data"]
    assert (folder / "out" / RECEIPT).with_suffix(".png").stat().st_size > 1000


def test_the_receipt_says_nothing_of_where_it_was_made(done):
    folder, _ = done
    text = (folder / "out" / RECEIPT).read_text()
    assert str(folder) not in text
    assert json.loads(text)["config"]["data"]["path"] == "text.txt"


def test_the_machine_is_that_of_the_training(done):
    """What finishes a run, or only looks at it, has not trained it."""
    folder, _ = done
    receipt = json.loads((folder / "out" / RECEIPT).read_text())
    assert receipt["machine"]["cores"] == cores()
    runs = [trained(folder / "runs" / f"seed-{n}") for n in (0, 1)]
    path = folder / "runs" / "seed-1" / "run.json"
    before = path.read_text()
    own = {"cores": 64, "cpu": "one", "device": "cpu"}
    parts = [own | {"step": at, "cores": n} for at, n in ((0, 8), (6, 4), (12, 2))]
    path.write_text(json.dumps(json.loads(before) | own | {"resumed": parts}))
    expected = {"cpu": "one", "cores": [8, 4], "device": "cpu"}
    assert machine_of(runs[1:]) == expected
    assert machine_of(runs)["cores"] == [cores(), 8, 4]
    # What was resumed from behind all of it has taken its place.
    parts.append(own | {"step": 0, "cores": 3})
    path.write_text(json.dumps(json.loads(before) | own | {"resumed": parts}))
    assert machine_of(runs[1:])["cores"] == 3
    path.write_text(before)


def test_a_receipt_that_cannot_be_written(done, tmp_path):
    folder, _ = done
    (tmp_path / RECEIPT).mkdir()
    facts = json.loads((folder / "out" / RECEIPT).read_text())
    with pytest.raises(
        RunError, match=f"{RECEIPT}: Is a dir.*the runs are kept; rem.*folder"
    ):
        write(facts, tmp_path)


def test_a_receipt_is_not_lost_to_one_that_finds_no_room(done, tmp_path, monkeypatch):
    folder, _ = done
    facts = json.loads((folder / "out" / RECEIPT).read_text())
    write(facts, tmp_path)
    before = (tmp_path / RECEIPT).read_text()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device; the runs are kept"):
        write(facts, tmp_path)
    assert (tmp_path / RECEIPT).read_text() == before


def test_what_is_missing_is_made_and_the_rest_is_kept(done, capsys):
    """A seed that was not begun, one that stopped in the middle, one that is done."""
    folder, args = done
    before = (folder / "out" / RECEIPT).read_text()
    shutil.rmtree(folder / "runs" / "seed-2")
    shutil.rmtree(folder / "runs" / "seed-1" / "checkpoints" / "12")
    metrics = folder / "runs" / "seed-0" / "metrics.jsonl"
    lines = metrics.read_text()
    assert main(args) == 0
    after = json.loads((folder / "out" / RECEIPT).read_text())
    pick = lambda receipt: [
        (seed["seed"], seed["perplexity"], seed["course"]) for seed in receipt["seeds"]
    ]
    assert pick(after) == pick(json.loads(before))
    assert metrics.read_text() == lines
    said = capsys.readouterr().out
    (mean,) = [line.split() for line in said.splitlines() if "mean" in line]
    assert float(mean[1]) == pytest.approx(after["obtained"], rel=1e-4)
    assert "reached." in said


def test_a_recipe_that_changes_on_the_way_is_none(done, capsys):
    _, args = done
    assert main([*args, "train.steps=18"]) == 2
    said = capsys.readouterr().err
    assert "seed-0 was trained with train.steps=12, not 18" in said
    assert main([*args, "seed=7"]) == 2
    assert "a reproduction has seeds of its own" in capsys.readouterr().err


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_every_name_has_its_config(name):
    (path,) = [p for p in FILES if p.stem == name and p.parent.name == "reproduce"]
    values = read(path)
    assert digest(values) == REPRODUCTIONS[name].recipe
    values["data"]["path"] = "elsewhere"
    assert digest(values) == REPRODUCTIONS[name].recipe
    values["train"]["evaluate_every"] = 7
    assert digest(values) != REPRODUCTIONS[name].recipe


def test_names_and_places_that_are_not_there(tmp_path, capsys):
    wrong = ["reproduce", "awd", "--configs", str(tmp_path)]
    assert main(wrong) == 2
    assert "--configs FOLDER" in capsys.readouterr().err
    missing = ["reproduce", "awd", f"data.path={tmp_path / 'none'}"]
    assert main([*missing, f"run.directory={tmp_path / 'runs'}"]) == 2
    assert "data.path" in capsys.readouterr().err
    (tmp_path / "file").touch()
    there = ["reproduce", "awd", f"data.path={tmp_path}"]
    assert main([*there, "--out", str(tmp_path / "file")]) == 2
    assert "cannot be written to" in capsys.readouterr().err
    assert main(["reproduce", "awd", "data.path="]) == 2
    assert "data.path= has no value" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_figure_that_came_too_late_was_not_reached(done, monkeypatch):
    folder, _ = done
    runs = [trained(folder / "runs" / f"seed-{seed}") for seed in (0, 1, 2)]
    published = REPRODUCTIONS["ptb_small"]._replace(bar=1e9, minutes=5.0)
    monkeypatch.setitem(REPRODUCTIONS, "ptb_small", published)
    assert receipt("ptb_small", runs, published.recipe)["reached"]
    monkeypatch.setitem(REPRODUCTIONS, "ptb_small", published._replace(minutes=1e-6))
    assert not receipt("ptb_small", runs, published.recipe)["reached"]
