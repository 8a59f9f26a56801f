"""The transducer against all paths, one by one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from lstm_jax.models.transducer import transducer_nats

T, U, K = 4, 3, 3
exact = pytest.mark.usefixtures("x64")


def by_paths(z, labels, blank):
    """From the definition: the step of every label, none before that of the last."""
    log_p = np.asarray(jax.nn.log_softmax(jnp.asarray(z)))
    steps, found = len(z), []
    for at in itertools.combinations_with_replacement(range(steps), len(labels)):
        pairs = zip(at, labels, strict=True)
        said = sum(log_p[t, u, k] for u, (t, k) in enumerate(pairs))
        blanks = sum(log_p[t, sum(a <= t for a in at), blank] for t in range(steps))
        found.append(said + blanks)
    return -np.logaddexp.reduce(found) if found and steps else np.inf


def example(seed, blank=0):
    """Rows of all lengths, with NaN and nonsense in the padding."""
    rng = np.random.default_rng(seed)
    lengths = np.array([0, 0, 1, 1, 2, 3, T, T, T])
    counts = np.array([0, 1, 0, 2, 2, 3, 0, 2, U])
    logits = rng.normal(scale=2, size=(T, U + 1, len(lengths), K))
    labels = rng.choice([k for k in range(K) if k != blank], (U, len(lengths)))
    t, u = np.ogrid[:T, : U + 1]
    padding = (t[..., None] >= lengths) | (u[..., None] > counts)
    logits[padding] = np.nan
    labels[np.arange(U)[:, None] >= counts] = 99
    return jnp.asarray(logits), jnp.asarray(labels), lengths, counts, ~padding


@exact
@pytest.mark.parametrize("blank", range(K))
@pytest.mark.parametrize("seed", range(3))
def test_all_paths(seed, blank):
    logits, labels, lengths, counts, _ = example(seed, blank)
    found = transducer_nats(logits, labels, lengths, counts, blank=blank)
    for b, (steps, count) in enumerate(zip(lengths, counts, strict=True)):
        said = labels[:count, b].tolist()
        want = by_paths(logits[:steps, : count + 1, b], said, blank)
        assert float(found[b]) == pytest.approx(want, abs=1e-9), b


@exact
def test_derivatives():
    """First ones in both modes and second ones, by finite differences; none in the
    padding, nor of a row without steps."""
    logits, labels, lengths, counts, real = example(1)

    @jax.jit
    def total(z):
        z = jnp.where(real[..., None], z, jnp.nan)
        nats = transducer_nats(z, labels, lengths, counts)
        return jnp.where(lengths > 0, nats, 0).sum()

    z = jnp.nan_to_num(logits)
    check_grads(total, (z,), order=2, modes=["fwd", "rev"], atol=1e-5, rtol=1e-5)
    nats = lambda z: transducer_nats(z, labels, lengths, counts).sum()
    gradient = np.asarray(jax.grad(nats)(logits))
    assert np.isfinite(gradient).all()
    assert not gradient[~real].any()
    assert np.abs(gradient[real]).sum() > 1


def test_likely_and_unlikely_labels():
    """In float32: never negative, never NaN, at any scale of the scores."""
    rng = np.random.default_rng(0)
    labels = jnp.asarray(rng.integers(1, 5, (6, 200)))
    logits = rng.normal(size=(9, 7, 200, 5)).astype(np.float32)
    logits *= np.exp(rng.uniform(-3, 6, 200)).astype(np.float32)[:, None]
    total = lambda z: transducer_nats(z, labels).sum()
    gradient = jax.grad(total)(jnp.asarray(logits))
    each = transducer_nats(jnp.asarray(logits), labels)
    assert float(each.min()) >= 0
    assert np.isfinite(each).all()
    assert np.isfinite(gradient).all()
    # The gradient of a row sums to 0 over the classes: shifts of scores change nothing.
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-4)


def test_a_call_alone_under_vmap_and_jit():
    logits, labels, lengths, counts, _ = example(2)
    want = transducer_nats(logits, labels, lengths, counts)
    found = jax.jit(jax.vmap(transducer_nats, (2, 1, 0, 0)))(
        logits, labels, jnp.asarray(lengths), jnp.asarray(counts)
    )
    np.testing.assert_allclose(found, want, rtol=1e-5)
    two = transducer_nats(
        logits[:, :, :8].reshape(T, U + 1, 2, 4, K),
        labels[:, :8].reshape(U, 2, 4),
        lengths[:8].reshape(2, 4),
        counts[:8].reshape(2, 4),
    )
    np.testing.assert_allclose(two.ravel(), want[:8], rtol=1e-5)
    wrong = jax.jit(transducer_nats)(jnp.zeros((2, 2, 1, 3)), jnp.array([[3]]))
    assert np.isnan(wrong).all()


@pytest.mark.parametrize(
    ("shape", "labels", "error", "says"),
    [
        ((2, 2, 3), np.zeros((1,), int), ValueError, r"labels\[0\] is 0, expected a"),
        ((2, 3), np.ones((1,), int), ValueError, "U . 1, ..., K"),
        ((2, 3, 3), np.ones((1,), int), ValueError, r"logits.shape\[1\] == 2"),
        ((2, 2, 4, 3), np.ones((1, 3), int), ValueError, "the batch axes of logits"),
        ((2, 2, 3), np.ones((1,)), TypeError, "expected integers"),
    ],
)
def test_refusals(shape, labels, error, says):
    with pytest.raises(error, match=says):
        transducer_nats(jnp.zeros(shape), labels)
