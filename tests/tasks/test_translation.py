"""Translation, from pairs of sentences to translations."""

import importlib.util
import itertools
import json
import shutil

import jax
import numpy as np
import pytest

import lstm_jax
from lstm_jax.cli import main
from lstm_jax.config import read
from lstm_jax.data.text import DataError
from lstm_jax.models.translation import PairBatch, TranslatorConfig
from lstm_jax.runs.configs import read_config
from lstm_jax.runs.ensemble import ensemble_of
from lstm_jax.runs.init_from import source_of
from lstm_jax.tasks import translating
from lstm_jax.tasks.translating import BeamOptions, Translating, Translation
from lstm_jax.tasks.translation import TranslationTask
from lstm_jax.tasks.translation_batches import STEPS
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.run_folder import Run
from tests import tiny
from tests.tasks.translated import (
    SHORT,
    reversed_words,
    sentences,
    write_both,
)

pytestmark = pytest.mark.usefixtures("optax_promotion")

THREE = BeamOptions(3, results=3)
NO_FILES = ("data.valid_source=''", "data.valid_target=''")


def said(capsys, *argv, status=0):
    capsys.readouterr()
    assert main([*map(str, argv)]) == status
    found = capsys.readouterr()
    return found.err if status else found.out


def texts(found):
    return [[best.text for best in one] for one in found]


def scores(found):
    return np.array([[best.score for best in one] for one in found])


