"""The loss of labels: sums by hand, and batches that add up."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from lstm_jax.models.label_loss import label_nats

B, C = 7, 4
CLASS_WEIGHTS = np.array([0.5, 2.0, 0.0, 1.0], np.float32)


def example(dtype=np.float32):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(B, C)).astype(dtype)
    labels = rng.integers(0, C, B)
    labels[0] = 2  # the class of weight 0
    return jnp.asarray(logits), jnp.asarray(labels), rng.random(B).astype(dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", [None, CLASS_WEIGHTS])
def test_by_hand(smoothing, class_weights):
    logits, labels, weights = example()
    total = label_nats(
        logits,
        labels,
        weights=weights,
        class_weights=class_weights,
        smoothing=smoothing,
    )
    of_class = np.ones(C) if class_weights is None else class_weights
    nats = weight = 0.0
    for row, label, m in zip(np.asarray(logits, float), labels, weights, strict=True):
        log_p = row - np.log(np.exp(row).sum())
        q = np.full(C, smoothing / C)
        q[label] += 1 - smoothing
        nats -= m * of_class[label] * (q @ log_p)
        weight += m * of_class[label]
    np.testing.assert_allclose(total.nats, nats, rtol=1e-6)
    np.testing.assert_allclose(total.weight, weight, rtol=1e-6)


def test_the_mean_is_that_of_torch():
    logits, labels, _ = example()
    total = label_nats(logits, labels, class_weights=CLASS_WEIGHTS)
    want = torch.nn.functional.cross_entropy(
        torch.tensor(np.asarray(logits)),
        torch.tensor(np.asarray(labels), dtype=torch.long),
        torch.tensor(CLASS_WEIGHTS),
    )
    np.testing.assert_allclose(total.nats / total.weight, want, rtol=1e-6)


@pytest.mark.usefixtures("optax_promotion")
def test_the_gradient_is_that_of_optax():
    logits, labels, _ = example()
    of_optax = optax.softmax_cross_entropy_with_integer_labels
    want = jax.grad(lambda z: of_optax(z, labels).sum())(logits)
    got = jax.grad(lambda z: label_nats(z, labels).nats)(logits)
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_batches_filled_up_add_up_to_the_whole(smoothing):
    """Rows of weight 0 hold NaN and labels of no class; gradients see neither."""
    logits, labels, weights = example()

    def padded(z, at):
        rows = jnp.full((4, C), jnp.nan).at[: len(at)].set(z[at])
        ids = jnp.full(4, -1).at[: len(at)].set(labels[at])
        m = jnp.zeros(4).at[: len(at)].set(weights[at])
        options = dict(weights=m, class_weights=CLASS_WEIGHTS, smoothing=smoothing)
        return label_nats(rows, ids, **options)

    def in_two(z):
        parts = padded(z, np.arange(4)), padded(z, np.arange(4, 7))
        return jax.tree.map(jnp.add, *parts)

    def whole(z):
        options = dict(class_weights=CLASS_WEIGHTS, smoothing=smoothing)
        return label_nats(z, labels, weights=weights, **options)

    for got, want in zip(in_two(logits), whole(logits), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    got, want = (jax.grad(lambda z, f=f: f(z).nats)(logits) for f in (in_two, whole))
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_any_axes_before_the_classes():
    logits, labels, weights = example()
    want = label_nats(logits, labels, weights=weights)
    got = label_nats(logits[:, None], labels[:, None], weights=weights[:, None])
    assert got == want


def test_sixteen_bits_sum_in_float32():
    logits, labels, _ = example()
    total = label_nats(logits.astype(jnp.bfloat16), labels)
    assert total.nats.dtype == total.weight.dtype == jnp.float32


@pytest.mark.usefixtures("x64")
def test_float64_stays_float64():
    logits, labels, weights = example(np.float64)
    assert label_nats(logits, labels, weights=weights).nats.dtype == jnp.float64


@pytest.mark.parametrize(
    "class_weights", [None, CLASS_WEIGHTS, np.float32([1, 1, 1, 0])]
)
@pytest.mark.parametrize("wrong", [-1, C])
def test_traced_labels_of_no_class_are_not_hidden(wrong, class_weights):
    logits, labels, _ = example()
    loss = lambda labels: label_nats(logits, labels, class_weights=class_weights)
    total = jax.jit(loss)(labels.at[1].set(wrong))
    assert jnp.isnan(total.nats / total.weight)


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        (
            dict(labels=jnp.full(B, C)),
            ValueError,
            r"labels\[0\] is 4, expected a class",
        ),
        (dict(labels=jnp.zeros(B + 1, int)), ValueError, "one class for every row"),
        (dict(labels=jnp.zeros(B)), TypeError, "expected integers"),
        (dict(weights=jnp.ones(1)), ValueError, r"weights has shape \(1,\), expected"),
        (dict(weights=-jnp.ones(B)), ValueError, "value -1.0, expected 0 or more"),
        (dict(class_weights=jnp.ones(3)), ValueError, "class_weights has shape"),
        (dict(smoothing=1.0), ValueError, r"smoothing is 1.0, expected a number in"),
    ],
)
def test_what_does_not_fit(changed, error, said):
    logits, labels, _ = example()
    arguments = dict(logits=logits, labels=labels) | changed
    with pytest.raises(error, match=said):
        label_nats(arguments.pop("logits"), arguments.pop("labels"), **arguments)
