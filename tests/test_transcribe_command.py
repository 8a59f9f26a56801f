"""The command ``transcribe``: recordings, streams, and a sentence that says why."""

import functools
import io
import json
import sys

import numpy as np
import pytest
import soundfile

from lstm_jax.cli import main
from lstm_jax.commands import transcribe as command
from lstm_jax.data.sounds import resample
from lstm_jax.runs.configs import make_task, read_config
from tests.tasks.spoken import RATE, tone

pytestmark = pytest.mark.usefixtures("optax_promotion")

TEXTS = ["do re", "mi", "re re do"]


@pytest.fixture(scope="module", autouse=True)
def loaded_once(recogniser):
    """What is loaded, and what is compiled for it, is shared by all tests."""
    load = functools.cache(command.best_of)

    def best_of(directory):
        if directory == str(recogniser.run):
            return None, recogniser.loaded.task, recogniser.loaded.params
        if directory == "memory":
            return None, make_task(read_config({"task": "memory"})), None
        return load(directory)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "best_of", best_of)
        yield


@pytest.fixture
def transcribe(recogniser, monkeypatch, capsys):
    """Runs the command; returns what it prints."""

    def run(*words, given=b"", status=0, directory=recogniser.run):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        capsys.readouterr()
        assert main(["transcribe", str(directory), *map(str, words)]) == status
        out, err = capsys.readouterr()
        if status:
            assert out == ""
            assert err.startswith("lstm-jax: ")
            assert err.count("\n") == 1, "not one line"
        return err if status else out

    return run


def sounds():
    return [tone(text, np.random.default_rng(n)) for n, text in enumerate(TEXTS)]


@pytest.fixture
def paths(tmp_path):
    """Recordings of another rate, in stereo, in other formats."""
    found = []
    for n, (sound, suffix) in enumerate(
        zip(sounds(), ("wav", "flac", "wav"), strict=True)
    ):
        path = tmp_path / f"a {n}.{suffix}"
        fine = resample(sound, RATE, 8000)
        soundfile.write(path, np.stack([fine, fine], axis=1), 8000)
        found.append(path)
    return found


def raw(sound):
    return (sound * 32767).astype("<i2").tobytes()


def test_a_line_for_every_recording(transcribe, paths):
    lines = transcribe(*paths).splitlines()
    assert lines == [f"{p}\t{text}" for p, text in zip(paths, TEXTS, strict=True)]


def test_jsonl_with_times(transcribe, paths, tmp_path):
    out = tmp_path / "out.jsonl"
    transcribe(*paths, "--out", out, "--n-best", "2")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    best = [row for row in rows if row["rank"] == 1]
    assert [row["path"] for row in best] == [str(path) for path in paths]
    assert [row["text"] for row in best] == TEXTS
    assert len(rows) > len(paths)
    for row in best:
        assert [word["text"] for word in row["words"]] == row["text"].split()
        assert all(word["start"] < word["end"] for word in row["words"])
    said = transcribe(*paths, "--out", out, status=2)
    assert "already exists" in said
    for words in (["--stream"], []):
        more = tmp_path / f"{len(words)}.jsonl"
        transcribe(*paths, "--out", more, "--tokens", *words)
        rows = [json.loads(line) for line in more.read_text().splitlines()]
        for row in rows:  # every token of this model is a word
            assert [(t["text"], t["start"]) for t in row["tokens"]] == [
                (word["text"], word["start"]) for word in row["words"]
            ]


def test_streams_print_the_same_words(transcribe, paths):
    whole = transcribe(*paths)
    assert transcribe(*paths, "--stream") == whole
    assert transcribe(*paths, "--stream", "--beams", "3") == whole
    assert transcribe(paths[0], "--stream") == f"{TEXTS[0]}\n"


@pytest.mark.parametrize("rate", [RATE, 5000])
def test_standard_input(transcribe, rate):
    (sound, *_) = sounds()
    given = raw(resample(sound, RATE, rate))
    assert transcribe("-", "--rate", rate, given=given) == f"{TEXTS[0]}\n"
    assert transcribe("-", "--rate", rate, given=b"") == "\n"


