"""Language modelling by the command line: tokens, figures, evaluation and text."""

import csv
import functools
import io
import json
import math
import sys
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import load_run
from lstm_jax.cli import main
from lstm_jax.data import corpus, tokenized
from lstm_jax.data.token_rows import training_rows
from lstm_jax.inference import Cache, cache_nats, dynamic_nats, gradient_squares
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.runs.load import best_of
from lstm_jax.tasks import language_model, stream_evaluation
from lstm_jax.training.batches import DeviceBatches, HostBatches
from tests import tiny
from tests.data import forms

pytestmark = pytest.mark.usefixtures("optax_promotion")
KINDS = ["characters", "bytes", "words", "bpe"]


def words(value):
    """The name of a case."""
    return " ".join(value) if isinstance(value, list) else ""


@pytest.fixture(scope="module")
def runs(optax_promotion, tmp_path_factory):
    """A run of every kind of tokens, with all that a model can have."""
    folder = tmp_path_factory.mktemp("runs")
    args = tiny.write(folder)
    args += ["model.tied=true", "model.hidden_size=4", "model.weight_drop=0.1"]
    for kind in KINDS:
        more = ["data.vocabulary_limit=300"] if kind == "bpe" else []
        more += [f"data.tokens={kind}", f"run.directory={folder / kind}"]
        assert main(["train", *args, *more]) == 0
    return folder


def result(run, part="test"):
    return json.loads((run / f"result-{part}.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_figures(runs, kind):
    figures = result(runs / kind)
    assert ("perplexity" in figures) == (kind in ("words", "bpe"))
    assert ("bits_per_character" in figures) == (kind != "words")
    assert ("xz_bits" in figures) == (kind != "words")
    if "perplexity" in figures:
        assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]))
    if kind in ("characters", "bytes"):  # every character of this text is a byte
        bits = figures["loss"] / math.log(2)
        assert figures["bits_per_character"] == pytest.approx(bits)
    if kind == "bpe":
        bits = figures["bits_per_character"]
        assert 0 < bits < figures["loss"] / math.log(2) / 1.1


def test_words_are_those_of_the_training_part(runs):
    facts = json.loads((runs / "words" / "run.json").read_text())
    known = set(json.dumps(facts["tokenizer"]).split('"'))
    assert {"line", "<unk>", "<eos>"} <= known
    assert "199" not in known


def said(capsys, *argv, status=0):
    capsys.readouterr()
    assert main([*map(str, argv)]) == status
    out = capsys.readouterr()
    return out.err if status else out.out


def same_runs(one, other):
    assert tiny.metrics(one) == tiny.metrics(other)
    for name in ("model.safetensors", "result-test.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def evaluations(run):
    return [
        json.loads(line)
        for line in (run / "evaluations.jsonl").read_text().split("\n")
        if line
    ]


@pytest.mark.parametrize(
    ("options", "same"),
    [
        (["batch_size=1"], True),
        (["batch_size=7", "context=0"], True),
        (["cache_size=50", "cache_share=0.0"], True),
        (["batch_size=1000000"], True),
        (["dynamic_rate=1e-12"], True),
        (["cache_size=50", "cache_share=0.2"], False),
        (["dynamic_rate=1e-3", "dynamic_decay=0.1"], False),
    ],
    ids=words,
)
def test_other_ways_to_evaluate(runs, capsys, options, same):
    run = runs / "words"
    before = (run / "result-test.json").read_text()
    said(capsys, "evaluate", run, *(f"evaluation.{o}" for o in options))
    assert (run / "result-test.json").read_text() == before
    found = evaluations(run)[-1]
    assert found["part"] == "test"
    close = pytest.approx(json.loads(before)["loss"], abs=2e-6)
    assert (found["loss"] == close) == same


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["model.dropout=0"], "model.dropout=0 would change a run that is trained"),
        (
            ["evaluation.cache_size=9", "evaluation.dynamic_rate=1"],
            "cache_size=9 and dynamic_rate=1.0 cannot be used together",
        ),
        (["evaluation.cache_share=1"], "cache_share"),
        (["evaluation.dynamic_rate=inf"], "finite"),
        (
            ["evaluation.dynamic_rate=1e30", "evaluation.dynamic_decay=1"],
            "set smaller values than evaluation.batch_size=2 evaluation.context=8 "
            "evaluation.dynamic_rate=1e+30 evaluation.dynamic_decay=1.0.",
        ),
        (
            ["evaluation.dynamic_rate=1e-3", "evaluation.dynamic_tokens=9"],
            "evaluation.dynamic_tokens=9 takes 9 tokens of the train split, expected "
            "21 or more",
        ),
        (["evaluation.dynamic_decay=0.5"], "does nothing without dynamic_rate"),
    ],
    ids=words,
)
def test_what_cannot_be_evaluated_so(runs, capsys, argv, says):
    assert says in said(capsys, "evaluate", runs / "words", *argv, status=2)


