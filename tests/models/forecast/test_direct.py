"""The direct forecaster against its equations, and what it must not depend on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.models.forecast.direct import DirectConfig
from lstm_jax.models.forecast.heads import Point, Quantiles
from lstm_jax.models.forecast.window import Sizes, Window
from tests import reference

C, H, W, SIZE, SERIES, B = 10, 7, 4, 6, 3, 5
CONFIG = DirectConfig(
    context=C, horizon=H, segment=W, hidden_size=SIZE, output_dropout=0.0
)
INDEX = jnp.array([0, 2, 1, 0, -1])


def build(**changes):
    config = dataclasses.replace(CONFIG, **changes)
    return config.build(Sizes(SERIES), nnx.Rngs(3))


def windows(seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(2.0, 3.0, (C, B)).astype(np.float32)
    observed = rng.random((C, B)) < 0.7
    observed[:, 0] = True
    observed[:, 1] = False
    return y, observed


def float64(params):
    return jax.tree.map(lambda w: np.asarray(w, np.float64), params)


def by_hand(model, y, observed, series, how):
    """The forecast of one window, from the equations at the top of the module."""
    there = y[observed].astype(np.float64)
    loc, scale = 0.0, 1.0
    if len(there) and how != "none":
        loc = there[-1] if how == "last" else there.mean()
        scale = there.std() if how == "standard" else 1.0
    read = np.where(observed, (y - loc) / scale, 0.0)
    segments = -(-C // W)
    values, flags = np.zeros(segments * W), np.zeros(segments * W)
    values[-C:], flags[-C:] = read, observed
    w, b = (
        np.asarray(p[...], np.float64) for p in (model.embed.kernel, model.embed.bias)
    )
    state = np.zeros(SIZE), np.zeros(SIZE)
    (params,) = float64(model.layers.params)
    for s in range(segments):
        cut = slice(s * W, (s + 1) * W)
        x = np.maximum(np.concatenate([values[cut], flags[cut]]) @ w + b, 0)
        state = reference.lstm_step(params, state, x)
    table = np.asarray(model.series.table[...], np.float64)
    of_series = table.mean(axis=0) if series < 0 else table[series]
    w, b = (
        np.asarray(p[...], np.float64)
        for p in (model.readout.kernel, model.readout.bias)
    )
    ahead = []
    for position in np.asarray(model.positions[...], np.float64):
        x = np.concatenate([position, of_series])
        out, _ = reference.lstm_step(params, state, x)
        ahead.append((out @ w + b).reshape(W, -1))
    return np.concatenate(ahead)[:H] * scale + loc


def test_members_are_models_of_their_own_and_the_forecast_their_mean():
    ensemble = build(members=3, output_dropout=0.5, head=Quantiles(levels=(0.2, 0.5)))
    ensemble.eval()
    y, observed = windows()
    window, keys = Window(y, observed, INDEX), jax.random.split(jax.random.key(0), B)
    one = [member.forecast(window, keys, H, (0.2, 0.5)) for member in ensemble.members]
    assert not np.isclose(one[0], one[1]).any()
    mean = ensemble.forecast(window, keys, H, (0.2, 0.5))
    np.testing.assert_allclose(mean, np.mean(one, axis=0), rtol=1e-5)
    truth, there = np.ones((H, B), np.float32), np.ones((H, B), np.float32)
    # In training every member has its own loss, and its own dropout.
    how = dict(key=jax.random.key(1), deterministic=False)
    losses, _ = ensemble.losses(window, truth, there, **how)
    each = [
        member.losses(window, truth, there, key=key, deterministic=False)[0]
        for member, key in zip(
            ensemble.members, jax.random.split(jax.random.key(1), 3), strict=True
        )
    ]
    np.testing.assert_allclose(losses, np.mean(each, axis=0), rtol=1e-5)
    losses, _ = ensemble.losses(window, truth, there, deterministic=True)
    raw = np.mean(
        [member(window, deterministic=True) for member in ensemble.members], 0
    )
    expected = ensemble.config.head.errors(jnp.asarray(raw), truth)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_the_autoregressive_part():
    """It adds a linear map of the last steps on the scale of the window."""
    model, with_it = (
        build(normalise="standard"),
        build(normalise="standard", autoregressive=6),
    )
    nnx.update(with_it, nnx.state(model))
    y, observed = windows()
    window = Window(y, observed, INDEX)
    plain = model(window, deterministic=True)
    np.testing.assert_array_equal(with_it(window, deterministic=True), plain)
    weights = np.random.default_rng(1).normal(size=(6, H)).astype(np.float32)
    with_it.autoregressive[...] = jnp.asarray(weights)
    read = np.where(observed, y, np.nan)
    loc = np.nanmean(read[:, 0])
    scale = np.nanstd(read[:, 0])
    added = np.nan_to_num((read[-6:, 0] - loc) / scale) @ weights * scale
    got = with_it(window, deterministic=True)[:, 0, 0] - plain[:, 0, 0]
    np.testing.assert_allclose(got, added, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="context=10; set it to 10"):
        dataclasses.replace(CONFIG, autoregressive=11)


@pytest.mark.parametrize("how", ["none", "last", "mean", "standard"])
@pytest.mark.parametrize("head", [Point(), Quantiles(levels=(0.2, 0.5, 0.9))])
def test_equations(how, head):
    model = build(normalise=how, head=head)
    y, observed = windows()
    got = model(Window(y, observed, INDEX), deterministic=True)
    want = [
        by_hand(model, y[:, n], observed[:, n], int(INDEX[n]), how) for n in range(B)
    ]
    np.testing.assert_allclose(got, np.stack(want, axis=1), rtol=2e-5, atol=2e-5)


def test_missing_values_are_not_read():
    """Neither in values nor in gradients, whatever stands in their place."""
    model = build(normalise="standard")
    y, observed = windows()
    graph, params = nnx.split(model, nnx.Param)

    def loss(params, y):
        module = nnx.merge(graph, params)
        return (module(Window(y, observed, INDEX), deterministic=True) ** 2).sum()

    clean = jax.grad(loss)(params, jnp.where(observed, y, 0.0))
    poisoned = jax.grad(loss)(params, jnp.where(observed, y, jnp.nan))
    jax.tree.map(np.testing.assert_array_equal, clean, poisoned)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(clean))


@pytest.mark.parametrize(
    ("how", "factor"), [("last", 1.0), ("mean", 1.0), ("standard", 2.5)]
)
def test_a_forecast_moves_with_its_window(how, factor):
    model = build(normalise=how)
    y, observed = windows()
    observed[-3:, 1] = True  # a window with nothing has no level
    ask = lambda y: model(Window(y, observed, INDEX), deterministic=True)
    moved = ask(factor * y + 40.0)
    np.testing.assert_allclose(moved, factor * ask(y) + 40.0, rtol=2e-4, atol=2e-4)


def test_dropout_acts_in_training_alone():
    model = build(output_dropout=0.5)
    y, _ = windows()
    ask = lambda **how: model(Window(y, series=INDEX), **how)
    key = jax.random.key(1)
    trained = ask(key=key)
    assert not np.allclose(trained, ask(deterministic=True))
    np.testing.assert_array_equal(trained, ask(key=key))
    with pytest.raises(ValueError, match="key"):
        ask()


def test_pinball():
    head = Quantiles(levels=(0.1, 0.5, 0.9))
    forecast = jnp.array([[1.0, 2.0, 4.0]])
    got = head.errors(forecast, jnp.array([3.0]))
    # 0.1 * 2, 0.5 * 1, and 0.1 * 1 of the quantile above the value.
    np.testing.assert_allclose(got, [2 * (0.2 + 0.5 + 0.1) / 3], rtol=1e-6)
    median = Quantiles(levels=(0.5,))
    y = jnp.array([-1.0, 2.0, 5.0])
    f = jnp.zeros((3, 1))
    np.testing.assert_allclose(median.errors(f, y), Point().errors(f, y), rtol=1e-6)
    crossed = jnp.array([[3.0, 2.0, 1.0]])
    assert head.ordered(crossed).tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize("levels", [(0.5, 0.1), (0.1, 0.9), (0.5, 0.5)])
def test_levels_that_are_refused(levels):
    with pytest.raises(ValueError, match="increasing order"):
        Quantiles(levels=levels)
