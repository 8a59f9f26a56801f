"""``lstm-jax bench``, at a size that takes no time."""

import pytest

from lstm_jax.bench import command, race
from lstm_jax.cli import main


def test_the_table(capsys, monkeypatch):
    monkeypatch.setattr(command, "PACE", race.Pace(repeats=2))
    assert main(["bench", "--shape", "2,3,4,5", "--peers", "nnx Optimized"]) == 0
    said = capsys.readouterr().out
    for mode in ("forward", "gradient"):
        table = said.split(f"B, T, D, H = 2, 3, 4, 5: {mode}")[1].split("\n\n")[0]
        first = [line.split("  ")[1].strip(" *") for line in table.splitlines()[1:]]
        assert first == ["lstm_jax", "lstm_jax scan", "nnx Optimized", "limit"]
    assert "geometric mean" in said
    assert "native kernel: " in said


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