@pytest.mark.parametrize("kind", KINDS)
def test_text_as_it_is_made_is_the_text_of_several_samples(runs, capsys, kind):
    """Sample 0 of 3 is the one sample; what the model was told to begin with is part
    of it, and tokens make the same text when they come in pieces."""
    run = [runs / kind, "--prompt", "line 1 of", "--length", "40"]
    one = said(capsys, "generate", *run)
    many = said(capsys, "generate", *run, "--samples", "3")
    assert one.startswith("line 1 of")
    assert many.startswith(f"--- 1 of 3\n{one}--- 2 of 3\n")
    assert said(capsys, "generate", *run, "--seed", "1") != one


def test_several_ways_to_the_likeliest_token(runs, capsys):
    run = ["generate", runs / "characters", "--prompt", "line 1", "--length", "20"]
    greedy = said(capsys, *run, "--temperature", "0")
    assert said(capsys, *run, "--top-k", "1") == greedy
    assert said(capsys, *run, "--top-p", "1e-6") == greedy
    assert said(capsys, *run, "--beams", "1") == greedy


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--prompt", ""], "the prompt is ''"),
        (["--prompt", "line ☃"], "does not have '☃'"),
        (["--seed", "-1"], "--seed is -1, expected 0 to 2,147,483,647"),
        (["--beams", "3", "--samples", "2"], "leave --samples out"),
        (["--beams", "3", "--top-p", "0.5"], "leave --top-p out"),
        (["--length", "0"], "--length is 0, expected 1 to "),
        (["--samples", "0"], "--samples is 0, expected 1 to 10,000"),
        (["--beams", "-1"], "--beams is -1, expected 0 to 10,000"),
        (["--temperature", "-1"], "temperature is -1.0, expected a number, 0 or more"),
        (["--top-p", "0"], "top_p is 0.0, expected a number in (0, 1]"),
        (["--top-k", "-2"], "top_k is -2, expected an integer, 0 or more"),
    ],
    ids=words,
)
def test_what_cannot_be_generated(runs, capsys, argv, says):
    assert says in said(capsys, "generate", runs / "characters", *argv, status=2)


def test_the_cache_and_what_is_learned_are_handed_on(runs, capsys, monkeypatch):
    """Window by window it comes to what it comes to in one, and by the functions."""
    run, cache = runs / "words", ["cache_size=40", "cache_share=0.2", "cache_theta=0.7"]
    said(capsys, "evaluate", run, *(f"evaluation.{o}" for o in cache))
    vocabulary = len(best_of(run)[1].tokenizer)
    monkeypatch.setattr(stream_evaluation, "LOGITS", 16 * vocabulary)
    windows, nats = [], stream_evaluation.cache_nats
    monkeypatch.setattr(
        stream_evaluation,
        "cache_nats",
        lambda cache, hs, *rest, **options: (
            windows.append(len(hs)) or nats(cache, hs, *rest, **options)
        ),
    )
    said(capsys, "evaluate", run, *(f"evaluation.{o}" for o in cache))
    assert max(windows) == 16
    whole, pieces = evaluations(run)[-2:]
    assert whole["loss"] == pytest.approx(pieces["loss"], abs=1e-6)

    _, task, params = best_of(run)
    model, tokens = task.model(params), task.tokens("test")
    _, hs = model.hidden(tokens[:-1, None], model.init_carry((1,)))
    hs, targets = hs[:, 0], tokens[1:]
    empty = Cache.empty(40, hs.shape[1])
    nats = model.nats(hs, targets)
    _, nats = cache_nats(empty, hs, targets, nats, theta=0.7, share=0.2)
    assert whole["loss"] == pytest.approx(float(nats.mean()), abs=1e-6)


