"""Classification and tagging, from files to predictions."""

import csv
import importlib.util
import json
import re
import shutil

import jax
import numpy as np
import pytest

import lstm_jax
from lstm_jax.cli import main
from lstm_jax.tasks.labelled_batches import LabelledBatches
from tests import tiny
from tests.tasks import labelled

pytestmark = pytest.mark.usefixtures("optax_promotion")


def said(capsys, *argv, status=0):
    capsys.readouterr()
    assert main([*map(str, argv)]) == status
    found = capsys.readouterr()
    return found.err if status else found.out


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    args = labelled.write_series(folder)
    assert main(["train", *args, f"run.directory={folder / 'run'}"]) == 0
    return folder


def results(run):
    return tiny.metrics(run), (run / "model.safetensors").read_bytes()


def test_it_learns_and_says_how_well(series, capsys):
    out = said(capsys, "evaluate", series / "run", "--split", "valid")
    metrics = json.loads((series / "run" / "result-valid.json").read_text())
    assert metrics["accuracy"] > 0.8 > metrics["most_frequent_accuracy"]
    lines = [m for m in tiny.metrics(series / "run") if "valid_accuracy" in m]
    assert metrics["accuracy"] == max(line["valid_accuracy"] for line in lines)
    for name in labelled.CLASSES:
        row = rf"^ {name} +[\d.]+ +[\d.]+ +[\d.]+ +4 *$"
        assert re.search(row, out, re.MULTILINE), name
    for name in ("confusion-valid.png", "accuracy.png", "macro_f1.png"):
        assert (series / "run" / name).stat().st_size > 1000
    steps = [line for line in tiny.metrics(series / "run") if "loss" in line]
    config = lstm_jax.load_run(series / "run").task.batches()
    assert len(steps) == 6 * config.steps_per_epoch
    assert all(0 <= line["accuracy"] <= 1 for line in steps)


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_metrics_do_not_depend_on_the_batches(series, capsys, rows):
    run = lstm_jax.load_run(series / "run")
    expected = run.evaluate("valid")
    how = ["--split", "valid", f"evaluation.batch_size={rows}"]
    said(capsys, "evaluate", run.directory, *how)
    last = (run.directory / "evaluations.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["loss"] == pytest.approx(expected["loss"], abs=1e-6)
    assert json.loads(last)["accuracy"] == expected["accuracy"]


@pytest.mark.parametrize("stop", [1, 7, 17, 26])
def test_stop_and_resume_anywhere(series, tmp_path, monkeypatch, stop):
    """Within an epoch, between two, in a block of either shape: bit for bit."""
    args = [str(series / "series.toml"), f"run.directory={tmp_path / 'run'}"]
    with monkeypatch.context() as patch:
        tiny.interrupt_at(patch, stop)
        assert main(["train", *args]) == 130
    assert len(tiny.metrics(tmp_path / "run")) < len(tiny.metrics(series / "run"))
    assert main(["train", *args, "--resume", "train.block=3"]) == 0
    assert results(tmp_path / "run") == results(series / "run")


def test_an_epoch_is_every_sequence_once_in_an_order_of_its_own():
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n % 9 + 1, 2)) for n in range(50)]

    def loaded(seed, epoch):
        source = LabelledBatches(sequences, np.arange(50), 8, 3, seed)
        return [source.load(batch) for batch in source.plan(epoch)]

    orders = set()
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        batches, seen = loaded(seed, epoch), []
        assert jax.tree.all(
            jax.tree.map(np.array_equal, batches, loaded(seed, epoch))
        ), "the order is no function of seed and epoch"
        for batch in batches:
            assert not batch.lengths[batch.weights == 0].any()
            for row in np.flatnonzero(batch.weights):
                whole = sequences[batch.labels[row]].astype(np.float32)
                assert batch.lengths[row] == len(whole)
                real = batch.xs[: len(whole), row]
                np.testing.assert_array_equal(real, whole)
                seen.append(int(batch.labels[row]))
        assert sorted(seen) == [*range(50)]
        orders.add(tuple(seen))
    assert len(orders) == 3


