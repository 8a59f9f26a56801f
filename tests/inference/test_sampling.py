"""Filters of logits against a loop in float64, and draws against what is left."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.inference import Sampling, draw, filter_logits

KEY, B, V = jax.random.key(0), 4, 7
LOGITS = 2 * jax.random.normal(KEY, (B, V))
TIED = jnp.array([1.0, 3.0, 2.0, 3.0, 3.0, 0.0, 1.0])
EVERY = [
    Sampling(*values)
    for values in itertools.product(
        (0.0, 0.5, 1.0, 2.5), (0, 1, 3, 50), (0.2, 0.7, 1.0)
    )
]


def chances(logits, sampling):
    """Probabilities in float64, a row, by the words of the docstring."""
    logits = np.asarray(logits, np.float64)
    ranked = sorted(range(len(logits)), key=lambda v: (-logits[v], v))
    if sampling.temperature == 0:
        ranked, weights = ranked[:1], np.ones(len(logits))
    else:
        weights = np.exp((logits - logits.max()) / sampling.temperature)
    if sampling.top_k:
        ranked = ranked[: sampling.top_k]
    total, kept, mass = sum(weights[v] for v in ranked), [], 0.0
    for v in ranked:
        if not kept or mass < sampling.top_p:
            kept.append(v)
            mass += weights[v] / total
    chance = np.zeros(len(logits))
    chance[kept] = weights[kept] / weights[kept].sum()
    return chance


def softmax(z):
    return np.asarray(jax.nn.softmax(z), np.float64)


@pytest.mark.parametrize("sampling", EVERY, ids=lambda s: f"{s.temperature}-{s.top_k}")
def test_filter_against_a_loop(sampling):
    got = filter_logits(LOGITS, sampling)
    want = np.stack([chances(row, sampling) for row in LOGITS])
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(np.isneginf(got), want == 0)
    np.testing.assert_allclose(softmax(got), want, atol=1e-6)


def test_the_order_of_the_filters():
    """Chances .5 .3 .15 .05: of the two largest .5 is 0.625, and at temperature 2 it is
    less than 0.4 of all."""
    logits = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
    left = lambda *values: int(
        np.isfinite(filter_logits(logits, Sampling(*values))).sum()
    )
    assert left(1.0, 0, 0.6) == 2
    assert left(1.0, 2, 0.6) == 1
    assert left(1.0, 0, 0.4) == 1
    assert left(2.0, 0, 0.4) == 2


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(temperature=0.0), [1]),
        (Sampling(top_k=1), [1]),
        (Sampling(top_k=2), [1, 3]),
        (Sampling(top_k=4), [1, 2, 3, 4]),
        (Sampling(top_k=5), [0, 1, 2, 3, 4]),
        (Sampling(temperature=0.01, top_p=0.5), [1, 3]),
    ],
)
def test_equal_logits_go_by_index(sampling, kept):
    assert np.flatnonzero(np.isfinite(filter_logits(TIED, sampling))).tolist() == kept


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_extremes(dtype):
    """Tiny settings, -inf and huge logits leave a distribution, in float32."""
    logits = jnp.array([-jnp.inf, 3e38, 0.0, 3e38, -3e38], dtype)
    for sampling in (Sampling(), Sampling(1e-320), Sampling(1e38)):
        z = filter_logits(logits, sampling)
        assert z.dtype == jnp.float32
        assert np.isneginf(z[0])
        np.testing.assert_array_equal(z[jnp.array([1, 3])], 0)
    assert np.isfinite(filter_logits(logits, Sampling(top_p=1e-320))).sum() == 1
    assert np.isfinite(filter_logits(logits, Sampling(top_k=5))).sum() == 3


def test_jit_and_vmap():
    sampling = Sampling(0.7, 4, 0.8)
    want = filter_logits(LOGITS, sampling)
    jitted = jax.jit(filter_logits, static_argnums=1)
    np.testing.assert_array_equal(jitted(LOGITS, sampling), want)
    one = lambda row: filter_logits(row, sampling)
    np.testing.assert_array_equal(jax.vmap(one)(LOGITS), want)
    np.testing.assert_array_equal(filter_logits(LOGITS[None], sampling)[0], want)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.7, 5, 0.9)], ids=str)
def test_draws_are_as_often_as_they_should(sampling):
    """Pearson's chi-square: 40,000 draws from each of four rows, at 1 in 10**5."""
    count = 40_000
    keys = jax.random.split(jax.random.key(1), (count, B))
    rows = jnp.broadcast_to(LOGITS, (count, B, V))
    tokens = np.asarray(jax.jit(draw, static_argnums=2)(rows, keys, sampling))
    for row, drawn in zip(LOGITS, tokens.T, strict=True):
        expected = count * chances(row, sampling)
        seen = np.bincount(drawn, minlength=V)
        assert not seen[expected == 0].any()
        seen, expected = seen[expected > 0], expected[expected > 0]
        chi_square = ((seen - expected) ** 2 / expected).sum()
        assert chi_square < CRITICAL[len(seen) - 1]


