"""What the scripts in benchmarks/ measure is the same in every library."""

import importlib

import pytest

from benchmarks import language_model, layers
from benchmarks.stacks import Case
from lstm_jax.bench import race
from lstm_jax.bench.workers import BenchError

SCRIPTS = (
    *("unroll", "properties", "family", "packing"),
    *("layers", "language_model", "kernel", "phases"),
)
CASES = {
    "layers": Case((2, 3, 4, 5), layers=2),
    "bidirectional": Case((2, 3, 4, 5), ways=2),
    "ragged": Case((2, 3, 4, 5), ragged=True),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_says_what_it_does(script, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{script}").main(["--help"])
    assert ended.value.code == 0
    assert "--quick" in capsys.readouterr().out


@pytest.mark.parametrize("kind", CASES)
def test_layers(kind):
    values = {}
    for name in ("lstm_jax", "torch", "onnxruntime"):
        calls, (values[name], seconds, _) = layers.build(name, CASES[kind])
        assert calls.keys() == seconds.keys()
        assert ("forward full" in calls) is (kind == "ragged")
    race.check(values)
    values["torch"]["hs"] = values["torch"]["hs"][::-1]
    with pytest.raises(BenchError, match="torch differs from lstm_jax in hs"):
        race.check(values)


def test_language_model():
    sizes = language_model.Sizes(B=2, T=3, H=4, V=6)
    names = "lstm_jax", "torch"
    values = {name: language_model.build(name, sizes)[1][0] for name in names}
    race.check(values)
    leaves = 1 + 3 * language_model.LAYERS + 2
    assert {len(found) for found in values.values()} == {1 + leaves}
