"""What the losses that add up all paths share: sums in logarithms, and their arguments.

Everything is in logarithms, with ``-inf`` for a probability of 0.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lstm_jax._types import Array, Int, Lengths
from lstm_jax.core.cells.checks import check_lengths
from lstm_jax.core.recurrence.sequence import length_mask


def log_add(*terms: Array) -> Array:
    """``log(exp(a) + exp(b) + ...)``, as `log_sum`."""
    return log_sum(jnp.stack(terms, axis=-1))


def log_sum(a: Array) -> Array:
    """``log(sum(exp(a)))`` over the last axis. Where all are -inf its derivative is 0;
    that of `jax.nn.logsumexp` is NaN, and second derivatives of the loss need it."""
    top = jax.lax.stop_gradient(a.max(axis=-1))
    top = jnp.where(jnp.isfinite(top), top, 0)
    total = jnp.exp(a - top[..., None]).sum(axis=-1)
    none = total == 0
    return jnp.where(none, -jnp.inf, jnp.log(jnp.where(none, 1, total)) + top)


def row_lengths(
    lengths: Lengths | None, most: int, batch: Sequence[int], **called: str
) -> Int[Array, "*B"]:
    """One length for every row, int32; ``None`` means all. Traced ones are clipped."""
    if lengths is None:
        return jnp.full(batch, most, jnp.int32)
    if not isinstance(lengths, Tracer):
        lengths = np.asarray(lengths)
    return jnp.minimum(check_lengths(lengths, most, tuple(batch), **called), most)


def check_labels(
    labels: Int[Array, "L *B"],
    shape: Sequence[int],
    batch: Sequence[int],
    blank: int,
) -> Int[Array, "L *B"]:
    """Labels as an array, for logits of a shape with these batch axes.

    Raises:
        TypeError: they are not integers.
        ValueError: their shape is not that of the logits, or ``blank`` is no class.
    """
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"labels has dtype {labels.dtype}, expected integers, the indices of "
            f"classes."
        )
    if labels.ndim < 1 or labels.shape[1:] != tuple(batch):
        raise ValueError(
            f"labels has shape {labels.shape}, expected [L, ...] with the batch axes "
            f"of logits {tuple(shape)}."
        )
    number = isinstance(blank, int | np.integer) and not isinstance(blank, bool)
    if not number or not 0 <= blank < shape[-1]:
        raise ValueError(f"blank is {blank!r}, expected a class in [0, {shape[-1]}).")
    return labels


def masked_labels(
    labels: Int[Array, "L *B"], lengths: Int[Array, "*B"], classes: int, blank: int
) -> Int[Array, "L *B"]:
    """Labels, int32, with the blank in the padding. Traced ones that are wrong become
    ``classes``.

    Raises:
        ValueError: a label that counts is no class, or is the blank.
    """
    real = length_mask(lengths, len(labels))
    labels = jnp.where(real, labels.astype(jnp.int32), blank)
    wrong = real & ((labels < 0) | (labels >= classes) | (labels == blank))
    if not isinstance(wrong, Tracer) and wrong.any():
        at = tuple(map(int, jnp.argwhere(wrong)[0]))
        raise ValueError(
            f"labels{list(at)} is {labels[at]}, expected a class in [0, {classes}) "
            f"other than the blank, {blank}; pass label_lengths if it is padding."
        )
    return jnp.where(wrong, classes, labels)