def test_dynamic_evaluation_is_that_of_the_functions(runs, capsys):
    run = runs / "words"
    how = ["dynamic_rate=1e-2", "dynamic_decay=0.1", "dynamic_segment=7"]
    said(capsys, "evaluate", run, *(f"evaluation.{o}" for o in how))
    _, task, params = best_of(run)
    model = task.model
    loss = lambda p, carry, inputs, targets: model(p).loss(
        inputs, targets, carry, deterministic=True
    )
    seen, tokens = training_rows(task.tokens("train"), 4, 7), task.tokens("test")
    carry = lambda rows: model(params).init_carry((rows,))
    squares = gradient_squares(loss, params, carry(4), seen, segment=7)
    at = dict(segment=7, rate=1e-2, decay=0.1, squares=squares)
    nats = dynamic_nats(loss, params, carry(1), tokens, **at)
    expected = pytest.approx(nats / (len(tokens) - 1), abs=1e-6)
    assert evaluations(run)[-1]["loss"] == expected


def test_a_text_of_one_symbol(tmp_path, capsys):
    """Nothing is to be learned of it, and it has no new line to begin with."""
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]
    (tmp_path / "text.txt").write_text("a" * 4000)
    said(capsys, "train", *args)
    rate = "evaluation.dynamic_rate=1e-3"
    wrong = said(capsys, "evaluate", tmp_path / "run", rate, status=2)
    assert "nothing more to teach" in wrong
    assert said(capsys, "generate", tmp_path / "run", "--length", "3") == "aaaa\n"


def test_shares_of_a_folder(tmp_path, capsys):
    args = [*tiny.write(tmp_path), f"data.path={tmp_path}", "data.test_share=0.1"]
    for part in ("train", "valid", "test"):
        (tmp_path / f"{part}.txt").write_text(tiny.TEXT)
    assert "leave data.valid_share" in said(capsys, "train", *args, status=2)


def test_a_word_that_is_not_known(runs, capsys):
    run = ["generate", runs / "words", "--length", "5", "--prompt"]
    wrong = said(capsys, *run, "line 1 of zebras", status=2)
    assert "does not have zebras; leave it out, or write <unk>" in wrong
    assert said(capsys, *run, "line 1 of <unk>").startswith("line 1 of <unk>")


def test_bits_are_those_of_characters_not_of_bytes(tmp_path, capsys):
    """An "é" is a character of two bytes, and of one token or two of bpe."""
    args = tiny.write(tmp_path)
    (tmp_path / "text.txt").write_text(tiny.TEXT.replace("e", "é"))
    args += ["data.tokens=bytes", "train.steps=2", f"run.directory={tmp_path / 'run'}"]
    said(capsys, "train", *args)
    figures = result(tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    tokens, characters = (facts[key]["test"] for key in ("tokens", "parts"))
    assert tokens > characters + 20
    nats = figures["loss"] * (tokens - 1)
    # Of the first character its first byte is not predicted.
    bits = pytest.approx(nats / math.log(2) / (characters - 1))
    assert figures["bits_per_character"] == bits


def test_a_loss_too_large_for_its_perplexity(tmp_path, capsys):
    args = [*tiny.write(tmp_path), "data.tokens=words", "train.steps=6"]
    args += ["optimizer.learning_rate=1e4", f"run.directory={tmp_path / 'run'}"]
    said(capsys, "train", *args)
    figures = result(tmp_path / "run")
    assert figures["loss"] > 700
    assert figures["perplexity"] > 1e303


@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_part_with_nothing_to_predict(tmp_path, capsys, part):
    args = tiny.write(tmp_path)
    texts = {"train": tiny.TEXT, "valid": tiny.TEXT, "test": tiny.TEXT} | {part: "one"}
    for name, text in texts.items():
        (tmp_path / "parts").mkdir(exist_ok=True)
        (tmp_path / "parts" / f"{name}.txt").write_text(text)
    args += [f"data.path={tmp_path / 'parts'}", "data.tokens=words"]
    wrong = said(capsys, "train", *args, f"run.directory={tmp_path / 'run'}", status=2)
    assert f"the {part} split has 1 token of words" in wrong
    assert not (tmp_path / "run").exists()


def test_a_run_of_words_goes_on_bit_for_bit(tmp_path, capsys):
    """With everything that draws by chance at work."""
    options = ["data.tokens=words", "model.hidden_size=[6,4]"]
    options += ["model.tied=true", "model.locked=true"]
    rates = ("dropout", "output_dropout", "embedding_dropout", "weight_drop")
    options += [f"model.{name}=0.2" for name in rates]
    options += ["model.activation_penalty=2.0", "model.temporal_penalty=1.0"]
    options += ["optimizer.schedule.kind=constant", *tiny.write(tmp_path)[1:]]
    config = tiny.write(tmp_path)[0]
    once, twice = tmp_path / "once", tmp_path / "twice"
    said(capsys, "train", config, *options, f"run.directory={once}")
    again = ["train", config, *options, f"run.directory={twice}"]
    said(capsys, *again, "train.steps=6")
    said(capsys, *again, "--resume")
    same_runs(once, twice)


def test_without_a_test_part_validation_has_the_last_word(tmp_path, capsys):
    args = tiny.write(tmp_path)
    run = tmp_path / "run"
    args += [f"run.directory={run}", "data.test_share=0.0", "train.steps=4"]
    said(capsys, "train", *args)
    assert not (run / "result-test.json").exists()
    assert result(run, "valid")["loss"] > 0
    assert "complete" in said(capsys, "runs", tmp_path)
    wrong = said(capsys, "evaluate", run, "--part", "test", status=2)
    assert "the data have no split test, only train, valid" in wrong


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.valid_share=0.6", "data.test_share=0.4"], "leave nothing to train on"),
        (["data.min_count=2"], "min_count=2 makes no difference to characters"),
        (["data.vocabulary_limit=3"], "vocabulary_limit=3 is less than the 28"),
        (["data.tokens=word"], "did you mean words?"),
        (["train.window=100000"], "use more text or smaller values"),
        (["train.batch_size=100000"], "use more text or smaller values"),
    ],
    ids=words,
)
def test_what_cannot_be_trained(tmp_path, capsys, overrides, says):
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]
    assert says in said(capsys, "train", *args, *overrides, status=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["bytes", "words"])
