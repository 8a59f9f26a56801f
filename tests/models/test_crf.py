"""The CRF against all sequences of tags, one by one."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from lstm_jax.models.crf import (
    PADDING,
    CRFParams,
    crf_decode,
    crf_log_partition,
    crf_marginals,
    crf_nats,
    crf_score,
    init_crf,
)

T, C = 5, 3
LENGTHS = np.array([0, 1, 2, T])
B = len(LENGTHS)

exact = pytest.mark.usefixtures("x64")


def example(seed=0, scale=1.0, dtype=np.float64):
    """Scores, logits with NaN in the padding, and tags with nonsense there."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: (scale * rng.normal(size=shape)).astype(dtype)
    params = CRFParams(draw(C, C), draw(C), draw(C))
    logits, tags = draw(T, B, C), rng.integers(0, C, (T, B))
    padding = np.arange(T)[:, None] >= LENGTHS
    logits[padding] = np.nan
    tags[padding] = 99
    return CRFParams(*map(jnp.asarray, params)), jnp.asarray(logits), jnp.asarray(tags)


def all_tags(length):
    """Every sequence of tags ``[C ** length, length]``."""
    ways = list(itertools.product(range(C), repeat=length))
    return np.array(ways, int).reshape(len(ways), length)


def scores_of(params, logits, tags):
    """From the equation, for one row without padding and many sequences of tags."""
    if not tags.shape[1]:
        return np.zeros(len(tags))
    total = params.start[tags[:, 0]] + params.end[tags[:, -1]]
    for t in range(tags.shape[1]):
        total = total + logits[t][tags[:, t]]
        if t:
            total = total + params.transitions[tags[:, t - 1], tags[:, t]]
    return total


def all_scores(params, logits, length):
    """``{tags: score}`` of every sequence of tags of one row."""
    params, logits = jax.tree.map(np.asarray, (params, logits[:length]))
    tags = all_tags(length)
    scores = scores_of(params, logits, tags).tolist()
    return dict(zip(map(tuple, tags.tolist()), scores, strict=True))


def by_row(params, logits):
    return [all_scores(params, logits[:, b], n) for b, n in enumerate(LENGTHS)]


def log_sum(scores):
    top = max(scores)
    return top + math.log(sum(math.exp(s - top) for s in scores))


@exact
@pytest.mark.parametrize("seed", range(3))
def test_every_function_against_all_sequences(seed):
    params, logits, tags = example(seed)
    given = [tuple(tags[:n, b].tolist()) for b, n in enumerate(LENGTHS)]
    rows = by_row(params, logits)
    log_z = [log_sum(scores.values()) for scores in rows]
    score = [scores[y] for scores, y in zip(rows, given, strict=True)]
    close = lambda got, want: np.testing.assert_allclose(got, want, atol=1e-12)
    close(crf_log_partition(params, logits, LENGTHS), log_z)
    close(crf_score(params, logits, tags, LENGTHS), score)
    nats = crf_nats(params, logits, tags, LENGTHS)
    close(nats, np.subtract(log_z, score))
    assert nats.dtype == jnp.float64
    best, top = crf_decode(params, logits, LENGTHS)
    marginals = np.zeros((T, B, C))
    for b, (scores, n) in enumerate(zip(rows, LENGTHS, strict=True)):
        wanted = max(scores, key=scores.__getitem__)
        assert tuple(best[:, b].tolist()) == (*wanted, *[PADDING] * (T - n))
        close(top[b], scores[wanted])
        for y, s in scores.items():
            marginals[np.arange(n), b, y] += math.exp(s - log_z[b])
    close(crf_marginals(params, logits, LENGTHS), marginals)


@exact
def test_gradients_against_all_sequences():
    params, logits, tags = example()
    loss = lambda *a: crf_nats(*a, tags, LENGTHS).sum()
    got = jax.jit(jax.grad(loss, (0, 1)))(params, logits)

    given = [np.asarray(tags[:n, b])[None] for b, n in enumerate(LENGTHS)]

    def slowly(params, logits):
        total = 0.0
        for b, n in enumerate(LENGTHS):
            of = lambda ys, b=b, n=n: jnp.asarray(scores_of(params, logits[:n, b], ys))
            log_z = jnp.log(jnp.exp(of(all_tags(n))).sum())
            total += log_z - of(given[b])[0]
        return total

    want = jax.jit(jax.grad(slowly, (0, 1)))(params, jnp.nan_to_num(logits))
    for a, b in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@exact
