"""Update rules, schedules and averages, against the formulas written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.config import ConfigError
from lstm_jax.training.metrics import Aux
from lstm_jax.training.step import init_state, make_block, set_controls
from lstm_jax.training.validation import Rules, Validation
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")

P = np.array([0.5, -0.3, 0.2])
TARGETS = np.random.default_rng(0).normal(size=(12, 3))
"""The loss of step t is half the squared distance of the parameters from row t."""
CONSTANT, LINEAR = {"kind": "constant"}, {"kind": "linear"}


def loss(params, carry, batch, key):
    del key
    return 0.5 * ((params["p"] - batch) ** 2).sum(), Aux(carry)


def batch_at(data, carry, step, key):
    del key
    return jax.lax.dynamic_index_in_dim(data, step, keepdims=False), carry


def trained(steps, values, controls=(), epoch=1):
    """The state after every step; ``controls`` are what validation says before it."""
    config = tiny.optimizer({"schedule": CONSTANT, "clip_norm": None} | values)
    optimizer, averaging = config.build(steps, epoch), config.averaging()
    block = make_block(loss, optimizer, batch_at, 1, averaging=averaging)
    params = {"p": jnp.asarray(P, jnp.float32)}
    state, states = init_state(params, (), optimizer, jax.random.key(0), averaging), []
    for t in range(steps):
        if controls:
            state = set_controls(state, *map(np.array, controls[t]))
        state, _ = block(state, jnp.asarray(TARGETS, jnp.float32), 1)
        states.append(jax.tree.map(np.array, (state.params, state.average)))
    return states


def path(states):
    return np.array([params["p"] for params, _ in states])


def descent(steps, rate, gradient=lambda p, t: p - TARGETS[t]):
    p, out = P, []
    for t in range(steps):
        p = p - (rate(t) if callable(rate) else rate) * gradient(p, t)
        out.append(p)
    return np.array(out)


def check(states, expected):
    np.testing.assert_allclose(path(states), expected, rtol=1e-5, atol=1e-6)


def test_sgd_with_weight_decay():
    states = trained(5, dict(kind="sgd", learning_rate=0.1, weight_decay=0.2))
    check(states, descent(5, 0.1, lambda p, t: p - TARGETS[t] + 0.2 * p))


def test_lion():
    """The sign of a mix of momentum and gradient (Chen et al. 2023, algorithm 2)."""
    m = np.zeros(3)

    def gradient(p, t):
        nonlocal m
        g = p - TARGETS[t]
        update = np.sign(0.8 * m + 0.2 * g) + 0.3 * p
        m = 0.99 * m + 0.01 * g
        return update

    values = dict(kind="lion", learning_rate=0.1, weight_decay=0.3, beta1=0.8)
    check(trained(6, values), descent(6, 0.1, gradient))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam(name):
    m = v = np.zeros(3)

    def gradient(p, t):
        nonlocal m, v
        g = p - TARGETS[t]
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
        step = m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.95 ** (t + 1))) + 1e-8)
        return step + (0.1 * p if name == "adamw" else 0)

    values = dict(kind=name, learning_rate=0.01, beta2=0.95)
    values |= {"weight_decay": 0.1} if name == "adamw" else {}
    check(trained(6, values), descent(6, 0.01, gradient))


def test_clipping_by_value_comes_before_the_norm():
    def gradient(p, t):
        g = np.clip(p - TARGETS[t], -0.4, 0.4)
        return g * min(1, 0.5 / np.linalg.norm(g))

    values = dict(kind="sgd", learning_rate=0.1, clip_value=0.4, clip_norm=0.5)
    check(trained(6, values), descent(6, 0.1, gradient))


def test_decay_by_epoch():
    """As in the code of Zaremba et al. 2014: halved before epochs after so many."""
    values = dict(kind="sgd", learning_rate=1.0)
    values |= dict(schedule=dict(kind="epochs", decay=0.5, after=2))
    rate = lambda t: 1.0 * 0.5 ** max(t // 3 + 1 - 2, 0)
    assert [rate(t) for t in (0, 5, 6, 8, 9)] == [1, 1, 0.5, 0.5, 0.25]
    check(trained(12, values, epoch=3), descent(12, rate))


def test_what_validation_says_scales_the_learning_rate():
    factors = [1, 1, 0.5, 0.5, 0.25]
    states = trained(
        5, dict(kind="sgd", learning_rate=0.2), [(f, False) for f in factors]
    )
    check(states, descent(5, lambda t: 0.2 * factors[t]))


def test_accumulated_gradients_make_one_update_of_their_mean():
    values = dict(kind="sgd", learning_rate=0.2, accumulate=3, schedule=LINEAR)
    states = trained(6, values)
    p, expected = P, []
    for k in range(2):
        mean = np.mean([p - TARGETS[t] for t in range(3 * k, 3 * k + 3)], axis=0)
        expected += [p, p]
        p = p - 0.2 * (1 - (3 * k + 2) / 6) * mean
        expected.append(p)
    check(states, expected)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_what_a_schedule_comes_to(name):
    """Warm-up rises from the first step on and is as long as it says; the last step has
    the rate that is asked for, and with none a rate above 0."""
    schedule = dict(kind=name, warmup_steps=4)
    values = dict(schedule=schedule, learning_rate=0.5)
    rate = lambda config, n, steps: float(config.learning_rates(steps)(n))
    ending = {"schedule": schedule | {"final_fraction": 0.01}}
    ends = tiny.optimizer(values | ending)
    for steps in (5, 10, 100):
        assert rate(ends, steps - 1, steps) == pytest.approx(
            0.005 if steps > 5 else 0.5
        )
    to_zero = tiny.optimizer(values)
    assert 0 < rate(to_zero, 99, 100) < 0.01
    for config in (ends, to_zero):
        rising = [rate(config, n, 100) for n in range(5)]
        np.testing.assert_allclose(rising, [0.1, 0.2, 0.3, 0.4, 0.5], rtol=1e-6)


def test_a_warm_up_is_that_of_a_longer_run():
    schedule = dict(kind="constant", warmup_steps=100)
    values = dict(schedule=schedule, learning_rate=0.01)
    config = tiny.optimizer(values)
    short, long = (
        np.asarray(config.learning_rates(n)(np.arange(50))) for n in (50, 120)
    )
    np.testing.assert_array_equal(short, long)
    assert (np.diff(long) > 0).all()


def test_the_rate_that_is_logged_is_applied():
    values = dict(kind="sgd", learning_rate=0.2, accumulate=3, schedule=LINEAR)
    config = tiny.optimizer(values | {"clip_norm": None})
    logged = [float(config.applied_rates(6)(n)) for n in range(6)]
    states, before, found = trained(6, values), P, []
    for t, params in enumerate(path(states)):
        if t % 3 == 2:
            mean = np.mean([before - TARGETS[n] for n in range(t - 2, t + 1)], axis=0)
            found += [float(((before - params) / mean).mean())] * 3
            before = params
    np.testing.assert_allclose(logged, found, rtol=1e-4)


def test_exponential_average():
    values = dict(kind="sgd", learning_rate=0.1, average=dict(kind="ema", decay=0.3))
    states = trained(6, values)
    average = P
    for n, (params, kept) in enumerate(states):
        d = min(0.3, (1 + n) / (10 + n))
        average = d * average + (1 - d) * params["p"]
        np.testing.assert_allclose(kept.params["p"], average, rtol=1e-5)


def test_the_average_that_validation_starts():
    active = [False, False, True, True, True]
    values = dict(kind="sgd", learning_rate=0.1, average=dict(kind="nt_asgd", after=1))
    states = trained(5, values, [(1.0, on) for on in active])
    steps = path(states)
    kept = np.array([average.params["p"] for _, average in states])
    assert (kept[:2] == steps[:2]).all(), "before it starts the average is the last"
    for t in (2, 3, 4):
        np.testing.assert_allclose(kept[t], steps[2 : t + 1].mean(0), rtol=1e-5)


def test_when_averaging_starts():
    """Algorithm 1 of Merity et al. 2018 with n = 2, step by step."""
    losses, n = [5.0, 4.0, 4.5, 4.6, 4.7, 3.0], 2
    logs, triggered, expected = [], False, []
    for v in losses:
        if not triggered and len(logs) > n and v > min(logs[:-n]):
            triggered = True
        logs.append(v)
        expected.append(triggered)
    validation, found = Validation(Rules(non_monotone=n), 1), []
    for t, v in enumerate(losses):
        validation.add(t, [v])
        found.append(bool(validation.averaging[0]))
    assert found == expected == [False] * 4 + [True] * 2


def test_every_seed_follows_its_own_validation():
    validation = Validation(Rules(patience=3, plateau=2, decay=0.5), 2)
    falls, stays = [5, 4, 3, 2, 1, 0.5], [1, 2, 2, 2, 0.1, 2]
    better = [
        validation.add(t, pair).tolist()
        for t, pair in enumerate(zip(falls, stays, strict=True))
    ]
    assert [b for b, _ in better] == [True] * 6
    # The second has ended after three evaluations, whatever comes later.
    assert [b for _, b in better] == [True] + [False] * 5
    assert validation.best.tolist() == [0.5, 1]
    assert validation.rate.tolist() == [1, 0.25]
    assert validation.has_ended.tolist() == [False, True]
    again = Validation.replay(validation.rules, 2, validation.history)
    assert (again.rate == validation.rate).all()
    for t in range(6, 9):
        validation.add(t, [9, 9])
    assert validation.has_ended.all()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (dict(kind="lion", momentum=0.9), "momentum of kind 'lion'.* it: sgd"),
        (dict(kind="sgd", beta2=0.9), "beta2 of kind 'sgd'.* it: adam, adamw, lion"),
        (dict(schedule={"decay": 0.5}), "decay of kind 'cosine'.* it: epochs, plateau"),
        (dict(average={"decay": 0.9}), "average.kind is missing; valid: ema, nt_asgd"),
        (dict(schedule={"kind": "epochs", "decay": 0.0}), "greater than 0"),
        (dict(average={"kind": "nt_asgd", "after": 0}), "greater than 0"),
        (dict(clip_norm=0.0), "clip_norm is 0.0: should be greater than 0"),
    ],
)
def test_keys_of_another_kind_and_values_out_of_range(values, said):
    with pytest.raises(ConfigError, match=said):
        tiny.optimizer(values)


def test_what_decays():
    """With zero gradients only weight decay moves a parameter."""
    names = ["lstm.w_h", "head.kernel", "head.bias", "embed.embedding"]
    params = {n: jnp.ones((2, 2) if "bias" not in n else 2) for n in names}
    for kind in ("adamw", "lion", "sgd"):
        for on, expected in (("all", names), ("matrices", names[:2])):
            values = dict(kind=kind, weight_decay=0.1, weight_decay_on=on)
            rule = tiny.optimizer(values).build(3)
            zeros = jax.tree.map(jnp.zeros_like, params)
            updates, _ = rule.update(zeros, rule.init(params), params)
            assert [n for n in names if updates[n].any()] == expected
