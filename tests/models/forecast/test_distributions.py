"""Densities against scipy, and draws against densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lstm_jax.models.forecast.distributions import (
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
)
from lstm_jax.models.forecast.heads import Quantiles
from lstm_jax.models.forecast.instance import Scale

LOC, SCALE = 3.0, 2.5
RAW = np.array([0.4, -0.7, 1.3])


def softplus(x):
    return np.log1p(np.exp(x))


def normal():
    return stats.norm(RAW[0] * SCALE + LOC, (softplus(RAW[1]) + 1e-3) * SCALE)


def student():
    place = RAW[0] * SCALE + LOC, (softplus(RAW[1]) + 1e-3) * SCALE
    return stats.t(2 + softplus(RAW[2]), *place)


def negative_binomial():
    mean = (softplus(RAW[0]) + 1e-6) * SCALE
    dispersion = softplus(RAW[1]) / np.sqrt(SCALE) + 1e-4
    return stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mean))


def poisson():
    return stats.poisson((softplus(RAW[0]) + 1e-6) * SCALE)


CASES = [
    (Normal(), normal()),
    (StudentT(), student()),
    (NegativeBinomial(), negative_binomial()),
    (Poisson(), poisson()),
]


def params_of(head, shape=()):
    raw = np.broadcast_to(RAW[: head.size], (1, 1, head.size)).astype(np.float32)
    scale = Scale(jnp.array([LOC]), jnp.array([SCALE]))
    params = head.on_scale(jnp.asarray(raw), scale)[0, 0]
    return jnp.broadcast_to(params, (*shape, params.shape[-1]))


@pytest.mark.parametrize(("head", "law"), CASES)
def test_losses_are_those_of_scipy(head, law):
    y = np.arange(12, dtype=np.float32)
    density = law.logpmf if head.counts else law.logpdf
    got = head.errors(params_of(head, y.shape), jnp.asarray(y))
    np.testing.assert_allclose(got, -density(y), rtol=2e-5)


@pytest.mark.parametrize("head", [head for head, _ in CASES])
@pytest.mark.parametrize("spread", [0.05, 1.0, 1e4])
def test_gradients_are_finite_at_the_ends(head, spread):
    """A step without a truth, whose loss has the weight 0, is one of them."""
    ends = np.array([-30.0, -12.0, -8.0, 0.0, 8.0, 30.0], np.float32)
    raw = np.stack(np.meshgrid(*[ends] * head.size), axis=-1).reshape(1, -1, head.size)
    count = raw.shape[1]
    scale = Scale(jnp.zeros(count), jnp.full(count, spread))

    def loss(raw, y):
        return head.errors(head.on_scale(raw, scale), jnp.full((1, count), y)).sum()

    for y in (0.0, 3.0):
        assert np.isfinite(jax.grad(loss)(jnp.asarray(raw), y)).all()


def test_counts_that_are_nearly_poisson():
    """The density of float32 near the smallest dispersion."""
    y, mean, dispersion = np.arange(0, 40, 3), 10.0, 2e-4
    params = np.broadcast_to(np.float32([mean, dispersion]), (len(y), 2))
    got = NegativeBinomial().errors(jnp.asarray(params), jnp.asarray(y, jnp.float32))
    want = -stats.nbinom.logpmf(y, 1 / dispersion, 1 / (1 + dispersion * mean))
    np.testing.assert_allclose(got, want, atol=0.02)


@pytest.mark.parametrize(("head", "law"), CASES)
def test_draws_follow_the_law(head, law):
    drawn = np.asarray(head.sample(params_of(head, (20_000,)), jax.random.key(0)))
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        # The share of draws up to a quantile, for counts the law's own share.
        at = law.ppf(q)
        assert abs((drawn <= at).mean() - law.cdf(at)) < 0.015


def test_draws_of_quantiles_are_straight_between_them():
    head = Quantiles(levels=(0.1, 0.5, 0.9))
    forecast = jnp.broadcast_to(jnp.array([1.0, 2.0, 6.0]), (20_000, 3))
    drawn = np.asarray(head.sample(forecast, jax.random.key(0)))
    assert drawn.min() == 1.0
    assert drawn.max() == 6.0
    for value, share in ((1.5, 0.3), (2.0, 0.5), (4.0, 0.7)):
        assert abs((drawn <= value).mean() - share) < 0.015
    assert abs((drawn == 1.0).mean() - 0.1) < 0.01