def test_second_derivatives():
    params, logits, tags = example()
    f = jax.jit(lambda p, z: crf_nats(p, z, tags, LENGTHS).sum())
    values = params, jnp.nan_to_num(logits)
    check_grads(f, values, order=2, modes=["fwd", "rev"])


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_large_scores_stay_finite(scale):
    params, logits, tags = example(scale=scale, dtype=np.float32)
    loss = lambda p, z: crf_nats(p, z, tags, LENGTHS).sum()
    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, logits)
    best, top = crf_decode(params, logits, LENGTHS)
    for leaf in jax.tree.leaves((value, gradients, top, best)):
        assert jnp.isfinite(leaf).all()
    found = crf_score(params, logits, best, LENGTHS)
    np.testing.assert_allclose(found, top, rtol=1e-5)


def test_forbidden_transitions():
    """With -1e4 from 0 to 1, no best path takes that step."""
    params, logits, _ = example(dtype=np.float32)
    params = params._replace(transitions=params.transitions.at[0, 1].set(-1e4))
    lengths = np.full(B, T)
    tags, _ = crf_decode(params, jnp.nan_to_num(logits).at[:, :, 1].add(3.0), lengths)
    assert not ((tags[:-1] == 0) & (tags[1:] == 1)).any()


@pytest.mark.parametrize("function", [crf_log_partition, crf_decode, crf_marginals])
def test_batch_axes_are_rows(function):
    """No batch axis, two of them, and ``vmap`` give the numbers of the rows."""
    params, logits, _ = example(dtype=np.float32)
    want = function(params, logits, LENGTHS)
    square = logits.reshape(T, 2, 2, C)
    got = function(params, square, LENGTHS.reshape(2, 2))
    of_row = lambda z, n: function(params, z, n)
    axes = 0 if function is crf_log_partition else 1
    out = (1, 0) if function is crf_decode else axes
    mapped = jax.vmap(of_row, (1, 0), out)(logits, jnp.asarray(LENGTHS))
    for w, g, m in zip(*map(jax.tree.leaves, (want, got, mapped)), strict=True):
        np.testing.assert_allclose(g.reshape(w.shape), w, rtol=1e-6)
        np.testing.assert_allclose(m, w, rtol=1e-6)


def test_no_lengths_are_whole_rows():
    params, logits, tags = example(dtype=np.float32)
    logits, tags = jnp.nan_to_num(logits), tags % C
    got = crf_nats(params, logits, tags)
    assert (got == crf_nats(params, logits, tags, [T] * B)).all()


def test_no_steps():
    params, logits, tags = example(dtype=np.float32)
    empty = logits[:0], tags[:0]
    assert crf_nats(params, *empty).tolist() == [0] * B
    assert crf_decode(params, empty[0])[0].shape == (0, B)
    assert crf_marginals(params, empty[0]).shape == (0, B, C)


def test_sixteen_bits_sum_in_float32():
    _, logits, tags = example(dtype=np.float32)
    nats = crf_nats(init_crf(C), logits.astype(jnp.bfloat16), tags, LENGTHS)
    assert nats.dtype == jnp.float32


def test_traced_tags_that_are_no_classes_are_not_hidden():
    params, logits, tags = example(dtype=np.float32)
    for wrong in (-1, C):
        bad = tags.at[0, 3].set(wrong)
        nats = jax.jit(crf_nats)(params, logits, bad, jnp.asarray(LENGTHS))
        assert jnp.isnan(nats).tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        (dict(tags=jnp.full((T, B), C)), ValueError, r"tags\[0, 1\] is 3, expected a"),
        (
            dict(tags=jnp.zeros((T, 1), jnp.int32)),
            ValueError,
            "one class for every row",
        ),
        (dict(tags=jnp.zeros((T, B))), TypeError, "expected integers"),
        (dict(logits=jnp.zeros(C)), ValueError, "expected time-major"),
        (dict(logits=jnp.zeros((T, B, C), jnp.int32)), TypeError, "floating-point"),
        (dict(params=init_crf(2)), ValueError, r"make params with init_crf\(3\)"),
        (dict(lengths=[0, 1, 2, T + 1]), ValueError, "lengths runs from 0 to 6"),
    ],
)
def test_what_does_not_fit(changed, error, said):
    params, logits, tags = example(dtype=np.float32)
    arguments = dict(params=params, logits=logits, tags=tags, lengths=LENGTHS)
    with pytest.raises(error, match=said):
        crf_nats(**arguments | changed)


def test_classes_are_counted():
    with pytest.raises(ValueError, match="classes is 0, expected an integer, 1 or"):
        init_crf(0)
