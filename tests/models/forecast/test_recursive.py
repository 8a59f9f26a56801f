"""The recursive forecaster against its equations, step by step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.models.forecast.distributions import Normal, Poisson, StudentT
from lstm_jax.models.forecast.heads import Quantiles
from lstm_jax.models.forecast.recursive import RecursiveConfig
from lstm_jax.models.forecast.window import Sizes, Window
from tests import reference

C, H, LAGS, B, SERIES = 6, 4, (2, 5), 3, 4
CONFIG = RecursiveConfig(
    context=C,
    horizon=H,
    lags=LAGS,
    hidden_size=5,
    num_layers=1,
    embed_size=3,
    dropout=0.0,
    output_dropout=0.0,
    normalise="standard",
    head=Normal(),
)
R = CONFIG.history
SIZES = Sizes(SERIES, known=2, static=1)


def build(**changes):
    config = dataclasses.replace(CONFIG, **changes)
    model = config.build(SIZES, nnx.Rngs(3))
    model.eval()
    return model


def some(seed=0):
    """A window with missing values, and the truth after it."""
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.normal(2.0, 3.0, shape).astype(np.float32)
    observed = rng.random((R, B)) < 0.7
    observed[-1, 0], observed[-1, 1] = True, False
    window = Window(
        y=normal(R, B),
        observed=observed,
        series=np.array([0, 3, -1]),
        known=normal(R + H, B, 2),
        static=normal(B, 1),
    )
    return window, normal(H, B), (rng.random((H, B)) < 0.8).astype(np.float32)


def keys_of(seed=0):
    return jax.random.split(jax.random.key(seed), B)


def by_hand(model, window, b, ahead):
    """Inputs of every step and what the model says of each, for one row.

    Args:
        ahead: the values of the horizon, ``[H]``; NaN where there are none.
    """
    y = np.concatenate([np.where(window.observed, window.y, np.nan)[:, b], ahead])
    recent = y[R - C : R]
    loc, scale = np.nanmean(recent), np.nanstd(recent)
    scaled = (y - loc) / scale
    table = np.asarray(model.series.table[...], np.float64)
    index = window.series[b]
    vector = table[index] if index >= 0 else table.mean(axis=0)
    weights = [np.asarray(w, np.float64) for w in model.layers.params[0]]
    w, b_out = (
        np.asarray(p[...], np.float64)
        for p in (model.readout.kernel, model.readout.bias)
    )
    state = np.zeros(5), np.zeros(5)
    for t in range(R - C, R + H):
        lagged = [np.nan_to_num(scaled[t - lag]) for lag in (1, *LAGS)]
        there = [float(~np.isnan(y[t - lag])) for lag in (1, *LAGS)]
        x = np.concatenate(
            [
                [*lagged, *there],
                window.known[t, b],
                vector,
                window.static[b],
                [np.log(scale)],
            ]
        )
        state = reference.lstm_step(weights, state, x)
        raw = state[0] @ w + b_out
        yield t, raw[0] * scale + loc, (np.log1p(np.exp(raw[1])) + 1e-3) * scale


def nats(y, mean, spread):
    return 0.5 * ((y - mean) / spread) ** 2 + np.log(spread * np.sqrt(2 * np.pi))


def test_losses():
    """Of every observed step; in evaluation of those of the horizon."""
    model, (window, truth, there) = build(), some()
    found = model.losses(window, truth, there, deterministic=False)
    losses, weights = map(np.asarray, found)
    assert losses.shape == weights.shape == (C + H, B)
    for b in range(B):
        ahead = np.where(there[:, b] > 0, truth[:, b], np.nan)
        y = np.concatenate([np.where(window.observed, window.y, np.nan)[:, b], ahead])
        for t, mean, spread in by_hand(model, window, b, ahead):
            row = t - (R - C)
            assert weights[row, b] == ~np.isnan(y[t])
            if weights[row, b]:
                want = nats(y[t], mean, spread)
                np.testing.assert_allclose(losses[row, b], want, rtol=2e-4)
    short, counted = model.losses(window, truth, there, deterministic=True)
    np.testing.assert_array_equal(short, losses[-H:])
    np.testing.assert_array_equal(counted, there)


def test_missing_values_are_not_read():
    model, (window, truth, there) = build(), some()
    graph, params = nnx.split(model, nnx.Param)

    def loss(params, hole):
        y = jnp.where(window.observed, window.y, hole)
        ahead = jnp.where(there > 0, truth, hole)
        module = nnx.merge(graph, params)
        losses, weights = module.losses(
            window._replace(y=y), ahead, there, deterministic=False
        )
        return (losses * weights).sum()

    clean, poisoned = (jax.grad(loss)(params, hole) for hole in (0.0, np.nan))
    jax.tree.map(np.testing.assert_array_equal, clean, poisoned)


class Mean(Normal):
    """Draws nothing: the mean."""

    def sample(self, params, key):
        del key
        return params[..., 0]


def test_a_path_reads_what_it_has_drawn():
    """With a spread of 0 the path is the recursion of the means."""
    model, (window, _, _) = build(), some()
    object.__setattr__(model.config, "head", Mean())
    found = model.paths(window, keys_of(), horizon=H, count=2)
    for b in range(B):
        ahead = np.full(H, np.nan)
        for step in range(H):
            for t, mean, _ in by_hand(model, window, b, ahead):
                if t == R + step:
                    ahead[step] = mean
                    break
        for n in range(2):
            np.testing.assert_allclose(found[:, b, n], ahead, rtol=3e-4, atol=3e-4)


@pytest.mark.parametrize("horizon", [1, H, 3 * H])
def test_paths_of_any_length(horizon):
    model, (window, _, _) = build(), some()
    known = np.zeros((R + horizon, B, 2), np.float32)
    window = window._replace(known=known)
    keys = keys_of()
    found = model.paths(window, keys, horizon=horizon, count=50)
    assert found.shape == (horizon, B, 50)
    assert np.isfinite(found).all()
    assert len(np.unique(found[0, 0])) == 50
    quantiles = model.forecast(window, keys, horizon, (0.1, 0.5, 0.9))
    assert (np.diff(quantiles, axis=-1) > 0).all()


def test_paths_of_a_window_do_not_depend_on_the_others():
    model, (window, _, _) = build(), some()
    both = np.asarray(model.paths(window, keys_of(), horizon=H, count=5))
    last = jax.tree.map(lambda a: a[..., -1:], window._replace(known=None, static=None))
    last = last._replace(known=window.known[:, -1:], static=window.static[-1:])
    alone = model.paths(last, keys_of()[-1:], horizon=H, count=5)
    np.testing.assert_allclose(alone[:, 0], both[:, -1], rtol=1e-5, atol=1e-5)
    other = model.paths(window, keys_of(1), horizon=H, count=5)
    assert not np.isclose(other, both).any()


def test_steps_one_by_one_are_a_longer_window():
    """Missing ones too, on the scale of the first window."""
    model, (window, truth, there) = build(), some()
    at = lambda n: window._replace(
        y=np.concatenate([window.y, truth])[:n],
        observed=np.concatenate([window.observed, there > 0])[:n],
        known=window.known[:n],
    )
    reading = model.read(at(R))
    for n in range(H):
        reading = model.advance(reading, truth[n], there[n] > 0, window.known[R + n])
    whole = model.read(at(R + H), reading.fixed.scale)
    for one, other in zip(
        jax.tree.leaves(reading), jax.tree.leaves(whole), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_paths_follow_the_distribution():
    """The first step of many paths has the spread that the model says."""
    model, (window, _, _) = build(), some()
    found = model.paths(window, keys_of(), horizon=1, count=4000)
    for b in range(B):
        *_, (_, mean, spread) = (
            said
            for said in by_hand(model, window, b, np.full(H, np.nan))
            if said[0] <= R
        )
        drawn = np.asarray(found[0, b])
        assert abs(drawn.mean() - mean) < 5 * spread / np.sqrt(4000)
        assert abs(drawn.std() / spread - 1) < 0.1


@pytest.mark.parametrize("head", [StudentT(), Poisson(), Quantiles()])
def test_every_head_draws(head):
    model, (window, truth, there) = build(head=head, normalise="magnitude"), some()
    window = window._replace(y=np.abs(window.y).round())
    found = np.asarray(model.paths(window, keys_of(), horizon=H, count=20))
    assert np.isfinite(found).all()
    assert found.std() > 0
    if isinstance(head, Poisson):
        assert (found == found.round()).all()
        assert (found >= 0).all()
    losses, _ = model.losses(window, np.abs(truth).round(), there)
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lags": (5, 2)}, "lags in increasing order"),
        ({"head": Poisson()}, 'set normalise="magnitude"'),
        ({"levels": (0.1, 0.9)}, "0.5 among them"),
        ({"head": Quantiles(levels=(0.5,))}, "two levels or more"),
        ({"dropout": 0.1}, "num_layers is 1"),
    ],
)
def test_what_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(CONFIG, **changes)
