"""The command line: the whole way through, and one clear line for whatever is wrong."""

import io
import itertools
import json
import os
import platform
import subprocess
import sys

import pytest

from lstm_jax.cli import main
from lstm_jax.data import corpus
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module")
def trained(optax_promotion, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    args = [*tiny.write(folder), f"run.directory={folder / 'run'}"]
    assert main(["train", *args]) == 0
    return folder / "run", args


def test_what_a_run_leaves_behind(trained):
    run, _ = trained
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "config.toml",
        "run.json",
        "metrics.jsonl",
        "checkpoints",
        "model.safetensors",
        "result-test.json",
        "loss.png",
        "learning_rate.png",
    }
    plain = run.parent / "plain"
    plain.touch()
    modes = {path.name: path.stat().st_mode for path in run.iterdir() if path.is_file()}
    assert {*modes.values()} == {plain.stat().st_mode}, "as the umask says"
    facts = json.loads((run / "run.json").read_text())
    assert sum(facts["parts"].values()) == len(tiny.TEXT)
    assert facts["versions"]["jax"]
    lines = tiny.metrics(run)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 13))
    assert [line["step"] for line in lines if "valid_loss" in line] == [6, 12]


def test_training_learns(trained):
    losses = [line["loss"] for line in tiny.metrics(trained[0]) if "loss" in line]
    assert losses[-1] < losses[0] - 0.1


def test_evaluate(trained, capsys):
    run, _ = trained
    assert main(["evaluate", str(run), "--part", "valid"]) == 0
    figures = json.loads((run / "result-valid.json").read_text())
    best = min(line["valid_loss"] for line in tiny.metrics(run) if "valid_loss" in line)
    assert figures["loss"] == best
    assert f"valid: {figures['bits_per_character']:.4f} bits" in capsys.readouterr().out


def test_generate(trained, capsys):
    def generate(*options):
        assert main(["generate", str(trained[0]), "--length", "20", *options]) == 0
        return capsys.readouterr().out

    one = generate("--prompt", "line 7", "--seed", "1")
    assert one.startswith("line 7")
    assert len(one.rstrip("\n")) >= 20
    assert one == generate("--prompt", "line 7", "--seed", "1")
    assert one != generate("--prompt", "line 7", "--seed", "2")
    cold = generate("--prompt", "line 7", "--temperature", "0")
    assert cold == generate("--prompt", "line 7", "--temperature", "0", "--seed", "3")