def alike(found, expected):
    """The same words, and the same scores."""
    assert texts(found) == texts(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(scores([one]), scores([other]), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def forced(translator):
    """``(parameters, sentence, translation) -> log p [T, V]`` of every next token."""
    task = translator.loaded.task
    logits = jax.jit(lambda params, pairs: task.model(params)(pairs))

    def padded(tokens):
        return np.pad(tokens, (0, 16 - len(tokens)))[:, None].astype(np.int32)

    def log_p(params, source, target):
        inputs = np.concatenate([[task.data.target.begin], target[:-1]])
        lengths = [np.array([len(of)], np.int32) for of in (source, target)]
        tokens = [padded(of) for of in (source, inputs, target)]
        pairs = PairBatch(tokens[0], lengths[0], *tokens[1:], lengths[1])
        found = np.array(logits(params, pairs), np.float64)[: len(target), 0]
        found[:, task.data.target.begin] = -1e9
        return found - np.log(np.exp(found).sum(1, keepdims=True))

    return log_p


def encoded(task, sentence, translation):
    return task.data.source.encode(sentence), task.data.target.encode(translation)


# Training


def test_it_learns(translator, capsys):
    out = said(capsys, "evaluate", translator.run)
    result = json.loads((translator.run / "result-valid.json").read_text())
    assert result["bleu"] > 90 > 10 > result["source_bleu"]
    assert result["chrf"] > 90 > 20 > result["source_chrf"]
    assert result["perplexity"] == pytest.approx(np.exp(result["loss"]))
    assert f"valid: BLEU {result['bleu']:.2f}, chrF {result['chrf']:.2f}" in out
    assert "the source itself: BLEU" in out
    assert "tok:13a" in out, "without the signature of sacrebleu"
    lines = [m for m in tiny.metrics(translator.run) if "valid_bleu" in m]
    assert [line["step"] for line in lines] == [40, 80, 120]
    best = max(lines, key=lambda line: line["valid_bleu"])
    assert result["bleu"] == best["valid_bleu"]
    assert result["loss"] == pytest.approx(best["valid_loss"], abs=1e-6)


def test_what_the_metadata_say(translator):
    task, metadata = translator.loaded.task, translator.loaded.metadata
    assert metadata["pairs"] == {"train": 400, "valid": 24}
    assert metadata["longest"] == 6
    assert metadata["left_out"] == []
    assert task.summary(metadata) == (
        f"{translator.folder}/train.de to {translator.folder}/train.en: 400 train, 24 "
        "valid pairs; 8 and 8 tokens (words); up to 6 tokens a source sentence"
    )
    assert task.items_per_step == pytest.approx(32 * 4, rel=0.2)


@pytest.mark.parametrize(("tokens", "buckets"), [(1, 1), (20, 3), (100, 2)])
def test_metrics_do_not_depend_on_the_batches(translator, tokens, buckets):
    run = Run.open(translator.other)
    how = [f"evaluation.batch_tokens={tokens}", f"train.buckets={buckets}"]
    task = translator.task(*SHORT, *how, metadata=run.read_json("run.json"))
    found = task.evaluate(translator.params[1], "valid")
    result = run.read_json("result-valid.json")
    assert found["loss"] == pytest.approx(result["loss"], abs=1e-6)
    assert found.keys() == {"loss", "perplexity"}


def test_stop_and_resume(translator, tmp_path, monkeypatch, capsys):
    """In the middle of an epoch, and in other blocks: bit for bit."""
    args = [translator.config, *SHORT, f"run.directory={tmp_path / 'run'}"]
    with monkeypatch.context() as patch:
        tiny.interrupt_at(patch, 18)
        assert main(["train", *args]) == 130
    assert "train.en: 400 train, 24 valid pairs; 8 and 8 tok" in capsys.readouterr().out
    stopped = tiny.metrics(tmp_path / "run")
    assert len(stopped) < len(tiny.metrics(translator.other))
    assert main(["train", *args, "--resume", "train.block=3"]) == 0
    assert tiny.metrics(tmp_path / "run") == tiny.metrics(translator.other)
    weights = [
        (run / "model.safetensors").read_bytes()
        for run in (tmp_path / "run", translator.other)
    ]
    assert weights[0] == weights[1]


def test_a_new_run_from_the_weights_of_another(translator, tmp_path):
    """Its vocabularies are those of the weights, not of its own pairs."""
    write_both(tmp_path / "a.tsv", ["neun zehn", "zehn"], ["ten nine", "ten"])
    values = {
        "task": "translation",
        "data": {"path": str(tmp_path / "a.tsv"), "tokens": "words"},
        "model": {"embed_size": 16, "hidden_size": 32},
        "train": {"init_from": str(translator.run)},
    }
    values["data"]["valid"] = values["data"]["path"]
    config = read_config(values)
    task = TranslationTask(config, source_of(config).learned)
    for side in ("source", "target"):
        ours, theirs = (getattr(t.data, side) for t in (task, translator.loaded.task))
        assert ours.tokenizer == theirs.tokenizer
    # Both vocabularies of the new run are kept, whatever data.shared says.
    shared = read_config(values, ["data.shared=true"])
    told = TranslationTask(shared, source_of(config).learned).describe()
    assert told["target_tokenizer"] == task.data.target.tokenizer.facts()


# Data


def first_batch(task):
    batches = task.batches()
    try:
        return jax.tree.map(np.asarray, batches.take(0, 1)[0])
    finally:
        batches.close()


@pytest.mark.parametrize("name", ["a.tsv", "a.jsonl"])
def test_one_file_trains_as_two_do(translator, tmp_path, name):
    splits = translator.task().data.splits
    for split, pairs in splits.items():
        write_both(tmp_path / f"{split}-{name}", pairs.sources, pairs.targets)
    values = read(translator.config)
    values["data"] = {
        "path": str(tmp_path / f"train-{name}"),
        "valid": str(tmp_path / f"valid-{name}"),
        "tokens": "words",
    }
    one, two = TranslationTask(read_config(values)), translator.task()
    told, expected = one.describe(), two.describe()
    assert told.pop("data") == str(tmp_path / f"train-{name}")
    assert expected.pop("data").endswith("train.en")
    assert told == expected
    jax.tree.map(np.testing.assert_array_equal, first_batch(one), first_batch(two))


def test_other_data_are_not_those_of_the_run(translator, tmp_path):
    lines = (translator.folder / "valid.en").read_text()
    (tmp_path / "valid.en").write_text(lines.replace("one", "two", 1))
    task = translator.task(f"data.valid_target={tmp_path / 'valid.en'}")
    with pytest.raises(RunError, match="the data are not those"):
        task.check_same_data(translator.loaded.metadata, translator.run)


def test_validation_and_test_are_cut_from_training(tmp_path):
    sources = [f"{n}" for n in range(100)]
    write_both(tmp_path / "a.tsv", [*sources, ""], [f"t{n}" for n in [*sources, ""]])
    values = {"task": "translation", "data": {"path": str(tmp_path / "a.tsv")}}
    values["data"]["tokens"] = "words"

    def cut(*overrides):
        data = TranslationTask(read_config(values, overrides)).data
        splits = data.splits
        for pairs in splits.values():
            assert pairs.targets == tuple(f"t{n}" for n in pairs.sources)
        return data, {name: pairs.sources for name, pairs in splits.items()}

    data, splits = cut("data.test_fraction=0.2")
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 75,
        "valid": 5,
        "test": 20,
    }
    assert sorted(sum(splits.values(), ())) == sorted(sources), "each in one split"
    assert splits["valid"] != tuple(sources[:5]), "not at random"
    assert data.final_split == "test"
    assert not {*data.source.tokenizer.words} & {*splits["valid"], *splits["test"]}
    assert cut("data.test_fraction=0.2")[1] == splits
    assert cut("data.test_fraction=0.2", "data.split_seed=1")[1] != splits
    assert cut()[0].final_split == "valid"


def test_pairs_that_are_left_out_are_told(tmp_path):
    sources = ["ja", "", "nein", "ja " * 9, "doch", "nein"]
    targets = ["yes", "nothing", " ", "yes " * 9, "but", "no"]
    file, valid = tmp_path / "a.tsv", tmp_path / "b.tsv"
    write_both(file, sources, targets)
    write_both(valid, ["ja", "", "ja " * 9], ["yes", "x", "yes " * 9])
    values = {"task": "translation", "data": {"tokens": "words", "max_length": 5}}
    values["data"] |= {"path": str(file), "valid": str(valid)}
    task = TranslationTask(read_config(values))
    lines = task.summary(task.describe()).split("\n")
    assert "a.tsv: 3 train, 3 valid pairs" in lines[0], "validation leaves nothing out"
    assert lines[1:] == [
        "2 of 6 pairs are left out of training: one side is empty (first: "
        f"{file}, line 2)",
        "1 of 4 pairs is left out of training: one side has more than max_length=5 "
        f"tokens (first: {file}, line 4)",
    ]
    assert "doch" in task.data.source.tokenizer.words
    assert "nothing" not in task.data.target.tokenizer.words


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.target="], "data.target= has no value"),
        (["data.target=''"], "source is set and target is not; set both, or path"),
        (["data.valid_target=''"], "valid_source is set and valid_target is not"),
        (["data.path=a.tsv"], "path and source are both set; set path for one file"),
        (
            ["data.source=''", "data.target=''"],
            "data.source and data.target are empty; set them to two aligned files",
        ),
        (["data.source={folder}/no.de"], "no.de"),
        (["data.target={folder}/short.en"], "has 400 lines but"),
        (
            ["data.tokens=characters"],
            "data.tokens is 'characters'; valid: bpe, unigram, words, bytes",
        ),
        (
            ["data.sauce=a"],
            "unknown key data.sauce; valid: source, target, valid_source",
        ),
        (
            [*NO_FILES, "data.valid_fraction=0"],
            "data.valid_fraction=0 of 400 pairs is no pair",
        ),
        (
            [
                *NO_FILES,
                "data.valid_fraction=1e-3",
            ],
            "data.valid_fraction=0.001 of 400 pairs is no pair",
        ),
        (
            [*NO_FILES, "data.valid_fraction=0.6", "data.test_fraction=0.6"],
            "data.valid_fraction and data.test_fraction leave -80 of 400 pairs",
        ),
        (
            ["model.tied=both", "model.embed_size=32"],
            'model.tied is "both", which needs one vocabulary; set data.shared=true',
        ),
        (["model.tied=target"], "set embed_size=32"),
        (["model.dropout=0.1"], "acts between layers"),
        (["model.hidden_size=3"], "multiple of 2"),
        (["model.coverage=true"], "expected 'additive'"),
        (
            ["evaluation.bleu=false"],
            "train.monitor is 'valid_bleu' and evaluation.bleu is false",
        ),
        (
            ["train.monitor=valid_f1"],
            "valid: valid_loss, valid_perplexity, valid_bleu, valid_chrf",
        ),
        (["train.batch_tokens=5"], "batch_tokens=5 is less than the 6 tokens"),
        (["evaluation.beams=0"], "evaluation.beams"),
        (["evaluation.alpha=-1"], "evaluation.alpha"),
    ],
)
def test_configs_that_cannot_be(translator, tmp_path, capsys, overrides, says):
    lines = (translator.folder / "train.en").read_text().splitlines(True)
    (tmp_path / "short.en").write_text("".join(lines[:-1]))
    given = [one.format(folder=tmp_path) for one in overrides]
    run = f"run.directory={tmp_path / 'run'}"
    err = said(capsys, "train", translator.config, run, *given, status=2)
    assert says in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_bleu_without_its_library(translator, tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    there = lambda name, *rest: None if name == "sacrebleu" else find(name, *rest)
    monkeypatch.setattr(importlib.util, "find_spec", there)
    run = f"run.directory={tmp_path / 'run'}"
    for command in (["train", translator.config, run], ["evaluate", translator.run]):
        err = said(capsys, *command, status=2)
        assert "pip install 'lstm-jax[translate]'; or set evaluation.bleu=false" in err
    assert not (tmp_path / "run").exists()


# Translations


def test_a_loaded_run_translates_without_its_data(translator):
    sources = sentences(60, seed=7)
    for path in translator.folder.glob("*.[de][en]"):
        path.rename(path.with_suffix(f"{path.suffix}.away"))
    try:
        run = lstm_jax.load_run(translator.run)
        found = run.translate(sources)
        assert run.translate([]) == []
    finally:
        for path in translator.folder.glob("*.away"):
            path.rename(path.with_suffix(""))
    assert np.mean([*map(str.__eq__, found, map(reversed_words, sources))]) > 0.9
    best = run.task.translate([run.params], sources)
    assert [one.text for one, *_ in best] == found
    assert run.tokenizer.encode("zwei").shape == (1,)
    with pytest.raises(TypeError, match="sentences is a string, expected a list"):
        run.translate("eins zwei")
    with pytest.raises(ValueError, match="beams is 0, expected an integer, from 1 to"):
        run.translate(sources, beams=0)
    with pytest.raises(RunError, match="cannot generate text; load a run of the"):
        run.generate()


def test_padding_batches_and_order_change_nothing(translator, monkeypatch):
    task = translator.loaded.task
    sources = ["", *sentences(30, seed=3), "  ", "🎉 sieben", "acht " * 20]
    params = [translator.loaded.params]

    def translate(of, **options):
        return task._translating.translate(params, of, THREE, **options)

    expected = translate(sources)
    assert [len(one) for one in expected] == [3 if s.strip() else 1 for s in sources]
    order = np.random.default_rng(0).permutation(len(sources))
    shuffled = translate([sources[n] for n in order])
    alike(shuffled, [expected[n] for n in order])
    alike(translate(sources, batch_tokens=24), expected)
    for n in (0, 4, 9):
        alike(translate(sources[n : n + 1]), expected[n : n + 1])
    monkeypatch.setattr(translating, "BUCKETS", 1)  # short among long
    alike(translate(sources), expected)


def test_scores_are_those_of_the_model(translator, forced):
    """Of one model and of two: the mean of the probabilities, token by token."""
    task, sources = translator.loaded.task, sentences(6, seed=5)
    checked = 0
    for params in (translator.params[:1], translator.params):
        for alpha in (0.0, 1.0):
            options = BeamOptions(3, alpha, results=3)
            for sentence, found in zip(
                sources, task.translate(params, sources, options), strict=True
            ):
                assert [*scores([found])[0]] == sorted(scores([found])[0])[::-1]
                assert len({best.text for best in found}) == 3
                for best in found:
                    tokens = encoded(task, sentence, best.text)
                    said = np.arange(len(tokens[1])), tokens[1]
                    each = [np.exp(forced(of, *tokens)[said]) for of in params]
                    nats = np.log(np.mean(each, axis=0)).sum()
                    score = nats / ((5 + len(tokens[1])) / 6) ** alpha
                    assert best.score == pytest.approx(score, abs=1e-4)
                    checked += 1
    assert checked == 2 * 2 * 6 * 3
    # Of one model twice.
    alone, both = (task.translate([params[0]] * n, sources, THREE) for n in (1, 2))
    alike(both, alone)


def test_one_beam_takes_the_most_likely_token(translator, forced):
    task, sources = translator.loaded.task, sentences(8, seed=6)
    params = translator.params[1]  # it is less sure of itself
    found = task.translate([params], sources, BeamOptions(1))
    for sentence, (best,) in zip(sources, found, strict=True):
        source, target = encoded(task, sentence, best.text)
        log_p = forced(params, source, target)
        assert log_p.argmax(1).tolist() == target.tolist()


def test_the_coverage_penalty(translator):
    """Against the attention of every step; and it changes the order."""
    loaded, weight = translator.loaded, 0.5
    model, data = loaded.model, loaded.task.data
    step = jax.jit(lambda *args: model.step(*args))
    (sentence,) = sentences(1, longest=4, seed=11)
    source = data.source.encode(sentence)
    encode = jax.jit(lambda *args: model.encode(*args))
    memory, start = encode(source[:, None], np.array([len(source)], np.int32))
    translate = lambda **how: loaded.task.translate(
        [loaded.params], [sentence, "eins " * 5], BeamOptions(3, results=3, **how)
    )
    plain = {best.text: best.score for best in translate()[0]}
    compared = 0
    for best in translate(coverage_penalty=weight)[0]:
        carry, weights = start, []
        target = data.target.encode(best.text)
        for token in [data.target.begin, *target[:-1]]:
            carry, _, a = step(memory, carry, np.array([token], np.int32))
            weights.append(np.array(a, np.float64)[0].mean(0))
        (read,) = loaded.align([sentence], [best.text])
        np.testing.assert_allclose(read.attention, weights, rtol=0, atol=1e-5)
        attended = np.sum(weights, axis=0)
        penalty = weight * np.log(np.clip(attended, 1e-30, 1)).sum()
        assert penalty < -0.001
        if best.text in plain:
            expected = plain[best.text] + penalty
            assert best.score == pytest.approx(expected, abs=1e-4)
            compared += 1
    assert compared


def test_the_rules_of_a_search(translator):
    loaded, three = translator.loaded, "drei drei drei"

    def words(sentence, **rules):
        found = loaded.task.translate(
            [loaded.params], [sentence, "zwei"], BeamOptions(3, **rules)
        )
        return [best.text.split() for best, *_ in found]

    assert words(three) == [["three"] * 3, ["two"]]
    assert min(map(len, words(three, min_length=5))) >= 5
    # A sentence has an end, too, and so has its translation.
    longest = lambda **more: [*map(len, words(three, min_length=50, **more))]
    assert longest() == [2 * 4 + 10 - 1, 2 * 2 + 10 - 1]
    assert longest(max_ratio=0.5) == [2 + 10 - 1, 1 + 10 - 1]
    once, _ = words("drei drei drei eins", no_repeat=1)
    assert len({*once}) == len(once)
    twice, _ = words("drei drei drei drei drei", no_repeat=2, min_length=4)
    assert len({*itertools.pairwise(twice)}) == len(twice) - 1


def test_options_that_leave_no_translation(translator):
    """A vocabulary of 8 has not 50 different words: the line stays, and is empty."""
    loaded, rules = translator.loaded, BeamOptions(3, no_repeat=1, min_length=50)
    found = loaded.task.translate([loaded.params], ["zwei", "", "drei"], rules)
    assert texts(found) == [[""]] * 3
    assert scores(found)[:, 0].tolist() == [-np.inf, 0, -np.inf]
    assert loaded.translate(["zwei"], no_repeat=1, min_length=50) == [""]


def test_alignments(translator, forced):
    """Costs as of the forward pass; where a word of the translation comes from."""
    loaded = translator.loaded
    sources = [*sentences(5, seed=8), "eins sieben", ""]
    said = [*map(reversed_words, sources[:5]), "<unk> one", ""]
    found = loaded.align(sources, said)
    for source, translation, one in zip(sources, said, found, strict=True):
        tokens = encoded(loaded.task, source, translation)
        log_p = forced(loaded.params, *tokens)[np.arange(len(tokens[1])), tokens[1]]
        np.testing.assert_allclose(one.nats, -log_p, rtol=0, atol=1e-3)
        assert one.source == [*source.split(), "</s>"]
        assert one.target == [*translation.split(), "</s>"]
        assert one.attention.shape == (len(one.target), len(one.source))
        np.testing.assert_allclose(one.attention.sum(1), 1, rtol=0, atol=1e-5)
    alone = loaded.align(sources[2:3], said[2:3])[0]
    np.testing.assert_allclose(alone.nats, found[2].nats, rtol=0, atol=1e-5)
    np.testing.assert_allclose(alone.attention, found[2].attention, rtol=0, atol=1e-5)
    assert loaded.align([]) == []
    with pytest.raises(DataError, match="2 sentences and 1 translations, expected one"):
        loaded.align(["eins", "zwei"], ["one"])


def test_words_copied_for_unknown_ones(translator, monkeypatch):
    loaded, sources = translator.loaded, ["eins sieben", "zwei", "acht elf"]
    said = ["<unk> one", "two", "<unk> <unk>"]
    monkeypatch.setattr(
        loaded.task._translating,
        "translate",
        lambda *_: [[Translation(text, -1.0)] for text in said],
    )
    assert loaded.translate(sources) == said
    found = loaded.translate(sources, copy_unknown=True)
    for source, text, copied, one in zip(
        sources, said, found, loaded.align(sources, said), strict=True
    ):
        expected = [
            source.split()[one.attention[n, :-1].argmax()] if word == "<unk>" else word
            for n, word in enumerate(text.split())
        ]
        assert copied.split() == expected


def test_many_beams_take_fewer_sentences_at_a_time(translator, monkeypatch):
    """The rows of the search, which take the memory, stay about as many."""
    rows, search = [], Translating._search

    def counted(self, params, batch, options, limits):
        rows.append(batch.source.shape[1] * options.beams)
        return search(self, params, batch, options, limits)

    monkeypatch.setattr(Translating, "_search", counted)
    loaded = translator.loaded
    found = loaded.task.translate([loaded.params], ["zwei"] * 30, BeamOptions(100))
    assert texts(found) == [["two"]] * 30
    assert max(rows) <= translating.BATCH_TOKENS // STEPS * 5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (dict(beams=0), "beams is 0, expected an integer, from 1 to 1000"),
        (dict(beams=1001), "beams is 1001"),
        (dict(beams=2, results=3), "results is 3, expected an integer, from 1 to 2"),
        (dict(results=0), "results is 0"),
        (dict(alpha=-1), "alpha is -1, expected 0 to 100"),
        (dict(alpha=float("nan")), "alpha is nan"),
        (dict(coverage_penalty=-1), "coverage_penalty is -1"),
        (dict(max_ratio=101), "max_ratio is 101"),
        (dict(no_repeat=-1), "no_repeat is -1, expected an integer, 0 or more"),
        (dict(min_length=1.5), "min_length is 1.5"),
    ],
)
def test_searches_that_cannot_be(options, says):
    with pytest.raises(ValueError, match=says):
        BeamOptions(**options)


