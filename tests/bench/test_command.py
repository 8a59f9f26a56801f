"""``lstm-jax bench``, at a size that takes no time."""

import json

import jsonschema
import pytest

from lstm_jax.bench import command, one_layer, race
from lstm_jax.cli import main

CASE = ["bench", "--shape", "2,3,4,5", "--peers", "nnx Optimized"]


@pytest.fixture(scope="module")
def measured():
    """The rows of one small run, for both ways to print them."""
    shape, peers = (2, 3, 4, 5), ("nnx Optimized",)
    pace = race.Pace(repeats=2)
    return [*one_layer.rows_of([shape], peers, pace, command.WAYS)]


def test_the_table(measured, capsys, monkeypatch):
    monkeypatch.setattr(one_layer, "rows_of", lambda *given: measured)
    assert main(CASE) == 0
    said = capsys.readouterr().out
    for mode in ("forward", "gradient"):
        table = said.split(f"B, T, D, H = 2, 3, 4, 5: {mode}")[1].split("\n\n")[0]
        first = [line.split("  ")[1].strip(" *") for line in table.splitlines()[1:]]
        assert first == ["lstm_jax", "lstm_jax scan", "nnx Optimized", "limit"]
    assert "geometric mean" in said
    assert "native kernel: " in said


def test_json_fits_its_schema(measured, capsys, monkeypatch):
    monkeypatch.setattr(one_layer, "rows_of", lambda *given: measured)
    assert main([*CASE, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["bench", "--schema"]) == 0
    jsonschema.validate(found, json.loads(capsys.readouterr().out))
    forward, gradient = found["rows"]
    assert (forward["mode"], gradient["mode"]) == ("forward", "gradient")
    assert forward["shape"] == [2, 3, 4, 5]
    assert forward["best_jax_peer"] == "nnx Optimized"
    ours, theirs = (forward["libraries"][n] for n in ("lstm_jax", "nnx Optimized"))
    assert ours["ratio"] == dict(median=1, low=1, high=1)
    assert theirs["ratio"]["low"] <= theirs["ratio"]["high"]
    assert found["environment"]["versions"]["jax"]


@pytest.mark.parametrize(
    ("argument", "value", "part"),
    [
        ("--shape", "2,3,4", "four numbers from 1 up"),
        ("--shape", "2,3,0,5", "four numbers from 1 up"),
        ("--shape", "2,3,x,5", "four numbers from 1 up"),
        ("--peers", "torhc", "did you mean 'torch'?"),
    ],
)
def test_wrong_arguments(capsys, argument, value, part):
    with pytest.raises(SystemExit) as ended:
        main(["bench", argument, value])
    assert ended.value.code == 2
    assert part in capsys.readouterr().err
