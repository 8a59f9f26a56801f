"""The command ``translate``: a line for every line, or one sentence that says why."""

import functools
import io
import sys

import numpy as np
import pytest

from lstm_jax.cli import main
from lstm_jax.inference import Sampling
from lstm_jax.runs import ensemble
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.tasks.translating import BeamOptions, SampleOptions
from tests.tasks.translated import reversed_words, sentences

pytestmark = pytest.mark.usefixtures("optax_promotion")

SOURCES = ["eins zwei", "", "  ", "drei drei drei", "🎉 sieben", "vier\u2028acht"]


@pytest.fixture(scope="module", autouse=True)
def loaded_once(translator):
    """What is loaded, and what is compiled for it, is shared by all tests."""
    load = functools.cache(ensemble.best_of)

    def best_of(directory):
        if directory == str(translator.run):
            return None, translator.loaded.task, translator.loaded.params
        if directory == "memory":
            return None, make_task(read_config({"task": "memory"})), None
        return load(directory)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "best_of", best_of)
        yield


@pytest.fixture
def translate(translator, monkeypatch, capsys):
    """Runs the command on bytes of standard input; returns what it prints."""

    def run(*options, given=b"", status=0, directory=translator.run):
        data = given.encode() if isinstance(given, str) else given
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        capsys.readouterr()
        assert main(["translate", str(directory), *map(str, options)]) == status
        out, run.err = capsys.readouterr()
        if status:
            assert out == ""
            assert run.err.startswith("lstm-jax: ")
            assert run.err.count("\n") == 1, "not one line"
        return run.err if status else out

    return run


def text(lines, end="\n"):
    return "".join(f"{line}{end}" for line in lines)


def test_standard_input_to_standard_output(translate, translator):
    expected = translator.loaded.translate(SOURCES)
    assert expected[0] == "two one"
    assert expected[1:3] == ["", ""]
    out = translate(given=text(SOURCES))
    assert out == text(expected)
    assert translate(given="\ufeff" + text(SOURCES, "\r\n")) == out
    assert translate(given=text(SOURCES).removesuffix("\n")) == out


def test_heat_maps(translate, tmp_path):
    """One of every line that has words; what is printed is the same."""
    folder = tmp_path / "maps"
    lines = ["eins zwei", "", "drei"]
    out = translate("--attention", folder, given=text(lines))
    assert out == translate(given=text(lines))
    assert sorted(path.name for path in folder.iterdir()) == ["1.png", "3.png"]
    said = translate("--attention", folder, given=text(lines), status=2)
    assert "--attention" in said
    assert "already exists" in said
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        said = translate("--attention", tmp_path / "more", status=2)
    assert "draws with matplotlib" in said
    many = text(["eins"] * 101)
    said = translate("--attention", tmp_path / "more", given=many, status=2)
    assert "up to 100 lines" in said


def test_a_thousand_lines(translate, translator, tmp_path, capsys):
    """In their order, whatever they are; into a file."""
    rng = np.random.default_rng(0)
    lines = sentences(1000, seed=2)
    plain = set(range(1000))
    others = ["", " \t ", "🎉🎉", "sieben zehn", "eins " * 499 + "zwei", "a" * 3000]
    for n, place in enumerate(rng.permutation(1000)[:120]):
        lines[place] = others[n % len(others)]
        plain.remove(place)
    path, out = tmp_path / "in.de", tmp_path / "out.en"
    path.write_text(text(lines))
    said = translate("--input", path, "--out", out, "--beams", "1", "--max-ratio", "1")
    assert said == f"1,000 translations: {out}\n"
    found = out.read_text().split("\n")
    assert found.pop() == ""
    assert len(found) == 1000
    right = [found[n] == reversed_words(lines[n]) for n in plain]
    assert np.mean(right) > 0.9
    assert {found[n] for n, line in enumerate(lines) if not line.strip()} == {""}
    long = [n for n, line in enumerate(lines, start=1) if len(line.split()) > 5]
    assert translate.err.startswith(
        f"{len(long)} lines of 1,000, the first line {long[0]}, with more than the 6 "
    )
    # The same sentence, the same words.
    assert len({*zip(lines, found, strict=True)}) == len({*lines})


