"""The loop around a block that only counts: what it records, and what it says."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.training import trainer
from lstm_jax.training.batches import DeviceBatches
from lstm_jax.training.hooks import Evaluate, Log, Progress, Save, explain
from lstm_jax.training.optimizer import Adam
from lstm_jax.training.progress import ProgressReport
from lstm_jax.training.run_folder import Run
from lstm_jax.training.step import Controls, TrainState
from lstm_jax.training.trainer import Diverged, TrainConfig, Trainer
from lstm_jax.training.validation import Rules, Validation
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")

STEPS = 3000


class Late:
    """An array that is there when it is asked for, as those of a device are."""

    def __init__(self, array, arrives):
        self.array, self.arrives = array, arrives

    def __array__(self, dtype=None, copy=None):
        self.arrives()
        return self.array


def run_loop(
    folder,
    schedule,
    start=0,
    block=50,
    loss=0.0,
    last_step=None,
    every=10**6,
    rules=None,
    watch=lambda n: None,
    seeds=1,
    lost=None,
    weights=None,
    evaluate=lambda params: {"loss": 1.0},
    save=lambda *args: None,
):
    """Metrics of a loop from ``start`` to ``STEPS``, every loss being ``loss``: of each
    step where it is an array."""

    def count(state, data, n):
        now = np.zeros((block, seeds))
        at = int(state.step)
        now[:n] = loss[at : at + n] if np.ndim(loss) else loss
        pairs = np.stack([now, np.ones_like(now)], -1)
        losses = Late(pairs if seeds > 1 else pairs[:, 0], lambda: watch(n))
        return state._replace(step=state.step + n), {"loss": losses}

    shape = (seeds,) if seeds > 1 else ()
    weights = np.arange(seeds) if weights is None else np.array(weights)
    params, zero = {"w": jnp.array(weights.reshape(*shape, 1))}, jnp.zeros(shape)
    state = TrainState(params, (), (), (), Controls(zero, zero), jnp.array(start), zero)
    run, validation = tiny.new_run(folder), Validation(rules or Rules(), seeds)
    steps = [last_step] if last_step else []
    checkpoints = SimpleNamespace(steps=steps, save=save, wait=lambda: None)
    config = TrainConfig(steps=STEPS, block=block, evaluate_every=every, seeds=seeds)
    report = ProgressReport(STEPS, start, 1)
    evaluation = Evaluate(every, evaluate, run, validation)
    hooks = [Log(run, schedule, validation), evaluation]
    hooks += [Save(200, run, checkpoints, evaluation), Progress(report)]
    batches = DeviceBatches(None, None)
    options = dict(say=report.say, lost=lost)
    try:
        Trainer(count, batches, state, config, hooks, **options).fit()
    except Diverged as error:
        raise explain(error, checkpoints) from None
    return [m for m in tiny.metrics(folder) if "loss" in m]


def test_a_seed_that_is_not_finite_ends_alone(tmp_path, capsys):
    losses = np.ones((STEPS, 3))
    losses[700:, 1] = np.nan
    losses[900:, 0] = np.inf
    schedule = Adam().learning_rates(STEPS)
    lines = run_loop(tmp_path / "run", schedule, loss=losses, every=800, seeds=3)
    said = capsys.readouterr().out
    assert "seed+1 diverged: loss is nan at step 701." in said
    assert "seed+0 diverged: loss is inf at step 901." in said
    assert [line["losses"] for line in lines[699:701]] == [[1.0] * 3, [1.0, None, 1.0]]
    assert lines[-1]["step"] == STEPS
    assert {line["loss"] for line in lines} == {1.0}
    valid = Run(tmp_path / "run").evaluations()
    assert [m["valid_loss_each"] for m in valid[:2]] == [[1, None, 1], [None, None, 1]]
    losses[2010:, 2] = np.nan
    with pytest.raises(Diverged, match="loss is nan at step 2,011; "):
        run_loop(tmp_path / "all", schedule, loss=losses, seeds=3)
    assert Run(tmp_path / "all").metrics()[-1]["step"] == 2010, "what led to it"


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
def test_learning_rates_do_not_depend_on_blocks(tmp_path, name):
    schedule = {"kind": name, "warmup_steps": 200}
    config = tiny.optimizer({"schedule": schedule})
    schedule, calls = config.learning_rates(STEPS), []

    def counted(step):
        calls.append(step)
        return schedule(step)

    whole = run_loop(tmp_path / "whole", counted)
    assert len(calls) < 10, "a call for every step"
    assert [m["step"] for m in whole] == list(range(1, STEPS + 1))
    single = [float(schedule(step)) for step in range(0, STEPS, 7)]
    rates = [m["learning_rate"] for m in whole[::7]]
    np.testing.assert_allclose(rates, single, rtol=1e-5, atol=1e-9)
    assert run_loop(tmp_path / "cut", schedule, start=1021, block=1) == whole[1021:]


@pytest.mark.parametrize(
    ("last_step", "said"),
    [(None, "there is no checkpoint yet"), (400, "is kept, that of step 400")],
)
def test_what_is_left_after_a_loss_that_is_not_finite(tmp_path, last_step, said):
    schedule = Adam().learning_rates(STEPS)
    with pytest.raises(Diverged, match="loss is nan at step 501; ") as error:
        run_loop(tmp_path / "run", schedule, 500, loss=np.nan, last_step=last_step)
    assert said in str(error.value)


def test_patience_ends_a_run(tmp_path):
    schedule = Adam().learning_rates(STEPS)
    lines = run_loop(tmp_path / "run", schedule, every=100, rules=Rules(patience=3))
    assert lines[-1]["step"] == 400, "the first evaluation and three that are no better"


@pytest.mark.parametrize(("seconds", "most"), [(1e-3, 50), (0.3, 3), (40.0, 1)])
def test_a_request_to_stop_waits_for_little(tmp_path, monkeypatch, seconds, most):
    """Blocks have as many steps as a second allows, by a clock that steps move."""
    clock, sizes = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(trainer.time, "monotonic", lambda: clock.now)

    def watch(n):
        sizes.append(n)
        clock.now += seconds * n

    schedule = Adam().learning_rates(STEPS)
    run_loop(tmp_path / "run", schedule, start=STEPS - 200, watch=watch)
    assert sum(sizes) == 200
    assert sizes[0] == 1, "how long a step takes is not known yet"
    assert max(sizes) == most


def test_a_seed_that_is_over_stays_over(tmp_path):
    """Also where its loss is finite again, and where the run was stopped since."""
    losses, saved = np.ones((STEPS, 2)), []
    losses[700, 1] = np.inf
    schedule = Adam().learning_rates(STEPS)
    options = dict(loss=losses, every=800, seeds=2)
    save = lambda state, best, facts: saved.append(facts["lost"])
    whole = run_loop(tmp_path / "whole", schedule, save=save, **options)
    assert (saved[0], saved[-1]) == ([0, 0], [0, 701])
    assert whole[701]["losses"] == [1.0, None]
    lost = dict(start=1000, lost=saved[-1])
    assert run_loop(tmp_path / "cut", schedule, **lost, **options) == whole[1000:]
    valid = Run(tmp_path / "cut").evaluations()
    assert [m["valid_loss_each"] for m in valid] == [[1.0, None]] * 3


def test_other_ways_not_to_be_finite(tmp_path, capsys):
    schedule = Adam().learning_rates(STEPS)
    second = lambda params: {"loss": np.nan if params["w"][0] == 1 else 1.0}
    run_loop(tmp_path / "a", schedule, evaluate=second, start=STEPS - 1, seeds=2)
    run_loop(tmp_path / "b", schedule, weights=[0, np.nan], start=STEPS - 1, seeds=2)
    said = capsys.readouterr().out
    assert "seed+1 diverged: validation loss is nan at step 3,000." in said
    assert "seed+1 diverged: a parameter is not finite at step 3,000." in said
    with pytest.raises(Diverged, match="a parameter is not finite at step 3,000; "):
        run_loop(tmp_path / "c", schedule, weights=[np.inf], start=STEPS - 1)


@pytest.mark.parametrize("every", [200, 10**6], ids=["evaluated", "not evaluated"])
def test_what_patience_has_ended_has_its_best(tmp_path, every, capsys):
    """The first seed gets no better and then breaks; the second gets better, and breaks
    after it: the run has come to its end with the best of both."""
    figures = iter([1.0, 1.0, 1.0, 0.9, 1.0, 0.8, 1.0, 0.7, np.nan, 0.6])
    losses = np.ones((STEPS, 2))
    losses[700:, 0] = np.nan
    losses[1100:, 1] = np.nan
    schedule = Adam().learning_rates(STEPS)
    options = dict(loss=losses, every=every, rules=Rules(patience=2), seeds=2)
    if every > STEPS:  # no patience has ended anything
        with pytest.raises(Diverged, match="loss is nan at step 1,101; "):
            run_loop(tmp_path / "run", schedule, **options)
        return
    evaluate = lambda params: {"loss": next(figures)}
    lines = run_loop(tmp_path / "run", schedule, evaluate=evaluate, **options)
    assert "seed+1 diverged: loss is nan at step 1,101." in capsys.readouterr().out
    assert lines[-1] == lines[699] | {"step": 1100, "losses": [None, 1.0]} | {
        "learning_rate": lines[-1]["learning_rate"]
    }
    valid = [m["valid_loss_each"] for m in Run(tmp_path / "run").evaluations()]
    assert valid == [[1.0, 1.0], [1.0, 0.9], [1.0, 0.8], [1.0, 0.7], [None, 0.6]]
