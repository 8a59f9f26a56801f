"""The short examples, at sizes that take seconds."""

import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "examples"
LONGER = {"silero_vad.py", "translate_onnx.py"}


@pytest.fixture(autouse=True, scope="module")
def as_users_run_them():
    """The examples rely on JAX's own promotion of dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def example(name):
    spec = importlib.util.spec_from_file_location(
        f"examples_{name}", FOLDER / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SHORT = sorted(path for path in FOLDER.glob("*.py") if path.name not in LONGER)


@pytest.mark.parametrize("path", SHORT, ids=lambda path: path.stem)
def test_is_short_and_listed(path):
    assert len(path.read_text().splitlines()) < 120
    listed = (FOLDER.parent / "docs" / "examples.md").read_text()
    assert f"examples/{path.name}" in listed


def test_pure_functions_solve_the_adding_problem():
    found = example("pure_functions").main(steps=250, length=6, hidden_size=16)
    assert found["after"] < 0.2 * found["guess"] < found["before"]
    assert found["steps_differ"] < 1e-5


@pytest.mark.parametrize("memory", [True, False])
def test_the_actor_learns_from_what_it_saw_in_the_rollout(memory):
    actor = example("actor_critic")
    key = jax.random.key(0)
    w = jax.random.normal(key, (8, 3))
    params = {"lstm": actor.init_lstm(key, 2, 8), "w": w}
    begin = actor.start(key, 8, 8)
    _, steps = actor.rollout(params, begin, key, 80, memory)
    assert steps.done.any(axis=0).all()  # every row has a second episode

    def log_p(**other):
        seen = steps._replace(**other)
        found = actor.agent(params, begin[2], seen.seen, seen.resets)[1]
        return (found * steps.action).sum(-1)

    np.testing.assert_allclose(log_p(), steps.log_p, atol=1e-5)
    forgotten = log_p(resets=jnp.zeros_like(steps.resets))
    assert abs(forgotten - steps.log_p).max() > 1e-2
    first = jnp.concatenate([jnp.ones((1, 8), bool), steps.done[:-1]])
    np.testing.assert_array_equal(steps.resets, first if memory else True)


def test_advantages_are_sums_of_discounted_errors_within_an_episode():
    actor = example("actor_critic")
    rng = np.random.default_rng(0)
    value, last = rng.normal(size=(6, 2)), rng.normal(size=(1, 2))
    done = rng.random((6, 2)) < 0.3
    assert done.any()
    steps = actor.Steps(*[None] * 4, jnp.asarray(value), jnp.asarray(done))
    found = actor.advantages(steps, jnp.asarray(last))
    following = np.concatenate([value[1:], last])
    for row in range(2):
        for t in range(6):
            total, weight = 0.0, 1.0
            for s in range(t, 6):
                on = not done[s, row]
                ahead = 0.98 * on * following[s, row]
                total += weight * (0.02 + ahead - value[s, row])
                weight *= 0.98 * 0.9 * on
            np.testing.assert_allclose(found[t, row], total, rtol=1e-4, atol=1e-6)


def test_the_actor_keeps_the_pole_up_for_longer():
    found = example("actor_critic").main(updates=25, rows=16, hidden_size=16)
    before, after = found["with memory"]
    assert after > 1.3 * before
    assert found["without"][0] == before  # untrained, both act at random


def test_maml_has_the_second_order_term():
    found = example("maml").main(steps=60, hidden_size=8, test_tasks=64)
    assert found["hvp"] < 1e-7
    assert found["meta"] < 1e-7
    assert found["after"] < 0.9 * found["before"]


def test_an_ensemble_disagrees_off_its_training_data():
    found = example("ensemble").main(members=3, steps=150, hidden_size=16)
    trained, other = found["trained"], found["other"]
    assert trained["spread"] > 1e-3
    assert other["spread"] > 1.7 * trained["spread"]
    assert trained["member"] < 0.4  # the values themselves have 0.7
    for at in (trained, other):
        exact = at["spread"] ** 2 + at["mean"] ** 2
        np.testing.assert_allclose(at["member"] ** 2, exact, rtol=1e-3)


def test_a_learned_optimizer_beats_sgd():
    found = example("learned_optimizer").main(epochs=40, horizon=40, count=64)
    assert found["LSTM"] < found["SGD"]


def test_a_learned_optimizer_works_on_every_coordinate_alone():
    learner = example("learned_optimizer")
    keys = jax.random.split(jax.random.key(0), 3)
    params = learner.Params(learner.init_lstm(keys[0], 1, 4), jnp.ones(4))
    grads = jax.random.normal(keys[1], (2, 3, learner.SIZE))
    order = jax.random.permutation(keys[2], learner.SIZE)

    def updates(grads):
        _, carry = learner.begin(params, 3)
        for each in grads:
            carry, update = learner.learned(params, carry, each)
        return update

    found = updates(grads)
    np.testing.assert_allclose(updates(grads[..., order]), found[..., order], atol=1e-6)
    other = updates(grads.at[0].set(0.0))
    assert (abs(other - found) > 1e-6).all()  # each remembers its first gradient


def test_anomalies_are_found_and_streaming_is_exact():
    found = example("anomaly").main(steps=120, hidden_size=16, length=500, anomalies=10)
    assert found["precision"] >= 0.8
    assert found["recall"] >= 0.6
    assert found["differ"] < 1e-5


def test_forecasts_of_carbon_dioxide_beat_last_year():
    found = example("forecast_package_data").main(steps=120, hidden_size=16)
    assert found["mase"] < 0.8 * found["seasonal_naive_mase"]
    assert abs(found["forecast"] - found["truth"]).mean() < 1.5  # ppm


def test_the_forecast_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    monkeypatch.setitem(sys.modules, "statsmodels.datasets", None)
    with pytest.raises(SystemExit) as stopped:
        example("forecast_package_data").main()
    assert stopped.value.code == 2
    assert "pip install statsmodels" in capsys.readouterr().err
