"""The cross-entropy of labels, as a sum and its weight.

    nats   = sum over rows of w[y] * m * H(q_y, p)         p = softmax(logits)
    weight = sum over rows of w[y] * m
    H(q, p) = -sum_c q[c] log p[c]     q_y[c] = (1 - s) [c = y] + s / C

``m`` is the weight of a row, ``w`` the weight of its class, ``s`` the label smoothing
(Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016). The mean loss is
``nats / weight``. Sums of batches add up to the sum of the split, so a batch may be
padded with rows of weight 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lstm_jax._types import Array, Float, Int
from lstm_jax.core.arguments import check_floating, check_rate
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.models.classes import check_classes, classes_that_count


class Total(NamedTuple):
    """A sum over rows, and the weight of these rows."""

    nats: Float[Array, ""]
    weight: Float[Array, ""]


def label_nats(
    logits: Float[Array, "*S C"],
    labels: Int[Array, "*S"],
    *,
    weights: Float[Array, "*S"] | None = None,
    class_weights: Float[Array, "C"] | None = None,
    smoothing: float = 0.0,
) -> Total:
    """Cross-entropy of labels in nats, summed, and the weight of the sum.

    Args:
        logits: scores of the classes.
        labels: the correct classes, in ``[0, C)``. A traced label outside this range
            gives NaN.
        weights: weights of the rows, 0 or more; ``None`` is 1 for all. A row of weight
            0 is ignored, even if it contains NaN or a label out of range.
        class_weights: weights of the classes, 0 or more; ``None`` is 1 for all.
        smoothing: ``s``, the fraction of a label that is spread over all classes.

    Raises:
        TypeError: ``logits`` or weights are not floating point, or ``labels`` are not
            integers.
        ValueError: shapes do not match, a label is outside ``[0, C)``, a weight is
            negative, or ``smoothing`` is outside ``[0, 1)``.

    >>> import jax.numpy as jnp
    >>> logits, labels = jnp.zeros((3, 4)), jnp.array([0, 3, -1])
    >>> total = label_nats(logits, labels, weights=jnp.array([1.0, 1.0, 0.0]))
    >>> print(f"{total.nats:.4f} {total.weight}")  # 2 log(4)
    2.7726 2.0
    """
    logits = check_floating("logits", logits)
    dtype = accumulation_dtype(logits.dtype)
    labels = check_classes("labels", labels, logits.shape)
    check_rate("smoothing", smoothing)
    if weights is None:
        weights = jnp.ones(labels.shape, dtype)
    weights = _check_weights("weights", weights, labels.shape).astype(dtype)
    advice = "give rows that do not count the weight 0"
    labels = classes_that_count("labels", labels, weights > 0, logits.shape[-1], advice)
    if class_weights is not None:
        shape = logits.shape[-1:]
        of_class = _check_weights("class_weights", class_weights, shape).astype(dtype)
        weights = weights * of_class.at[labels].get(mode="fill", fill_value=jnp.nan)
    counts = (weights > 0)[..., None]
    # Mask before the log: the derivative at NaN, times 0, is NaN.
    logits = jnp.where(counts, logits, jnp.zeros_like(logits)).astype(dtype)
    log_p = jax.nn.log_softmax(logits, axis=-1)
    picked = jnp.take_along_axis(log_p, labels[..., None], axis=-1, mode="fill")
    nats = -(1.0 - smoothing) * picked[..., 0] - smoothing * log_p.mean(axis=-1)
    nats = jnp.where(counts[..., 0], weights * nats, jnp.zeros_like(nats))
    return Total(nats.sum(), weights.sum())


def _check_weights(name, weights, shape):
    weights = check_floating(name, weights)
    if weights.shape != shape:
        raise ValueError(f"{name} has shape {weights.shape}, expected {shape}.")
    # Use numpy: under jax.jit even constants would become traced.
    if (
        not isinstance(weights, Tracer)
        and not (known := np.asarray(weights) >= 0).all()
    ):
        worst = np.asarray(weights)[~known][0]
        raise ValueError(f"{name} has the value {worst}, expected 0 or more.")
    return weights