def test_windows_from_the_host_are_those_on_the_device(tmp_path, capsys, kind):
    """More than an epoch, resumed in the middle, with the text in its file."""
    args = [*tiny.write(tmp_path), f"data.tokens={kind}", "train.steps=80"]
    args += ["optimizer.schedule.kind=constant"]
    said(capsys, "train", *args, f"run.directory={tmp_path / 'device'}")
    host = [*args, f"run.directory={tmp_path / 'host'}", "train.device_bytes=0"]
    said(capsys, "train", *host, "train.steps=42")
    said(capsys, "train", *host, "--resume")
    same_runs(tmp_path / "device", tmp_path / "host")


def test_a_text_in_its_file_gives_the_same_run(tmp_path, capsys, monkeypatch):
    args = [*tiny.write(tmp_path), "data.tokens=bytes"]
    said(capsys, "train", *args, f"run.directory={tmp_path / 'memory'}")
    read, small = corpus.read_text, {"in_memory": 0}
    monkeypatch.setattr(corpus, "read_text", lambda *a, **k: read(*a, **k | small))
    said(capsys, "train", *args, f"run.directory={tmp_path / 'file'}")
    task = best_of(tmp_path / "file")[1]
    assert not task.parts["train"].in_memory
    assert task.tokens("train").base is not None, "it is a view of the file"
    same_runs(tmp_path / "memory", tmp_path / "file")


def in_file(monkeypatch):
    """Every text is as one that is too large for memory."""
    small = functools.partial(tokenized.read_corpus, in_memory=0)
    monkeypatch.setattr(
        tokenized, "read_corpus", lambda *a, **k: small(*a, **k | {"in_memory": 0})
    )


def task_of(*args):
    config, *overrides = map(str, args)
    return make_task(read_config(tomllib.loads(Path(config).read_text()), overrides))