def test_batches_of_one_length_come_in_no_fixed_order():
    """Where length and class go together, training must not go class by class."""
    sequences = [np.zeros((3 + n % 4 * 9, 1)) for n in range(960)]
    source = LabelledBatches(sequences, np.zeros(960, int), 32, 4)
    orders = [[batch.steps for batch in source.plan(epoch)] for epoch in range(6)]
    assert len({tuple(order) for order in orders}) == 6
    assert len({order[0] for order in orders}) > 1
    for order in orders:
        runs = 1 + int((np.diff(order) != 0).sum())
        assert 4 < runs <= 3 * len(order) // 5, "blocks of one shape"


def test_predictions_have_every_row_in_order(series, capsys, tmp_path):
    """Without labels, and without the training data."""
    alone, new, out = tmp_path / "alone", tmp_path / "new.csv", tmp_path / "out.csv"
    shutil.copytree(series / "run", alone)
    lines = (series / "series.csv").read_text().splitlines()
    order = [*reversed(range(61))]
    of = lambda n: [line for line in lines if line.startswith(f"s{n},")]
    rows = [line.rpartition(",")[0] for n in order for line in of(n)]
    new.write_text("\n".join(["id,x,y", *rows]) + "\n")
    (series / "series.csv").rename(series / "elsewhere.csv")
    try:
        said(capsys, "predict", alone, "--data", new, "--out", out)
        printed = said(capsys, "predict", alone, "--data", new)
        found = lstm_jax.load_run(alone).predict(new)
    finally:
        (series / "elsewhere.csv").rename(series / "series.csv")
    assert printed == out.read_text()
    table = [*csv.DictReader(out.read_text().splitlines())]
    assert len(table) == 61
    right = 0
    for n, row, same in zip(order, table, found, strict=True):
        assert row["id"] == f"s{n}"
        assert f"s{n}" in re.split(r"\W+", row["source"])
        chances = [float(row[f"p({name})"]) for name in labelled.CLASSES]
        assert sum(chances) == pytest.approx(1, abs=1e-5)
        predicted = labelled.CLASSES[np.argmax(chances)]
        assert predicted == row["prediction"] == same["prediction"]
        right += predicted == labelled.CLASSES[n % 3]
    assert right > 0.8 * 61
    again = ["predict", alone, "--data", new, "--out", out]
    assert "already exists" in said(capsys, *again, status=2)
    nowhere = ["predict", alone, "--data", new, "--out", tmp_path / "no" / "a.csv"]
    assert "--out" in said(capsys, *nowhere, status=2)
    # With labels, another column, and the features in another order.
    rows = [f"{x},9,{r}" for r, _, x in (line.rpartition(",") for line in rows)]
    extra = tmp_path / "extra.csv"
    ids = [row.split(",") for row in rows]
    table = [f"{y},odd,{i},{x}" for y, _, i, x in ids]
    extra.write_text("\n".join(["y,label,id,x", *table]) + "\n")
    assert [r["prediction"] for r in lstm_jax.load_run(alone).predict(extra)] == [
        row["prediction"] for row in found
    ]


def test_a_value_beyond_32_bits_is_named(series, capsys, tmp_path):
    new = tmp_path / "new.csv"
    new.write_text("id,x,y\na,1,1\nb,1e39,1\n")
    err = said(capsys, "predict", series / "run", "--data", new, status=2)
    assert "new.csv, line 3" in err
    assert "beyond the range of 32-bit numbers" in err


@pytest.mark.parametrize(
    ("line", "text", "says"),
    [
        (3, "s0,nan,1,rises", "line 3"),
        (3, "s0,word,1,rises", "line 3"),
        (4, "s0,1.0,1.0,rises", "label"),
        (1, "id,x,y,answer", "label"),
    ],
)
def test_bad_series_are_named(tmp_path, capsys, line, text, says):
    args, run = labelled.write_series(tmp_path), tmp_path / "run"
    lines = (tmp_path / "series.csv").read_text().splitlines()
    lines[line - 1] = text
    (tmp_path / "series.csv").write_text("\n".join(lines) + "\n")
    err = said(capsys, "train", *args, f"run.directory={run}", status=2)
    assert "series.csv" in err
    assert says in err
    assert not run.exists()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.kind=photos"], "data.kind is 'photos'; valid: series, texts, images"),
        (
            ["data.text=words"],
            "unknown key data.text of kind 'series'; valid: path, train",
        ),
        (["data.path=''"], "data.path is empty; set it to your file"),
        (["data.path="], "data.path= has no value (is a variable not set?)"),
        (["data.delimiter=ab"], "data.delimiter"),
        (['data.features=["x", "x"]'], "name every feature once"),
        (['data.features=["x", "label"]'], "name every feature once"),
        (["data.valid=a.csv"], "set path, or the others"),
        (["data.valid_fraction=0"], "training needs a valid split"),
        (
            ["data.valid_fraction=0.6", "data.test_fraction=0.6"],
            "data.valid_fraction=0.6 and data.test_fraction=0.6 add up to 1.2",
        ),
        (["train.monitor=valid_f1"], "valid_loss, valid_accuracy, valid_macro_f1"),
    ],
)
def test_configs_that_cannot_be(tmp_path, capsys, overrides, says):
    args = [*labelled.write_series(tmp_path), f"run.directory={tmp_path / 'run'}"]
    assert says in said(capsys, "train", *args, *overrides, status=2)