def test_the_best_of_each_line(translate, translator):
    rows = [
        line.split("\t")
        for line in translate("--n-best", 3, given=text(SOURCES)).splitlines()
    ]
    numbers = [n for n in "123456" for _ in range(1 if n in "23" else 3)]
    assert [row[0] for row in rows] == numbers, "an empty line has one translation"
    task = translator.loaded.task
    options = BeamOptions(3, results=3)
    expected = task.translate([translator.loaded.params], SOURCES, options)
    each = [best for found in expected for best in found]
    assert [row[2] for row in rows] == [best.text for best in each]
    for row, best in zip(rows, each, strict=True):
        assert float(row[1]) == pytest.approx(best.score, abs=1e-5)
    best = [rows[numbers.index(n)][2] for n in "123456"]
    assert text(best) == translate(given=text(SOURCES))
    (one,) = translate("--n-best", 1, given="eins\n").splitlines()
    assert one.split("\t")[::2] == ["1", "one"]


@pytest.mark.parametrize(
    "given",
    [
        dict(beams=1),
        dict(alpha=0),
        dict(coverage_penalty=0.5),
        dict(no_repeat=1),
        dict(min_length=4),
        dict(min_length=40, max_ratio=0.5),
    ],
)
def test_options_of_the_search(translate, translator, given):
    task, sentence = translator.loaded.task, "acht acht"
    options = BeamOptions(**{"beams": 3} | given)
    (best,), *_ = task.translate([translator.loaded.params], [sentence], options)
    how = [x for n, v in given.items() for x in (f"--{n.replace('_', '-')}", v)]
    said = translate("--n-best", 1, *how, given=f"{sentence}\n")
    score, translation = said.strip().split("\t")[1:]
    assert translation == best.text
    assert float(score) == pytest.approx(best.score, abs=1e-5)
    usual = translate("--n-best", 1, given=f"{sentence}\n")
    assert said != usual or given == dict(beams=1)


def test_an_ensemble(translate, translator):
    task, sources = translator.loaded.task, SOURCES[:1] + SOURCES[3:5]
    both = task.translate(translator.params, sources)
    rows = [
        line.split("\t")
        for line in translate(
            "--n-best", 1, "--ensemble", translator.other, given=text(sources)
        ).splitlines()
    ]
    assert [row[2] for row in rows] == [best.text for best, *_ in both]
    for row, (best, *_) in zip(rows, both, strict=True):
        assert float(row[1]) == pytest.approx(best.score, abs=1e-5)
    alone = task.translate(translator.params[:1], sources)
    assert [best.score for best, *_ in both] != [best.score for best, *_ in alone]


def test_drawn_translations(translate, translator):
    """A seed, the place of a line and the options say which."""
    task, sources = translator.loaded.task, ["eins zwei", "", "eins zwei", "drei"]
    how = ("--temperature", 2, "--top-k", 5, "--top-p", 0.99)
    options = SampleOptions(Sampling(2.0, 5, 0.99), seed=3, results=2)
    expected = task.translate([translator.loaded.params], sources, options)
    rows = [
        line.split("\t")
        for line in translate(
            "--sample", *how, "--seed", 3, "--n-best", 2, given=text(sources)
        ).splitlines()
    ]
    assert [row[0] for row in rows] == list("1123344")
    each = [best for found in expected for best in found]
    assert [row[2] for row in rows] == [best.text for best in each]
    for row, best in zip(rows, each, strict=True):
        assert float(row[1]) == pytest.approx(best.score, abs=1e-5)
    drawn = translate("--sample", *how, given=text(sources * 20))
    assert drawn == translate("--sample", *how, given=text(sources * 20))
    assert drawn != translate("--sample", *how, "--seed", 1, given=text(sources * 20))
    coldest = translate("--sample", "--temperature", 0, given=text(SOURCES))
    assert coldest == translate("--beams", 1, given=text(SOURCES))
    # The log-probability is that of the translation.
    (best,) = task.translate([translator.loaded.params], ["acht drei"], options)[:1]
    for said in best:
        (read,) = task.align(translator.loaded.params, ["acht drei"], [said.text])
        assert said.score == pytest.approx(-read.nats.sum(), abs=1e-4)


