"""Configs: every file loads, what is dumped is what is read, overrides are TOML."""

import datetime
from pathlib import Path

import pytest

from lstm_jax.config import ConfigError, build, dump, override, read
from lstm_jax.runs.configs import read_config
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


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("123", "123"),
        ("1e3", "1e3"),
        ("true", "true"),
        ("2024-01-01", "2024-01-01"),
        ("1979-05-27T07:32:00Z", "1979-05-27T07:32:00Z"),
        ("[x]", "[x]"),
        ('""', ""),
        ('"a b"', "a b"),
        ("'a b'", "a b"),
        ('"a', '"a'),
        ("~/x", "HOME/x"),
        ("~", "HOME"),
        ("./~x", "./~x"),
    ],
)
def test_a_text_key_takes_the_text_as_it_stands(word, value, monkeypatch):
    monkeypatch.setenv("HOME", "HOME")
    overrides = [f"data.path={word}", f"run.directory={word}"]
    config = read_config({"task": "language_model"}, overrides)
    assert (config.data.path, config.run.directory) == (value, value)


def test_a_text_key_of_a_section_of_several_kinds():
    values = {"task": "classification", "data": {"kind": "series"}}
    config = read_config(values, ["data.id=1", "data.label=True", "data.train=~"])
    assert (config.data.id, config.data.label) == ("1", "True")
    assert config.data.train == str(Path.home())


def test_the_home_folder_in_a_file(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    values = {"task": "language_model", "data": {"path": "~/text.txt"}}
    config = read_config(values)
    assert config.data.path == "/home/me/text.txt"
    assert 'path = "/home/me/text.txt"' in dump(config)


def test_a_switch_is_true_however_it_is_spelled():
    for word in ("true", "True", "TRUE"):
        config = read_config({"task": "memory"}, [f"train.tensorboard={word}"])
        assert config.train.tensorboard is True


@pytest.mark.parametrize(
    ("values", "overrides", "says"),
    [
        ({"data": {"path": 123}}, [], 'write it in quotes: "123"'),
        ({"data": {"path": datetime.date(2024, 1, 2)}}, [], "data.path is the date"),
        ({}, ["train.steps=2024-01-02"], "train.steps is the date or time 2024-01-02"),
        ({}, ["train.steps=1e3"], "should be a valid integer; write 1000."),
        ({}, ["train.tensorboard=yes"], "write true or false"),
        ({}, ["data.path=~no-such-user/x"], "there is no user no-such-user"),
        (
            {},
            ["data.path=caf\udce9.txt"],
            "data.path is 'caf\\udce9.txt', which is not",
        ),
    ],
)
def test_what_was_meant_is_said(values, overrides, says):
    with pytest.raises(ConfigError) as raised:
        read_config({"task": "language_model"} | values, overrides)
    assert says in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 200


def test_a_file_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.toml").write_bytes(b'\xef\xbb\xbftask = "memory"\r\n')
    assert read(tmp_path / "a.toml") == {"task": "memory"}