def test_a_prompt_from_a_file_or_standard_input(trained, tmp_path, capsys, monkeypatch):
    """A byte order mark, CRLF and the last line end are not a part of it."""
    command = ["generate", str(trained[0]), "--length", "5"]

    def generate(*options):
        assert main([*command, *options]) == 0
        return capsys.readouterr().out

    plain = generate("--prompt", "line 7\nline 8")
    (tmp_path / "prompt.txt").write_bytes(b"\xef\xbb\xbfline 7\r\nline 8\r\n")
    assert generate("--prompt-file", str(tmp_path / "prompt.txt")) == plain
    assert generate("--prompt", "line 7\r\nline 8") == plain
    stdin = io.TextIOWrapper(io.BytesIO(b"line 7\nline 8\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert generate("--prompt-file", "-") == plain
    said = refused(capsys, *command, "--prompt-file", str(tmp_path / "none.txt"))
    assert "none.txt cannot be read: No such file" in said
    (tmp_path / "latin.txt").write_bytes("déjà".encode("latin-1"))
    said = refused(capsys, *command, "--prompt-file", str(tmp_path / "latin.txt"))
    assert "not UTF-8" in said


@pytest.mark.parametrize("options", [[], ["--samples", "2"], ["--beams", "2"]])
def test_stop_strings(trained, capsys, options):
    """The prompt has them as well, which does not count."""
    command = ["generate", str(trained[0]), "--length", "60", *options]

    def generate(*more):
        assert main([*command, "--prompt", "line e", *more]) == 0
        return capsys.readouterr().out

    whole = generate()
    first = next(t for t in whole.splitlines() if t.startswith("line e"))
    stop = first[7:9] or whole[len("line e") :][:1]
    said = generate("--stop", "Q", "--stop", stop)
    cut = "line e" + whole[whole.index("line e") + 6 :].partition(stop)[0]
    assert cut + "\n" in said
    assert len(said) < len(whole)
    assert "empty" in refused(capsys, *command, "--stop", "")


def test_a_model_of_words_without_unk(trained, tmp_path, capsys):
    args = tiny.write(tmp_path)
    run = tmp_path / "run"
    more = ["data.tokens=words", "data.vocabulary_limit=12", "train.steps=1"]
    assert main(["train", *args, *more, f"run.directory={run}"]) == 0
    for options in (["--temperature", "0"], [], ["--beams", "2"], ["--samples", "2"]):
        command = ["generate", str(run), "--length", "60", *options]
        capsys.readouterr()
        assert main(command) == 0
        known = "<unk>" in capsys.readouterr().out
        assert known or "--beams" in options or "--temperature" in options
        assert main([*command, "--no-unk"]) == 0
        said = capsys.readouterr().out
        assert "<unk>" not in said
        assert len(said) > 60
    said = refused(capsys, "generate", str(trained[0]), "--no-unk")
    assert "the tokens of this model are characters, which have no <unk>" in said


def refused(capsys, *argv):
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert said.startswith("lstm-jax: ")
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("train.step=3", ["unknown key train.step", "valid:", "did you mean steps?"]),
        ("trian.steps=3", ["unknown key trian", "did you mean train?"]),
        ("learning_rate=0.1", ["rate (did you mean optimizer.learning_rate?)"]),
        ("batch_size=4", ["mean train.batch_size or evaluation.batch_size?"]),
        ("train.steps=many", ["train.steps is 'many'", "integer"]),
        ("train.steps=0", ["train.steps is 0", "greater than or equal to 1"]),
        (
            "optimizer.kind=adamm",
            ["'adamm'", "adam, adamw", "did you mean adam?"],
        ),
        ("optimizer.momentum=0.9", ["optimizer.momentum of kind 'adam'", "it: sgd"]),
        (
            "optimizer.weight_decay=0.1",
            ["unknown key optimizer.weight_decay", "that have it: adamw, lion, sgd"],
        ),
        (
            'optimizer.schedule={kind = "constant", final_fraction = 0.5}',
            ["optimizer.schedule.final_fraction of kind 'constant'", "linear, cosine"],
        ),
        ("model.output_dropout=1.5", ["model.output_dropout is 1.5", "less than 1"]),
        (
            "task=language_modle",
            ["task is 'language_modle'", "did you mean language_model?"],
        ),
        ('task=["memory"]', ["task is ['memory']", "valid: "]),
        ("optimizer.name=sgd", ["optimizer.name is now optimizer.kind"]),
        ("optimizer.schedule=linear", ["is now optimizer.schedule.kind=linear"]),
        ("optimizer.clip_norm=0", ["is now optimizer.clip_norm=none"]),
        ("optimizer.learning_rate=inf", ["learning_rate", "finite"]),
        ("model.output_dropout=nan", ["model.output_dropout", "finite"]),
        ("model={locked = true}", ["locked does nothing without"]),
        ("seed", ["'seed' is not of the form key.path=value"]),
        ("seed.a=1", ["seed"]),
    ],
)
def test_a_wrong_key_or_value(tmp_path, capsys, override, parts):
    said = refused(capsys, "train", *tiny.write(tmp_path), override)
    for part in parts:
        assert part in said


@pytest.mark.parametrize("option", [["--steps", "5"], ["--steps=5"]])
def test_an_option_that_is_a_key(capsys, option):
    with pytest.raises(SystemExit):
        main(["train", "quickstart", *option])
    assert "(did you mean train.steps=5?)" in capsys.readouterr().err