def test_words_come_before_the_end(recogniser, monkeypatch, capsys):
    """Of a stream that never ends, up to there."""
    (*_, sound) = sounds()

    class Endless(io.RawIOBase):
        sent = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            if self.sent >= len(sound) - 100:
                raise KeyboardInterrupt
            part = raw(sound[self.sent : self.sent + len(buffer) // 2])
            buffer[: len(part)] = part
            self.sent += len(part) // 2
            return len(part)

    stdin = io.TextIOWrapper(io.BufferedReader(Endless(), 256))
    monkeypatch.setattr(sys, "stdin", stdin)
    capsys.readouterr()
    words = ["transcribe", str(recogniser.run), "-", "--rate", str(RATE)]
    assert main(words) == 130
    assert capsys.readouterr().out.startswith("re re")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-"], "needs --rate"),
        (["-", "{path}", "--rate", "2000"], "comes alone"),
        (["{path}", "--rate", "2000"], "leave --rate out"),
        (["-", "--rate", "1"], "--rate is 1"),
        (["{path}", "--n-best", "3", "--beams", "2"], "--n-best"),
        (["{path}", "--stream", "--n-best", "2"], "--n-best needs"),
        (["{path}", "--beams", "0"], "--beams"),
        (["{path}", "--tokens"], "--out FILE.jsonl"),
        (["{path}", "--weight", "-1"], "--weight is -1"),
        (["{path}", "--weight", "1"], "add --language-model RUN"),
        (["{path}", "--bonus", "nan"], "--bonus is nan"),
        (["{path}", "--bonus", "1"], "--bonus needs --beams of 2"),
        (["{path}", "--language-model", "memory"], "task language_model"),
        (["{path}", "--language-model", "memory", "--beams", "1"], "needs --beams"),
        (["nothing.wav"], "nothing.wav"),
        (["{path}", "{text}"], "text.wav"),
        (["{path}", "{folder}"], "irectory"),
    ],
)
def test_what_is_wrong_is_said(transcribe, paths, tmp_path, words, said):
    (tmp_path / "text.wav").write_text("not a sound")
    known = dict(path=paths[0], text=tmp_path / "text.wav", folder=tmp_path)
    import re

    found = transcribe(*[word.format(**known) for word in words], status=2)
    assert re.search(said, found), found


def test_plots_of_posteriors(transcribe, paths, recogniser, tmp_path):
    """A plot of every sound, even of none; what it shows sums to 1."""
    empty = tmp_path / "short.wav"
    soundfile.write(empty, np.zeros(3), RATE)
    given = [*paths, empty, "--posteriors"]
    assert transcribe(*given, tmp_path / "new") == transcribe(*paths, empty)
    assert len([*(tmp_path / "new").glob("*.png")]) == 4
    assert "--posteriors" in transcribe(*given, tmp_path / "new", status=2)
    said = transcribe(*given, tmp_path / "other", "--stream", status=2)
    assert "needs whole sound files" in said
    long = tmp_path / "long.wav"
    soundfile.write(long, np.zeros(RATE * 301), RATE)
    assert "301 seconds" in transcribe(long, *given[-1:], tmp_path / "x", status=2)

    run = recogniser.loaded
    found = run.task.posteriors(run.params, sounds()[0])
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
    seconds = len(sounds()[0]) / RATE
    assert len(found.features) * found.frame_seconds == pytest.approx(seconds, abs=0.05)
    assert len(found.probabilities) * found.step_seconds < seconds
    at = run.transcribe(sounds()[:1])[0].words
    for word in at:
        token = found.tokens.index(word.text)
        step = round(word.start / found.step_seconds)
        assert found.probabilities[step].argmax() == token


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A language model of the words, and of sentences that hardly say mi."""
    folder = tmp_path_factory.mktemp("language")
    (folder / "text.txt").write_text("do re re do\nre do\ndo do re\nmi\n" * 60)
    words = """
    data.tokens=words model.embed_size=8 model.hidden_size=16
    optimizer.learning_rate=0.03 train.steps=60 train.batch_size=4 train.window=16
    train.evaluate_every=30 train.checkpoint_every=30 evaluation.batch_size=2
    evaluation.context=8
    """
    given = [f"data.path={folder / 'text.txt'}", f"run.directory={folder / 'run'}"]
    (folder / "words.toml").write_text('task = "language_model"')
    given = [str(folder / "words.toml"), *given, *words.split()]
    assert main(["train", *given]) == 0
    return folder / "run"


def test_a_language_model_chooses(transcribe, paths, language):
    """Hardly heard, it changes nothing; louder than the sound, it decides alone."""
    given = [*paths, "--language-model", language]
    assert transcribe(*given, "--weight", "0.01") == transcribe(*paths)
    sure, deaf = (transcribe(*given, "--weight", w).splitlines() for w in ("0.1", "90"))
    assert sure != deaf
    assert transcribe(paths[0], "--stream", *given[-2:]) == f"{TEXTS[0]}\n"
    many = transcribe(paths[0], "--beams", "8", "--bonus", "30").split("\t")[1]
    assert len(many.split()) > len(TEXTS[0].split())


def test_a_language_model_of_other_words(transcribe, paths, tmp_path):
    from tests.tiny import write

    run = tmp_path / "run"
    assert main(["train", *write(tmp_path), f"run.directory={run}"]) == 0
    said = transcribe(paths[0], "--language-model", run, status=2)
    assert "has no token for 'do'" in said
    assert "data.tokens=words" in said


def test_another_task(transcribe, paths):
    said = transcribe(paths[0], directory="memory", status=2)
    assert "cannot transcribe" in said
    assert "task transcription" in said