# Ensembles


def test_an_ensemble_has_the_weights_of_its_runs(translator):
    found = ensemble_of([translator.run, translator.other])
    jax.tree.map(np.testing.assert_array_equal, found.params, translator.params)
    assert found.task.config.seed == 0


def test_runs_that_make_no_ensemble(translator, tmp_path):
    shutil.copytree(translator.other, tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    metadata = json.loads(path.read_text())
    metadata["target_tokenizer"]["words"].reverse()
    path.write_text(json.dumps(metadata))
    with pytest.raises(RunError, match="has other vocabularies or another model than"):
        ensemble_of([translator.run, tmp_path / "run"])
    with pytest.raises(RunError, match="there is no such folder"):
        ensemble_of([translator.run, tmp_path / "none"])
    # Another dropout changes no translation, other attention does.
    kept = TranslatorConfig(output_dropout=0.1, weight_drop=0.2).in_evaluation
    assert (
        TranslatorConfig(input_dropout=0.3, label_smoothing=0.1).in_evaluation == kept
    )
    assert TranslatorConfig(attention="dot").in_evaluation != kept
    assert TranslatorConfig(dtype="bfloat16").in_evaluation != kept


def test_a_sentence_with_half_a_character(translator):
    task = TranslationTask(
        read_config(read(translator.config), ["data.tokens=bytes"]),
        {"source_tokenizer": {"name": "bytes"}, "target_tokenizer": {"name": "bytes"}},
    )
    with pytest.raises(DataError, match="not a whole character"):
        task.translate([None], ["ja", "\ud800"])