CRITICAL = {0: 1e-9, 1: 19.51, 2: 23.03, 3: 25.90, 4: 28.47, 5: 30.86, 6: 33.11}
"""Of the chi-square distribution, by its degrees of freedom: passed 1 in 10**5 times.
"""


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.0)], ids=str)
def test_a_row_sees_its_own_key_alone(sampling):
    keys = jax.random.split(KEY, B)
    tokens = draw(LOGITS, keys, sampling)
    assert tokens.dtype == jnp.int32
    for b in range(B):
        assert draw(LOGITS[b], keys[b], sampling) == tokens[b]
    one = lambda row, key: draw(row, key, sampling)
    np.testing.assert_array_equal(jax.vmap(one)(LOGITS, keys), tokens)


def test_keys_differ():
    rows = jnp.zeros((8, 1000))
    tokens = draw(rows, jax.random.split(KEY, 8), Sampling())
    assert len(set(tokens.tolist())) > 6


def test_temperature_zero_is_the_likeliest():
    keys = jax.random.split(KEY, B)
    want = LOGITS.argmax(-1)
    np.testing.assert_array_equal(draw(LOGITS, keys, Sampling(0.0)), want)
    np.testing.assert_array_equal(draw(LOGITS, keys, Sampling(top_k=1)), want)
    assert draw(TIED, KEY, Sampling(0.0)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        *[dict(temperature=t) for t in (-0.1, np.inf, np.nan, "1", None, True)],
        *[dict(top_k=k) for k in (-1, 1.0, "3", None, True)],
        *[dict(top_p=p) for p in (0, 0.0, -0.5, 1.01, np.nan, "1", None, True)],
    ],
    ids=str,
)
def test_settings_out_of_range(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} is .*, expected") as error:
        Sampling(**wrong)
    assert repr(value) in str(error.value)


def test_numbers_of_numpy_are_numbers():
    ours = Sampling(np.float32(0.5), np.int64(3), np.float64(0.9))
    assert ours == Sampling(0.5, 3, 0.9)
    filter_logits(LOGITS, ours)


def test_arguments_that_do_not_fit():
    keys = jax.random.split(KEY, B)
    with pytest.raises(ValueError, match=r"keys has shape \(3,\), expected \(4,\)"):
        draw(LOGITS, keys[:3], Sampling())
    with pytest.raises(TypeError, match="expected a typed key"):
        draw(LOGITS, jnp.zeros((B, 3), jnp.uint32), Sampling())
    with pytest.raises(ValueError, match="keys has shape None"):
        draw(LOGITS, None, Sampling())
    with pytest.raises(TypeError, match="logits has dtype int32"):
        filter_logits(jnp.zeros((B, V), jnp.int32), Sampling())
    for shape in ((), (B, 0)):
        with pytest.raises(ValueError, match=r"expected \[..., V\], V > 0"):
            filter_logits(jnp.zeros(shape), Sampling())
