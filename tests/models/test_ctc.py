"""Connectionist temporal classification against all paths, one by one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from lstm_jax.models.ctc import ctc_fits, ctc_nats

T, L, K = 5, 3, 3
exact = pytest.mark.usefixtures("x64")


def read(path, blank=0):
    """What a path says."""
    runs = [k for k, _ in itertools.groupby(path)]
    return tuple(k for k in runs if k != blank)


def by_paths(z, labels, blank=0):
    """From the definition, for one row without padding."""
    log_p = np.asarray(jax.nn.log_softmax(jnp.asarray(z)))
    found = [
        sum((log_p[t, k] for t, k in enumerate(path)), start=0.0)
        for path in itertools.product(range(z.shape[1]), repeat=len(z))
        if read(path, blank) == tuple(labels)
    ]
    return -np.logaddexp.reduce(found) if found else np.inf


def example(seed, blank=0, dtype=np.float64):
    """Rows of all lengths, with NaN and nonsense in the padding."""
    rng = np.random.default_rng(seed)
    lengths = np.array([0, 0, 1, 1, 2, 3, 4, T, T, T])
    counts = np.array([0, 1, 0, 1, 2, 2, 3, 0, 2, 3])
    rows = len(lengths)
    logits = rng.normal(scale=2, size=(T, rows, K)).astype(dtype)
    classes = [k for k in range(K) if k != blank]
    labels = rng.choice(classes, (L, rows))
    logits[np.arange(T)[:, None] >= lengths] = np.nan
    labels[np.arange(L)[:, None] >= counts] = 99
    return logits, labels, lengths, counts


def nats_of(logits, labels, lengths, counts, **options):
    return ctc_nats(
        jnp.asarray(logits), jnp.asarray(labels), lengths, counts, **options
    )


@exact
@pytest.mark.parametrize("blank", range(K))
@pytest.mark.parametrize("seed", range(3))
def test_all_paths(seed, blank):
    logits, labels, lengths, counts = example(seed, blank)
    found = nats_of(logits, labels, lengths, counts, blank=blank)
    for b, (n, count) in enumerate(zip(lengths, counts, strict=True)):
        expected = by_paths(logits[:n, b], labels[:count, b], blank)
        assert float(found[b]) == pytest.approx(expected, abs=1e-9), b
    fits = ctc_fits(jnp.asarray(labels), lengths, counts)
    np.testing.assert_array_equal(fits, np.isfinite(found))


@exact
def test_derivatives():
    """First ones in both modes and second ones, by finite differences."""
    logits, labels, lengths, counts = example(1)
    fits = np.asarray(ctc_fits(jnp.asarray(labels), lengths, counts))
    real = np.arange(T)[:, None, None] < lengths[None, :, None]

    def total(z):
        # NaN stays in the padding.
        z = jnp.where(real, z, jnp.nan)
        nats = ctc_nats(z, jnp.asarray(labels), lengths, counts)
        return jnp.where(fits, nats, 0).sum()

    z = jnp.asarray(np.nan_to_num(logits))
    check_grads(jax.jit(total), (z,), order=2, modes=["fwd", "rev"])
    gradient = jax.jit(jax.grad(total))(z)
    assert not gradient[:, ~fits].any()
    assert not np.asarray(gradient)[~np.broadcast_to(real, gradient.shape)].any()
    # A softmax less the probabilities of the classes: no step gains or loses any.
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-12)


def test_labels_that_cannot_be_read():
    """Infinite, with a gradient of 0, beside a row that can be."""
    labels, logits = jnp.array([[1, 1], [1, 2]]), jnp.ones((2, 2, 3))
    nats, back = jax.vjp(lambda z: ctc_nats(z, labels), logits)
    assert nats[0] == np.inf
    assert float(nats[1]) == pytest.approx(2 * np.log(3))
    (gradient,) = back(jnp.ones(2))
    assert not gradient[:, 0].any()
    assert bool(jnp.isfinite(gradient).all())
    assert bool(gradient[:, 1].any())


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e3, 1e30])
def test_no_value_is_negative_or_nan(scale):
    """Long rows in float32, as sure as float32 can be, right and wrong ones."""
    rng = np.random.default_rng(0)
    rows, steps, most, classes = 2_500, 40, 12, 6
    counts = rng.integers(0, most + 1, rows)
    labels = rng.integers(1, classes, (most, rows))
    lengths = rng.integers(0, steps + 1, rows)
    logits = scale * rng.normal(size=(steps, rows, classes)).astype(np.float32)
    # Half of the rows say what their labels are, each as long as it can be.
    for b in range(0, rows, 2):
        said = [k for label in labels[: counts[b], b] for k in (label, 0)]
        path = np.array(said + [0] * steps)[:steps]
        logits[np.arange(steps), b, path] = np.abs(logits[:, b]).max() * 2

    def total(z):
        nats = ctc_nats(z, jnp.asarray(labels), lengths, counts)
        return jnp.where(jnp.isfinite(nats), nats, 0).sum(), nats

    gradient, nats = jax.jit(jax.grad(total, has_aux=True))(jnp.asarray(logits))
    assert not np.isnan(nats).any()
    assert float(nats.min()) >= 0
    assert bool(jnp.isfinite(gradient).all())
    # Probabilities, up to rounding.
    assert float(jnp.abs(gradient).max()) <= 1 + 1e-5
    fits = np.asarray(ctc_fits(jnp.asarray(labels), lengths, counts))
    assert np.isfinite(np.asarray(nats)[fits]).all()
    assert np.isinf(np.asarray(nats)[~fits]).all()


def test_a_class_that_cannot_be():
    """-inf in the logits is a probability of 0, with finite gradients."""
    labels, logits = (
        jnp.array([[1], [2]]),
        jnp.zeros((4, 1, 4)).at[:, :, 3].set(-jnp.inf),
    )
    nats, gradient = jax.jit(jax.value_and_grad(lambda z: ctc_nats(z, labels)[0]))(
        logits
    )
    assert float(nats) == pytest.approx(float(ctc_nats(logits[..., :3], labels)[0]))
    assert bool(jnp.isfinite(gradient).all())
    assert ctc_nats(logits, jnp.array([[3]]))[0] == np.inf


def test_nan_is_seen():
    logits = jnp.zeros((4, 2, 3)).at[2, 0, 1].set(jnp.nan)
    nats = ctc_nats(logits, jnp.array([[1, 1]]))
    assert np.isnan(nats[0])
    assert np.isfinite(nats[1])


def test_batch_axes_and_transformations():
    logits, labels, lengths, counts = example(2, dtype=np.float32)
    flat = nats_of(logits, labels, lengths, counts)
    shape = lambda a, n: jnp.asarray(a).reshape(*a.shape[:n], 2, 5, *a.shape[n + 1 :])
    given = shape(logits, 1), shape(labels, 1), shape(lengths, 0), shape(counts, 0)
    np.testing.assert_allclose(ctc_nats(*given).reshape(-1), flat, rtol=1e-6)
    one = jax.jit(jax.vmap(ctc_nats, in_axes=(1, 1, 0, 0)))
    rows = jnp.asarray(logits), jnp.asarray(labels)
    found = one(*rows, jnp.asarray(lengths), jnp.asarray(counts))
    np.testing.assert_allclose(found, flat, rtol=1e-6)
    (alone,) = {ctc_nats(jnp.zeros((2, 3)), jnp.array([1])).shape}
    assert alone == ()
    wide = ctc_nats(jnp.asarray(logits, jnp.bfloat16), rows[1], lengths, counts)
    assert wide.dtype == jnp.float32
    assert ctc_nats(jnp.zeros((0, 2, 3)), jnp.zeros((0, 2), int)).tolist() == [0, 0]
    nothing = ctc_nats(
        jnp.zeros((0, 2, 3)), jnp.ones((1, 2), int), None, np.array([0, 1])
    )
    assert nothing.tolist() == [0, np.inf]


def test_traced_labels_that_are_wrong_give_nan():
    labels = jnp.array([[1, 0, 3]])
    nats = jax.jit(ctc_nats)(jnp.zeros((4, 3, 3)), labels)
    assert np.isnan(nats).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (dict(logits=jnp.zeros((4, 2, 3), int)), TypeError, "logits"),
        (dict(logits=jnp.zeros(3)), ValueError, "time-major"),
        (dict(labels=jnp.zeros((2, 2))), TypeError, "labels has dtype float32"),
        (dict(labels=jnp.ones((2, 3), int)), ValueError, "with the batch axes"),
        (dict(labels=jnp.zeros((2, 2), int)), ValueError, r"labels\[0, 0\] is 0, exp"),
        (dict(labels=jnp.full((2, 2), 3)), ValueError, "other than the blank, 0"),
        (
            dict(lengths=np.array([5, 1])),
            ValueError,
            r"^lengths runs from 1 to 5, expected values in \[0, 4\], the steps of log",
        ),
        (
            dict(label_lengths=np.array([3, 1])),
            ValueError,
            "^label_lengths runs from 1 to 3",
        ),
        (dict(lengths=jnp.array([5, 1])), ValueError, "^lengths runs from 1 to 5"),
        (dict(lengths=np.ones(2)), TypeError, "^lengths has dtype float64"),
        (dict(label_lengths=np.array([1])), ValueError, "^label_lengths has shape"),
        (dict(blank=3), ValueError, r"blank is 3, expected a class in \[0, 3\)"),
        (dict(blank=True), ValueError, "blank is True"),
    ],
)
def test_wrong_arguments(change, error, says):
    given = dict(logits=jnp.zeros((4, 2, 3)), labels=jnp.ones((2, 2), int)) | change
    with pytest.raises(error, match=says):
        ctc_nats(**given)