def test_a_wrong_text(tmp_path, capsys):
    config, _ = tiny.write(tmp_path)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("too short a text")
    (tmp_path / "latin.txt").write_bytes("déjà vu".encode("latin-1"))
    for name, part in [
        ("missing.txt", "cannot be read"),
        ("empty.txt", "is empty"),
        ("short.txt", "characters"),
        ("latin.txt", "not UTF-8"),
    ]:
        said = refused(capsys, "train", config, f"data.path={tmp_path / name}")
        assert part in said, said
    (tmp_path / "text.txt").write_text(tiny.TEXT[:500])
    said = refused(
        capsys,
        "train",
        config,
        f"data.path={tmp_path / 'text.txt'}",
        "train.window=200",
    )
    assert "one step takes 801" in said


def test_a_python_without_its_reference(tmp_path, capsys, monkeypatch):
    config, _ = tiny.write(tmp_path)
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert "set data.path" in refused(capsys, "train", config)


def test_a_wrong_file_or_folder(trained, tmp_path, capsys):
    run, args = trained
    assert "cannot read config" in refused(capsys, "train", "no.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    assert "not valid TOML" in refused(capsys, "train", str(tmp_path / "bad.toml"))
    assert "is not a run" in refused(capsys, "evaluate", str(tmp_path))
    assert "--resume" in refused(capsys, "train", *args)
    said = refused(capsys, "train", *args, "--resume", "model.hidden_size=9")
    assert "trained with model.hidden_size=8, not 9" in said
    (run.parent / "text.txt").write_text(tiny.TEXT + "more")
    try:
        said = refused(capsys, "train", *args, "--resume")
    finally:
        (run.parent / "text.txt").write_text(tiny.TEXT)
    assert "the text is not the one" in said


def test_the_reference_of_another_python(tmp_path, capsys, monkeypatch):
    config, _ = tiny.write(tmp_path)
    run = tmp_path / "run"
    args = [config, f"run.directory={run}", "train.steps=2"]
    monkeypatch.setattr(corpus, "python_reference", lambda: tiny.TEXT)
    assert main(["train", *args]) == 0
    capsys.readouterr()
    monkeypatch.setattr(corpus, "python_reference", lambda: tiny.TEXT + "more")
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    python = json.loads((run / "run.json").read_text())["python"]
    said = refused(capsys, "train", *args, "--resume")
    assert "the language reference of Python 3.99.0 is not the one" in said
    assert f"use Python {python} again, rename or remove {run}" in said


@pytest.mark.parametrize("writes", [0, 1])
def test_a_start_that_was_cut_short_can_be_made_again(
    tmp_path, capsys, monkeypatch, writes
):
    """Killed after so many files, the folder is no run and stands in nobody's way."""
    run = tmp_path / "run"
    args = [*tiny.write(tmp_path), f"run.directory={run}", "train.steps=1"]

    rename, count = os.replace, itertools.count()

    def replace(*names):
        if next(count) == writes:
            raise KeyboardInterrupt
        rename(*names)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        assert main(["train", *args]) == 130
    assert "is not a run" in refused(capsys, "train", *args, "--resume")
    assert main(["train", *args]) == 0
    assert {path.suffix for path in run.iterdir()}.isdisjoint({".tmp"})


def test_a_folder_with_something_else_is_left_alone(tmp_path, capsys):
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path}"]
    assert "already holds a run" in refused(capsys, "train", *args)


def test_an_unknown_character_in_a_prompt(trained, capsys):
    said = refused(capsys, "generate", str(trained[0]), "--prompt", "naïve")
    assert "does not have" in said


def test_wrong_arguments_end_without_a_traceback():
    command = [sys.executable, "-m", "lstm_jax.cli", "generate", "run", "--length", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--length" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_who_has_seen_enough():
    """As in ``lstm-jax config --schema | head -1``."""
    command = [sys.executable, "-m", "lstm_jax.cli", "config", "--schema"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""
