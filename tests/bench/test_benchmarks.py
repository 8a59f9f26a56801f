"""What the scripts in benchmarks/ measure is the same in every library."""

import dataclasses
import importlib

import jax
import numpy as np
import optax
import pytest

from benchmarks import awd, engine, language_model, layers, scaling_model
from benchmarks.stacks import Case
from lstm_jax.bench import race
from lstm_jax.bench.workers import BenchError
from lstm_jax.config import read
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.runs.train import first_params
from tests import tiny

SCRIPTS = (
    *("unroll", "properties", "family", "packing"),
    *("layers", "language_model", "kernel", "phases", "large_text"),
    *("scaling_model", "newton"),
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


def test_the_engine_is_timed_with_batches_of_both_kinds(tmp_path, optax_promotion):
    tasks = {
        "device": engine.text_task(["model.hidden_size=4", "train.block=2"], 5),
        "host": engine.host_task(tmp_path, 5, images=800),
    }
    for kind, task in tasks.items():
        found = engine.measure(task, repeats=1)
        assert found["steps"] == 5, kind
        assert min(found["steps_per_second"].values()) > 0
        case = engine.prepare(task)
        numbers = [at for first, _, n in case.taken for at in range(first, first + n)]
        assert numbers == [*range(5)], kind


def test_language_model():
    sizes = language_model.Sizes(B=2, T=3, H=4, V=6)
    names = "lstm_jax", "torch"
    values = {name: language_model.build(name, sizes)[1][0] for name in names}
    race.check(values)
    leaves = 1 + 3 * language_model.LAYERS + 2
    assert {len(found) for found in values.values()} == {1 + leaves}


def test_language_models_stay_together():
    """Each step of a turn has a window of its own, the same for everyone."""
    sizes = language_model.Sizes(B=2, T=3, H=4, V=6, clip=0.05, windows=3)
    weights, windows = language_model.example(sizes)
    losses = [
        [float(model.step()) for _ in range(2 * sizes.windows)]
        for model in (
            make(weights, windows, 0.05) for make in language_model.MODELS.values()
        )
    ]
    assert len(set(losses[0])) == 2 * sizes.windows
    for found in losses[1:]:
        np.testing.assert_allclose(found, losses[0], rtol=1e-5)


RATES = (
    *("model.input_dropout", "model.dropout", "model.output_dropout"),
    *("model.embedding_dropout", "model.weight_drop"),
)


def awd_task(folder, rates):
    """The recipe of AWD-LSTM for a model and a text that are tiny."""
    _, path = tiny.write(folder)
    sizes = (
        "embed_size=4",
        "hidden_size=[6,5,4]",
        f"locked={str(any(rates[:3])).lower()}",
    )
    changes = [path, *(f"model.{size}" for size in sizes)]
    changes += [f"{name}={rate}" for name, rate in zip(RATES, rates, strict=True)]
    changes += ["train.batch_size=2", "train.window=200", "optimizer.learning_rate=3"]
    return make_task(read_config(read(awd.CONFIG), changes))


def test_awd_is_our_model_and_our_rule(tmp_path):
    task = awd_task(tmp_path, [0.0] * 5)
    ((theirs, loss, _),) = awd.train(task, 1)
    rule = task.config.optimizer
    change = optax.chain(
        optax.clip_by_global_norm(rule.clip_norm),
        optax.add_decayed_weights(rule.weight_decay),
        optax.sgd(rule.learning_rate),
    )
    params, carry = first_params(task, task.config.seed)[0], task.init_carry()
    batches, key = task.batches(), jax.random.key(0)
    state, losses = change.init(params), []
    for step in range(batches.steps_per_epoch):
        data, _ = batches.take(step, 1)
        batch, carry = batches.at(data, carry, step, key)
        loss_of = jax.value_and_grad(task.loss, has_aux=True)
        (now, aux), grads = loss_of(params, carry, batch, key)
        carry = aux.carry
        updates, state = change.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        losses.append(now)
    assert len(losses) >= 3
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)
    jax.tree.map(close, params, theirs)


@pytest.mark.parametrize("rate", range(5))
def test_awd_drops_what_the_config_says(tmp_path, rate):
    rates = [0.0] * 5
    without = next(awd.train(awd_task(tmp_path, rates), 1))[1]
    rates[rate] = 0.5
    dropped = next(awd.train(awd_task(tmp_path, rates), 1))[1]
    assert 1e-6 < abs(dropped - without) < 0.1 * without


SCALED = """
task = "language_model"
[data]
tokens = "words"
[model]
embed_size = 8
hidden_size = [16, 8]
tied = true
[optimizer]
kind = "sgd"
[train]
steps = 2
batch_size = 16
window = 8
block = 2
"""


@pytest.mark.parametrize("sharded", [False, True])
def test_the_bytes_of_the_scaling_model_are_compiled(
    sharded, tmp_path, optax_promotion
):
    """On 8 simulated devices."""
    (tmp_path / "text.txt").write_text(" ".join(f"w{n % 126}" for n in range(3000)))
    (tmp_path / "small.toml").write_text(SCALED)
    where = f"data.path={tmp_path / 'text.txt'}", "parallel.data=8"
    changes = [*where, f"parallel.shard_parameters={str(sharded).lower()}"]
    config = read_config(read(tmp_path / "small.toml"), changes)
    program = scaling_model.compile_step(config).as_text()
    sent = scaling_model.collectives(program, 8)
    model = scaling_model.Model.of("small", config, 128, 8)
    found = scaling_model.compare(model, sent, sharded)
    assert found["with_loops"] >= sum(found["found"].values())
    larger = dataclasses.replace(model, vocabulary=256)
    with pytest.raises(SystemExit, match="expected"):
        scaling_model.compare(larger, sent, sharded)


@pytest.mark.parametrize("sharded", [False, True])
def test_the_scaling_model_hides_no_more_than_there_is(sharded):
    """Overlap makes a step shorter, but not as short as without communication."""
    layers = scaling_model.Layer(512, 512), scaling_model.Layer(512, 512)
    model = scaling_model.Model("small", layers, 9999, 512, False, 32, 64, 2)
    machine = scaling_model.ACCELERATORS[1]
    at_once, hidden = (
        scaling_model.step(model, machine, 64, sharded, overlap)
        for overlap in (False, True)
    )
    alone = scaling_model.alone(model, machine)
    assert alone == scaling_model.step(model, machine, 1, sharded, True)
    assert alone < hidden < at_once