def batches_of(task, first, last):
    """The training batches of these steps, as the loop takes them."""
    batches, found, key = task.batches(), [], jax.random.key(0)
    while first < last:
        data, n = batches.take(first, min(3, last - first))
        for step in range(first, first + n):
            batch, _ = batches.at(data, task.init_carry(), jnp.array(step), key)
            found.append(np.asarray(batch))
        first += n
    batches.close()
    return np.stack(found)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_from_a_file_are_those_on_the_device(tmp_path, kind, monkeypatch):
    args = [*tiny.write(tmp_path), f"data.tokens={kind}", "data.vocabulary_limit=300"]
    task = task_of(*args)
    assert isinstance(task.batches(), DeviceBatches)
    epoch = task.batches().steps_per_epoch
    device = batches_of(task, 0, epoch + 5)
    in_file(monkeypatch)
    monkeypatch.setattr(language_model, "FORGET", 3)
    task = task_of(*args, "train.device_bytes=0")
    assert isinstance(task.batches(), HostBatches)
    assert not task._tokens("train").in_memory
    host = batches_of(task, 0, epoch + 5)
    assert host.dtype == device.dtype
    assert (host == device).all()
    # A resumed run begins at any step.
    assert (batches_of(task, 7, epoch + 2) == device[7 : epoch + 2]).all()


def test_batches_are_the_same_from_every_form_of_a_text(tmp_path, monkeypatch):
    args, lines = tiny.write(tmp_path), tiny.TEXT.splitlines(keepends=True)
    expected = task_of(*args)
    in_file(monkeypatch)
    for form, write in forms.FORMS.items():
        if form == "array_record" and not forms.RECORDS:
            continue
        folder = tmp_path / form
        folder.mkdir()
        for n, at in enumerate(range(0, len(lines), 70)):
            # The writer of lines adds the line ends.
            rows = [line.removesuffix("\n") for line in lines[at : at + 70]]
            if form in ("parquet", "array_record"):
                rows = lines[at : at + 70]
            write(folder / f"{n}", rows)
        task = task_of(*args, f"data.path={folder}", "train.device_bytes=0")
        assert task.describe()["sha256"] == expected.describe()["sha256"], form
        same = batches_of(task, 0, 12) == batches_of(expected, 0, 12)
        assert same.all(), form


def test_a_cache_of_tokens_spares_a_resumed_run_the_text(tmp_path, capsys, monkeypatch):
    args = [*tiny.write(tmp_path), "data.tokens=words", "train.device_bytes=0"]
    args += ["optimizer.schedule.kind=constant"]
    said(capsys, "train", *args, f"run.directory={tmp_path / 'once'}")
    in_file(monkeypatch)
    args += [f"data.cache={tmp_path / 'cache'}", f"run.directory={tmp_path / 'twice'}"]
    said(capsys, "train", *args, "train.steps=6")

    def never(*args, **kwargs):
        raise AssertionError("the text is read again")

    monkeypatch.setattr(tokenized, "read_corpus", never)
    said(capsys, "train", *args, "--resume")
    same_runs(tmp_path / "once", tmp_path / "twice")
    monkeypatch.undo()
    other = f"data.cache={tmp_path / 'other'}"
    said(capsys, "evaluate", tmp_path / "twice", other)