def test_texts(tmp_path, capsys):
    args, run = labelled.write_texts(tmp_path), tmp_path / "run"
    out = said(capsys, "train", *args, f"run.directory={run}")
    assert "valid: accuracy" in out, "there is no test split"
    assert json.loads((run / "result-valid.json").read_text())["accuracy"] > 0.9
    new = tmp_path / "new.jsonl"
    new.write_text('{"text": "a lovely unheard-of film"}\n{"text": "so dull"}\n')
    found = lstm_jax.load_run(run).predict(new)
    assert [row["prediction"] for row in found] == ["good", "bad"]
    valid = tmp_path / "valid.jsonl"
    valid.write_text('{"text": "so dull", "label": "ugly"}\n')
    unknown = "valid.jsonl, line 1: label 'ugly' does not occur"
    more = f"run.directory={tmp_path / 'other'}"
    assert unknown in said(capsys, "train", *args, more, status=2)
    assert unknown in said(capsys, "evaluate", run, status=2)
    valid.write_text('{"text": "so dull", "label": "bad"}\n')
    assert "the data are not those" in said(capsys, "evaluate", run, status=2)


@pytest.mark.parametrize("crf", [False, True])
def test_tagging(tmp_path, capsys, crf):
    args, run = labelled.write_sentences(tmp_path, crf), tmp_path / "run"
    out = said(capsys, "train", *args, f"run.directory={run}")
    result = json.loads((run / "result-test.json").read_text())
    assert result["entity_f1"] > 0.9
    assert "F1 of entities" in out
    lines = (tmp_path / "test.conll").read_text().splitlines()
    tagged = [line.split() for line in lines if line]
    new = tmp_path / "new.conll"
    new.write_text("\n".join(line.partition(" ")[0] for line in lines) + "\n")
    found = lstm_jax.load_run(run).predict(new)
    assert [row["token"] for row in found] == [token for token, _ in tagged]
    assert [row["sentence"] for row in found][:: len(found) - 1] == [0, 11]
    right = [row["tag"] == tag for row, (_, tag) in zip(found, tagged, strict=True)]
    assert np.mean(right) == pytest.approx(result["accuracy"])


def test_entities_without_their_library(tmp_path, capsys, monkeypatch):
    args, run = labelled.write_sentences(tmp_path, crf=False), tmp_path / "run"
    find = importlib.util.find_spec
    there = lambda name, *rest: None if name == "nervaluate" else find(name, *rest)
    monkeypatch.setattr(importlib.util, "find_spec", there)
    err = said(capsys, "train", *args, f"run.directory={run}", status=2)
    assert "pip install 'lstm-jax[entities]'" in err
    assert not run.exists()


def test_steps_take_the_place_of_epochs(tmp_path, capsys):
    args = [*labelled.write_series(tmp_path), f"run.directory={tmp_path / 'run'}"]
    said(capsys, "train", *args, "train.steps=5", "optimizer.schedule.kind=constant")
    steps = [m["step"] for m in tiny.metrics(tmp_path / "run") if "loss" in m]
    assert steps[-1] == 5
    more = ["train.epochs=1", "optimizer.schedule.kind=constant", "--resume"]
    said(capsys, "train", *args, *more)


def test_a_crf_has_no_weights_of_classes(tmp_path, capsys):
    args = labelled.write_sentences(tmp_path, crf=True)
    err = said(capsys, "train", *args, "train.class_weights=balanced", status=2)
    assert "cannot be used with model.crf=true" in err
