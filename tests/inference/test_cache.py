"""The continuous cache, against its definition, a token at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import lstm
from lstm_jax.inference import Cache, cache, cache_nats
from tests.inference import language_model as lm

T, H, V = 37, 4, 6


def example(dtype=np.float64, steps=T):
    rng = np.random.default_rng(0)
    hs = rng.normal(size=(steps, H)).astype(dtype)
    nats = rng.exponential(size=steps).astype(dtype)
    return hs, rng.integers(0, V, steps), nats


def transcription(hs, targets, nats, size, theta, share):
    """The paper's formulas in float64."""
    found = []
    for t in range(len(hs)):
        p = np.exp(-nats[t])
        past = range(max(t - size, 0), t)
        if past:
            weight = {i: np.exp(theta * hs[t] @ hs[i]) for i in past}
            match = sum(weight[i] for i in past if targets[i] == targets[t])
            p = (1 - share) * p + share * match / sum(weight.values())
        found.append(-np.log(p))
    return np.array(found)


def run(example, size, theta=0.7, share=0.3, **options):
    hs = example[0]
    empty = Cache.empty(size, hs.shape[1], hs.dtype)
    return cache_nats(empty, *example, theta=theta, share=share, **options)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("size", [1, 5, 100])
@pytest.mark.parametrize("chunk", [1, 8, 256])
def test_against_the_definition(size, chunk):
    _, got = run(example(), size, chunk=chunk)
    want = transcription(*example(), size, 0.7, 0.3)
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("cuts", [[1], [0, 10, 11, 30], [20]])
def test_in_pieces(cuts):
    """The cache is handed on, also where a piece is shorter than it, or empty."""
    after, want = run(example(), size=12, chunk=8)
    pieces = zip(*(np.split(a, cuts) for a in example()), strict=True)
    held, got = Cache.empty(12, H, jnp.float64), []
    for piece in pieces:
        held, nats = cache_nats(held, *piece, theta=0.7, share=0.3, chunk=8)
        got.append(nats)
    np.testing.assert_allclose(np.concatenate(got), want, rtol=1e-12)
    np.testing.assert_array_equal(held.hs, after.hs)
    np.testing.assert_array_equal(held.targets, after.targets)
    np.testing.assert_array_equal(held.targets, example()[1][-12:])


def test_large_scores_in_float32():
    _, got = run(example(np.float32), 20, theta=30.0)
    assert got.dtype == jnp.float32
    hs = example()[0]
    assert 30 * (hs @ hs.T)[np.tril_indices(T, -1)].max() > 150  # exp: not in float32
    want = transcription(*example(), 20, 30.0, 0.3)
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_no_share_is_the_model():
    _, got = run(example(np.float32), 10, share=0.0)
    np.testing.assert_array_equal(got, example(np.float32)[2])


@pytest.mark.usefixtures("x64")
def test_it_is_a_distribution():
    """Of all tokens that could come last, the probabilities sum to 1."""
    hs, targets, nats = example()
    p_model = np.random.default_rng(1).dirichlet(np.ones(V))
    total = 0.0
    for w in range(V):
        targets[-1], nats[-1] = w, -np.log(p_model[w])
        total += np.exp(-run((hs, targets, nats), 10)[1][-1])
    assert total == pytest.approx(1.0, abs=1e-12)


def test_a_stream_that_repeats():
    """A second time through, states know what came after them."""
    params, tokens = lm.parameters(), np.tile(lm.stream(60), 2)
    xs = jax.nn.one_hot(tokens[:-1], lm.V)
    hs = lstm(params["cell"], None, xs, implementation="scan")[1]
    hs = hs / jnp.linalg.norm(hs, axis=-1, keepdims=True)
    chance = jnp.full(119, np.log(lm.V), jnp.float32)
    _, nats = run((hs, tokens[1:], chance), 100, theta=1000.0, share=0.5)
    assert nats[:60].mean() > np.log(lm.V) - 0.1
    assert nats[70:].mean() < 0.5 * np.log(lm.V)


def test_the_future_changes_nothing_before_it():
    hs, targets, nats = example(np.float32)
    _, want = run((hs, targets, nats), 10, chunk=8)
    for t in (1, 7, 20, T - 1):
        h, x, n = hs.copy(), targets.copy(), nats.copy()
        h[t:], x[t:], n[t:] = h[t:] + 1, (x[t:] + 1) % V, n[t:] + 1
        _, got = run((h, x, n), 10, chunk=8)
        np.testing.assert_array_equal(got[:t], want[:t])
        assert (got[t:] != want[t:]).any()


def test_scores_are_never_whole():
    arrays = jax.tree.map(jnp.asarray, example(np.float32))
    empty = Cache.empty(10, H)
    text = str(jax.make_jaxpr(cache._cache_nats, 0)(8, empty, *arrays, 0.7, 0.3))
    assert "f32[8,18]" in text
    assert f"f32[{T}," not in text.replace(f"f32[{T},{H}]", "")
    assert f"f32[5,8,{T}" not in text
    assert "f32[5,8,18]" not in text


def test_errors():
    hs, targets, nats = example(np.float32)
    with pytest.raises(
        ValueError, match=r"share is 1.0, expected a number in \[0, 1\)"
    ):
        run((hs, targets, nats), 5, share=1.0)
    with pytest.raises(ValueError, match="size is 0, expected 1 or more"):
        run((hs, targets, nats), 0)
    with pytest.raises(ValueError, match="chunk is 0, expected 1 or more"):
        run((hs, targets, nats), 5, chunk=0)
    with pytest.raises(
        ValueError, match=r"expected \[T, H\], \[T\] and \[T\]; pass one"
    ):
        run((hs, targets[1:], nats), 5)
    with pytest.raises(
        ValueError, match=r"expected \[T, H\], \[T\] and \[T\]; pass one"
    ):
        run((hs[:, None], targets[:, None], nats), 5)
    with pytest.raises(TypeError, match="targets has dtype float32, expected integers"):
        run((hs, nats, nats), 5)
    options = dict(theta=1.0, share=0.1)
    with pytest.raises(ValueError, match="but the cache holds 9 in float32; make it"):
        cache_nats(Cache.empty(5, 9), hs, targets, nats, **options)
