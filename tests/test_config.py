"""Configs: every file loads, what is dumped is what is read, overrides are TOML."""

from pathlib import Path

import pytest

from lstm_jax.config import build, dump, override, read
from lstm_jax.tasks import TASKS

FILES = sorted((Path(__file__).parent.parent / "configs").rglob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_config_file_loads(path, tmp_path):
    values = read(path)
    kind, _ = TASKS[values["task"]]
    config = build(kind, values)
    (tmp_path / "copy.toml").write_text(dump(config))
    assert build(kind, read(tmp_path / "copy.toml")) == config


def test_overrides_are_toml_and_bare_words_are_text():
    values = override(
        {"a": {"b": 1, "c": 2}},
        ["a.b=2.5", "d.e.f=true", "g=some/path.txt", 'h="x y"', "a.i=1_000"],
    )
    assert values == {
        "a": {"b": 2.5, "c": 2, "i": 1000},
        "d": {"e": {"f": True}},
        "g": "some/path.txt",
        "h": "x y",
    }


def test_strings_survive_the_file(tmp_path):
    kind, _ = TASKS["language_model"]
    config = build(kind, {"data": {"path": 'a "b" \\ c\n\té\x7f'}})
    (tmp_path / "copy.toml").write_text(dump(config), encoding="utf-8")
    assert build(kind, read(tmp_path / "copy.toml")) == config