def test_given_beginnings(translate, translator, tmp_path):
    path = tmp_path / "begin.en"
    sources = ["eins zwei", "drei vier acht", "", "neun"]
    path.write_text(text(["four", "", "one", "two three"]))
    said = translate("--prefix", path, given=text(sources)).splitlines()
    assert said[0].split()[0] == "four"
    assert said[1:3] == ["eight four three", ""]
    assert said[3].startswith("two three")
    drawn = translate("--prefix", path, "--sample", given=text(sources)).splitlines()
    assert drawn[0].startswith("four")
    # One that is longer than any translation may be.
    long = " ".join(["one"] * 70)
    path.write_text(f"{long}\n")
    assert translate("--prefix", path, given="eins\n").startswith(long)
    said = translate("--prefix", path, given=text(sources), status=2)
    assert "--prefix has 1 line and the input 4, expected a line for each" in said
    path.write_text("one\nZorbl runs\n")
    said = translate("--prefix", path, given="eins\nzwei\n", status=2)
    assert "prefix 2 has the word 'Zorbl', which the vocabulary does not have" in said


def test_scores_of_given_translations(translate, translator, tmp_path):
    path, sources = tmp_path / "given.en", ["eins zwei", "", "drei"]
    given = ["two one", "", "three three"]
    path.write_text(text(given))
    loaded = translator.loaded
    read = loaded.task.align(loaded.params, sources, given)
    lines = translate("--score", path, given=text(sources)).splitlines()
    rows = [line.split("\t") for line in lines]
    assert [int(row[1]) for row in rows] == [3, 1, 3]
    for row, found in zip(rows, read, strict=True):
        assert float(row[0]) == pytest.approx(-found.nats.sum(), abs=1e-5)
    assert "3 pairs, 7 tokens: perplexity" in translate.err
    (best,) = loaded.translations(["eins zwei"], BeamOptions(3, alpha=0))
    assert best[0].text == "two one"
    assert float(rows[0][0]) == pytest.approx(best[0].score, abs=1e-5)
    assert "vocabulary" not in translate.err
    said = translate("--score", path, given="eins\n", status=2)
    assert "--score has 3 lines and the input 1" in said


def test_a_score_of_a_word_that_is_not_known(translate, tmp_path):
    path = tmp_path / "given.en"
    path.write_text("one Zorbl\n")
    translate("--score", path, given="eins\n")
    assert "1 word not in the vocabulary, such as 'Zorbl': scored as" in translate.err


class Typed(io.RawIOBase):
    """Standard input of a person who waits for each translation."""

    def __init__(self, lines, shown):
        self._lines, self._shown = lines, shown

    @property
    def buffer(self):
        return self

    def __iter__(self):
        for n, line in enumerate(self._lines):
            assert self._shown.seen.count("\n") == n, "the last line is not answered"
            yield line


class Shown(io.StringIO):
    """Standard output as it is flushed."""

    seen = ""

    def flush(self):
        self.seen = self.getvalue()


def interactive(monkeypatch, translator, lines, *options):
    out = Shown()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stdin", Typed(lines, out))
    status = main(["translate", str(translator.run), "--interactive", *options])
    return status, out.seen


def test_a_line_at_a_time(translator, monkeypatch, capsys):
    lines = [f"{line}\n".encode() for line in SOURCES]
    lines += [b"drei\reins\r\n", b"\xef\xbb\xbf", b"zwei"]
    expected = translator.loaded.translate([*SOURCES, "drei\reins", "", "zwei"])
    assert interactive(monkeypatch, translator, lines) == (0, text(expected))
    status, out = interactive(monkeypatch, translator, lines[:3], "--n-best", "1")
    assert status == 0
    assert [row.split("\t")[0] for row in out.splitlines()] == ["1", "2", "3"]