def test_a_long_start_is_told(tmp_path, capsys, monkeypatch):
    args = [*tiny.write(tmp_path), "train.steps=2", "data.tokens=words"]
    monkeypatch.setattr(language_model, "LONG", 0)
    out = said(capsys, "train", *args, f"run.directory={tmp_path / 'a'}")
    assert "reading and encoding the text took 0 s" in out
    assert "set data.cache=FOLDER to keep its tokens." in out
    args += [f"data.cache={tmp_path / 'cache'}", f"run.directory={tmp_path / 'b'}"]
    assert "reading and encoding" not in said(capsys, "train", *args)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.column=body"], "data.column=body is for Parquet files"),
        (["data.cache=FOLDER/text.txt"], "cannot be written"),
        (["data.path=FOLDER/mixed"], "expected files of one kind"),
        (["data.path=FOLDER/empty"], "found train: none"),
        (["data.path=FOLDER/mixed/a", "data.column=n"], "column 'n' holds int64"),
        (["data.path=FOLDER/half.zst"], "is a corrupt zstd file"),
    ],
    ids=words,
)
def test_large_data_that_are_wrong(tmp_path, capsys, overrides, says):
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]
    for name in ("mixed", "empty"):
        (tmp_path / name).mkdir()
    forms.write_parquet(tmp_path / "mixed" / "a", ["some", "text"])
    (tmp_path / "mixed" / "b").write_text("text")
    (tmp_path / "half.zst").write_bytes(forms.zst(b"a text " * 99)[:-9])
    args += [one.replace("FOLDER", str(tmp_path)) for one in overrides]
    wrong = said(capsys, "train", *args, status=2)
    assert says in wrong
    assert len(wrong.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_tokens_that_are_never_read_are_told(tmp_path, capsys):
    args = [*tiny.write(tmp_path), "train.steps=4", f"run.directory={tmp_path / 'run'}"]
    count = round(len(tiny.TEXT) * 0.9)
    rest = count - 1 - (count - 1) // 3200 * 3200
    sizes = ["train.batch_size=100", "train.window=32"]
    out = said(capsys, "train", *args, *sizes)
    line = f"the last {rest:,} of {count:,} training tokens are never read"
    assert f"{line}: a step takes 3,200; lower train.batch_size or train.window." in out
    out = said(capsys, "train", *args[:-1], f"run.directory={tmp_path / 'other'}")
    assert "never read" not in out


def test_a_text_in_another_encoding(tmp_path, capsys):
    args = [*tiny.write(tmp_path), "train.steps=2", f"run.directory={tmp_path / 'run'}"]
    (tmp_path / "text.txt").write_bytes(tiny.TEXT.replace("a", "é").encode("latin-1"))
    assert "set data.encoding" in said(capsys, "train", *args, status=2)
    wrong = said(capsys, "train", *args, "data.encoding=latin-11", status=2)
    assert "not an encoding of text that Python knows" in wrong
    said(capsys, "train", *args, "data.encoding=latin-1")
    assert "é" in best_of(tmp_path / "run")[1].tokenizer.characters


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_the_loss_of_every_token(runs, tmp_path, capsys, kind):
    _, task, params = best_of(runs / kind)
    text = str(task.parts["test"])
    path, csv_file, jsonl = (tmp_path / n for n in ("text", "a.csv", "a.jsonl"))
    path.write_text(text)
    command = ["evaluate", runs / kind, "--text", path, "--out"]
    out = said(capsys, *command, csv_file)
    result_of = result(runs / kind)
    assert f"{result_of['loss']:.4f} nats per token" in out
    said(capsys, *command, jsonl)
    rows = [json.loads(line) for line in jsonl.read_text().splitlines()]
    with csv_file.open(newline="") as file:
        again = [*csv.DictReader(file)]
    texts = [row["token"] for row in rows]
    assert [row["token"] for row in again] == texts
    if kind != "words":
        assert "".join(texts) == text
    assert (rows[0]["nats"], again[0]["nats"]) == (None, "")
    nats = [row["nats"] for row in rows[1:]]
    assert nats == [float(row["nats"]) for row in again[1:]]
    assert sum(nats) / len(nats) == pytest.approx(result_of["loss"], rel=1e-6)
    tokens = np.array([row["id"] for row in rows])
    model = task.model(params)
    _, logits = model(tokens[:-1, None], deterministic=True)
    expected = -jax.nn.log_softmax(logits[:, 0])[np.arange(len(nats)), tokens[1:]]
    assert nats == pytest.approx(expected.tolist(), abs=1e-4)

    found = load_run(runs / kind).score(text)
    assert found.nats.tolist() == nats
    assert [row[2] for row in found.rows()] == texts
    metrics = {name: result_of[name] for name in found.metrics}
    assert found.metrics == pytest.approx(metrics)


def test_a_score_of_standard_input(runs, capsys, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(b"line 1 of a small text\n")

    monkeypatch.setattr(sys, "stdin", Stdin)
    out = said(capsys, "evaluate", runs / "bytes", "--text", "-")
    assert out.startswith("standard input: 23 tokens, ")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--text", "{new}", "--split", "test"], "--split is for the data of the run"),
        (["--text", "{new}", "--out", "a.txt"], "must end with .csv or .jsonl"),
        (["--text", "{new}", "--out", "{new}.csv"], "already exists"),
        (["--text", "{new}", "--out", "no/a.csv"], "cannot be written"),
        (["--out", "a.csv"], "name the text with --text"),
        (["--text", "{new}"], "does not have '☃'"),
        (["--text", ""], "cannot be read"),
        (["--text", "{new}", "evaluation.cache_size=9"], "evaluation.cache_size=9"),
    ],
    ids=words,
)
def test_what_cannot_be_scored(runs, tmp_path, capsys, argv, says):
    new = tmp_path / "new"
    new.write_text("line ☃" if "☃" in says else "line 1")
    (tmp_path / "new.csv").touch()
    argv = [word.replace("{new}", str(new)) for word in argv]
    assert says in said(capsys, "evaluate", runs / "characters", *argv, status=2)
