"""The Python of the README and of the docs runs, in order, as it stands there."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from lstm_jax import cli
from lstm_jax.commands.memory import ALL_CELLS
from lstm_jax.runs.configs import read_config
from lstm_jax.runs.shipped import read_named
from tests import tiny
from tests.tasks import labelled

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted(
    path
    for path in (ROOT / "docs").rglob("*.md")
    if not {"_build", "reference"} & {*path.relative_to(ROOT / "docs").parts}
)


def run_blocks(text):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(block, names)
    return names


def train(folder, args, name="mine"):
    """A run where the examples look for it."""
    assert cli.main(["train", *args, f"run.directory={folder / 'runs' / name}"]) == 0


def test_the_examples_run(tmp_path, monkeypatch, optax_promotion):
    train(tmp_path, [*tiny.write(tmp_path), "data.tokens=bytes"])
    monkeypatch.chdir(tmp_path)
    names = run_blocks(README)
    assert names["loss"] > 0
    assert names["ensemble_hs"].shape == (8, 7, 2, 5)
    assert names["grads"].w_h.shape == (5, 20)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.stem)
def test_the_docs_run(path, tmp_path, monkeypatch, optax_promotion, request):
    if path.name == "classification.md":
        train(tmp_path, labelled.write_series(tmp_path))
        lines = (tmp_path / "series.csv").read_text().splitlines()
        new = [line.rpartition(",")[0] for line in lines]
        (tmp_path / "NEW.csv").write_text("\n".join(new) + "\n")
    if path.name == "translation.md":
        pairs = tmp_path / "pairs.tsv"
        pairs.write_text("ein Hund\ta dog\n" * 40, encoding="utf-8")
        small = ["data.vocabulary_limit=300", "model.hidden_size=8", "train.epochs=2"]
        train(tmp_path, ["translate", f"data.path={pairs}", *small])
    if path.name == "speech.md":
        recogniser = request.getfixturevalue("recogniser")
        shutil.copytree(recogniser.run, tmp_path / "runs" / "mine")
        shutil.copy(recogniser.folder / "test" / "0.wav", tmp_path / "NEW.wav")
    if path.name == "first_hour.md":
        train(tmp_path, [*tiny.write(tmp_path), "data.tokens=bytes"], "first")
    if path.name == "deployment.md":
        train(tmp_path, [*tiny.write(tmp_path), "data.tokens=bytes"])
    monkeypatch.chdir(tmp_path)
    run_blocks(path.read_text(encoding="utf-8"))


COMMANDS = [
    line
    for text in (README, *(path.read_text(encoding="utf-8") for path in DOCS))
    for line in re.findall(r"^ *(lstm-jax .+)$", text, flags=re.MULTILINE)
    if not set(line) & set("[|")  # what a command looks like in general
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_one(line):
    _, *words = shlex.split(line.partition(" > ")[0], comments=True)
    args = cli._parse(words)
    if "config" in args and args.config != "my.toml":  # which the line before made
        config = read_config(read_named(args.config), args.overrides)
        assert config.task
    assert {*getattr(args, "cells", ())} <= {*ALL_CELLS}


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda p: p.name)
def test_every_path_it_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    for link, heading in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text):
        if link.startswith("https://"):
            continue
        target = page.parent / link if link else page
        assert target.exists(), link
        if heading:
            heads = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            assert heading in [head.lower().replace(" ", "-") for head in heads]
    for path in re.findall(r"(?<![\w/])(?:scripts|configs)/[\w./]+\w", text):
        assert (ROOT / path).exists(), path


def test_the_readme_is_short():
    assert len(README.split()) <= 900