def test_typed_lines_are_drawn_as_those_of_a_file(translate, translator, monkeypatch):
    how = ("--sample", "--temperature", "3", "--seed", "5")
    lines = ["eins zwei drei"] * 6
    expected = translate(*how, given=text(lines))
    assert len({*expected.splitlines()}) > 1
    typed = [f"{line}\n".encode() for line in lines]
    assert interactive(monkeypatch, translator, typed, *how) == (0, expected)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"eins\n\nzw\0ei\n", "standard input, line 3: there is a NUL byte"),
        (b"eins\nzw\xf6lf\n", "standard input, line 2: byte 0xf6 is not UTF-8"),
    ],
)
def test_lines_that_cannot_be_read(
    translate, translator, monkeypatch, capsys, tmp_path, data, says
):
    assert says in translate(given=data, status=2)
    path = tmp_path / "in.de"
    path.write_bytes(data)
    said = translate("--input", path, status=2)
    assert says.replace("standard input", f"--input {path}") in said
    capsys.readouterr()
    status, _ = interactive(monkeypatch, translator, data.splitlines(True))
    assert status == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--n-best", 4], "--n-best is 4 and --beams 3: a search finds as many"),
        (["--n-best", 4, "--beams", 2], "--n-best is 4 and --beams 2"),
        (["--n-best", 0], "--n-best is 0, expected an integer, from 1 to 3."),
        (["--beams", 0], "--beams is 0, expected an integer, from 1 to 1000."),
        (["--beams", 1001], "--beams is 1001, expected"),
        (["--alpha", -1], "--alpha is -1.0, expected 0 to 100."),
        (["--alpha", "nan"], "--alpha is nan, expected 0 to 100."),
        (["--coverage-penalty", -1], "--coverage-penalty is -1.0, expected"),
        (["--no-repeat", -1], "--no-repeat is -1, expected an integer, 0 or more."),
        (["--min-length", -1], "--min-length is -1, expected"),
        (["--max-ratio", "inf"], "--max-ratio is inf, expected 0 to 100."),
        (["--out", "{folder}/there"], "--out {folder}/there already exists; name"),
        (["--out", "{folder}/no/a"], "--out {folder}/no/a cannot be written: No such"),
        (["--input", "{folder}/none"], "--input {folder}/none cannot be read: No such"),
        (["--input", "{folder}"], "cannot be read: Is a directory"),
        (["--interactive", "--out", "{folder}/a"], "--out does not go with --inter"),
        (["--interactive", "--score", "{folder}/a"], "--score does not go with"),
        (["--score", "{folder}/there", "--beams", 2], "--beams has no effect on"),
        (["--score", "{folder}/there", "--sample"], "--sample has no effect on"),
        (["--score", "{folder}/there", "--prefix", "a"], "--prefix does not go with"),
        (["--sample", "--beams", 2], "--beams is for a search; leave it or --sample"),
        (["--seed", 2], "--seed is for sampling; add --sample or leave it out."),
        (["--sample", "--top-p", 0], "--top-p is 0.0, expected a number in (0, 1]"),
        (["--sample", "--temperature", -1], "--temperature is -1.0, expected a number"),
        (["--sample", "--n-best", 0], "--n-best is 0, expected an integer"),
        (["--sample", "--seed", -1], "--seed is -1, expected an integer"),
        (["--ensemble", "{folder}/none"], "there is no such folder"),
    ],
)
def test_what_cannot_be_done(translate, tmp_path, options, says):
    (tmp_path / "there").write_text("mine")
    given = [str(option).format(folder=tmp_path) for option in options]
    said = translate(*given, given="eins\n", status=2)
    assert says.format(folder=tmp_path) in said
    assert (tmp_path / "there").read_text() == "mine"
    assert not (tmp_path / "a").exists()


def test_nothing_to_translate(translate):
    assert "standard input is empty" in translate(status=2)
    assert translate(given="\n") == "\n"


def test_options_that_exclude_each_other(translator, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["translate", str(translator.run), "--interactive", "--input", "a"])
    assert ended.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_run_of_another_task(translate):
    said = translate(given="eins\n", status=2, directory="memory")
    assert said == (
        "lstm-jax: the task memory of this run cannot translate; name a run of the "
        "task translation.\n"
    )
    assert translate("--ensemble", "memory", given="eins\n", status=2) == said
    said = translate(given="eins\n", status=2, directory="runs/none")
    assert "there is no such folder" in said
