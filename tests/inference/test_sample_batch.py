"""Sampled sequences that end, against the probabilities of all sequences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.inference import Sampling, sample_batch

END, LENGTH = 0, 4
ROWS = [
    [0.1, 0.6, 0.3, 1e-9],
    [0.3, 0.1, 0.4, 0.2],
    [0.25, 0.5, 0.2, 0.05],
    [0.7, 0.3, 1e-9, 1e-9],
]
TABLE = np.log(ROWS).astype(np.float32)
TABLE -= np.log(np.exp(TABLE).sum(1, keepdims=True))


def step(carry, tokens):
    """The next token depends on the last one; the carry counts tokens."""
    return carry + 1, jnp.asarray(TABLE)[tokens]


def samples(count, first=1, sampling=None, key=0, **options):
    carry, logits = (
        jnp.zeros(count, jnp.int32),
        jnp.asarray(TABLE)[np.full(count, first)],
    )
    keys = jax.random.split(jax.random.key(key), count)
    how = Sampling() if sampling is None else sampling
    return sample_batch(step, carry, logits, keys, LENGTH, how, end=END, **options)


def sequences(first):
    """Every sequence and its probability, written down here once more."""
    for tokens in itertools.product(range(4), repeat=LENGTH):
        said = tokens[: tokens.index(END) + 1] if END in tokens else tokens
        if tokens[len(said) :] == (END,) * (LENGTH - len(said)):
            before = (first, *said[:-1])
            yield tokens, sum(TABLE[a, b] for a, b in zip(before, said, strict=True))


def test_every_sequence_is_as_frequent_as_it_is_likely():
    count, expected = 40_000, dict(sequences(1))
    found = samples(count)
    seen = {tuple(row) for row in found.tokens.tolist()}
    assert seen <= set(expected)
    for tokens, nats in expected.items():
        p = np.exp(nats)
        times = int((np.asarray(found.tokens) == tokens).all(1).sum())
        assert abs(times - p * count) < 5 * np.sqrt(p * (1 - p) * count) + 1, tokens
    for tokens, nats, length in zip(*map(np.asarray, found), strict=True):
        assert nats == pytest.approx(expected[tuple(tokens)], abs=1e-5)
        ends = np.flatnonzero(tokens == END)
        assert length == (ends[0] + 1 if len(ends) else LENGTH)


def test_a_sample_depends_on_its_key_alone():
    carry, logits = jnp.zeros(6, jnp.int32), jnp.asarray(TABLE)[np.array([1, 2] * 3)]
    keys = jax.random.split(jax.random.key(3), 6)
    run = lambda rows: sample_batch(
        step, carry[rows], logits[rows], keys[rows], LENGTH, Sampling(), end=END
    )
    whole, part = run(np.arange(6)), run(np.array([4, 1]))
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(np.asarray(a)[[4, 1]], b)


def test_rules():
    long = samples(500, min_lengths=3)
    assert int(long.lengths.min()) == 3
    short = samples(500, max_lengths=[0] * 100 + [2] * 400)
    assert short.lengths[:100].tolist() == [0] * 100
    assert not short.tokens[:100].any()
    assert not float(jnp.abs(short.nats[:100]).max())
    assert (np.asarray(short.tokens)[100:, 1:] == END).all()
    begun = samples(500, prefix=[[3, 1]] * 500, prefix_lengths=[1, 2] * 250)
    assert (np.asarray(begun.tokens)[:, 0] == 3).all()
    assert (np.asarray(begun.tokens)[1::2, 1] == 1).all()
    assert not (np.asarray(begun.tokens)[::2, 1] == 1).all()
    # Whatever is forced or forbidden, the probability is that of the model.
    for found in (long, short, begun):
        for tokens, nats, length in zip(*map(np.asarray, found), strict=True):
            said = tokens[:length]
            pairs = zip((1, *said)[:length], said, strict=True)
            expected = sum(TABLE[a, b] for a, b in pairs)
            assert nats == pytest.approx(expected, abs=1e-5)


def test_a_traced_prefix_outside_the_vocabulary_gives_nan():
    found = jax.jit(lambda prefix: samples(4, prefix=prefix))(
        jnp.array([[1], [-1], [4], [2]])
    )
    assert np.isnan(found.nats).tolist() == [False, True, True, False]


def test_the_most_likely_token():
    found = samples(3, first=2, sampling=Sampling(temperature=0))
    assert found.tokens.tolist() == [[1, 2, 1, 2]] * 3
    expected = TABLE[2, 1] + TABLE[1, 2] + TABLE[2, 1] + TABLE[1, 2]
    np.testing.assert_allclose(found.nats, expected, rtol=1e-6)


def test_the_probability_is_of_the_model_not_of_the_sampling():
    found = samples(200, sampling=Sampling(temperature=0.5, top_k=2))
    expected = dict(sequences(1))
    for tokens, nats in zip(np.asarray(found.tokens), found.nats, strict=True):
        assert float(nats) == pytest.approx(expected[tuple(tokens)], abs=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (dict(end=4), ValueError, r"end is 4, expected a token in \[0, 4\)"),
        (dict(end=None), ValueError, "end is None"),
        (dict(keys=jax.random.split(jax.random.key(0), 3)), ValueError, "a key for"),
        (dict(length=0), ValueError, "length is 0"),
        (dict(prefix=[[4], [0]]), ValueError, "prefix holds tokens from 0 to 4"),
        (dict(max_lengths=[1, 2, 3]), ValueError, "max_lengths has shape"),
    ],
)
def test_wrong_arguments(change, error, says):
    given = dict(
        keys=jax.random.split(jax.random.key(0), 2),
        length=3,
        sampling=Sampling(),
        end=0,
    )
    given |= change
    with pytest.raises(error, match=says):
        sample_batch(step, jnp.zeros(2, jnp.int32), jnp.asarray(TABLE)[:2], **given)
