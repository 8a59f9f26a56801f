"""Connectionist temporal classification: labels without times.

    p_t = softmax(z_t)            a distribution over the labels and a blank, at every t
    p(y | z) = sum over all paths that read y of prod_t p_t[path_t]

A path has one class for every step. It reads as the sequence that is left when runs of
one class become one and blanks are dropped: ``- a a - a b`` reads ``a a b``. Let ``e``
be the labels with a blank before, between and after them, ``2 L + 1`` in all. Then

    alpha_1[s] = p_1[e_s]  for s = 1, 2
    alpha_t[s] = (alpha_{t-1}[s] + alpha_{t-1}[s-1] + alpha_{t-1}[s-2]) p_t[e_s]

where the last term counts only if ``e_s`` is a label and differs from ``e_{s-2}``, and
``p(y | z) = alpha_T[2L] + alpha_T[2L+1]``. The same sums from the end, without
``p_t[e_s]``, are ``beta_t[s]``. Both give the probability of passing ``e_s`` at step
``t``, which is the derivative:

    d log p(y | z) / d log p_t[k] = sum over e_s = k of alpha_t[s] beta_t[s] / p(y | z)

Everything is in logarithms, with ``-inf`` for a probability of 0. Graves, Fernandez,
Gomez & Schmidhuber, "Connectionist Temporal Classification", ICML 2006.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Bool, Float, Int, Lengths
from lstm_jax.core.arguments import check_floating
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.recurrence.sequence import length_mask
from lstm_jax.models.paths import (
    check_labels,
    log_add,
    log_sum,
    masked_labels,
    row_lengths,
)

MOST = 2**31 - 1
"""No row has more steps."""
LABELS = {"name": "label_lengths", "of": "labels"}


def ctc_nats(
    logits: Float[Array, "T *B K"],
    labels: Int[Array, "L *B"],
    lengths: Lengths | None = None,
    label_lengths: Lengths | None = None,
    *,
    blank: int = 0,
) -> Float[Array, "*B"]:
    """``-log p(y | z)`` of every row, 0 or more.

    Padding, even NaN, changes neither values nor gradients. Where no path reads the
    labels (see `ctc_fits`), the result is ``inf`` and the gradient is 0.

    Args:
        logits: ``z``, scores of the ``K`` classes, the blank among them.
        labels: ``y``, without blanks.
        lengths: real steps of every row; ``None`` means all.
        label_lengths: labels of every row; ``None`` means all.
        blank: the class that stands for no label.

    Raises:
        TypeError: ``logits`` are not floating point or ``labels`` are not integers.
        ValueError: shapes do not match, a length is out of range, ``blank`` is no
            class, or a label that counts is no class or is the blank. Traced labels of
            this kind give NaN instead.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.models.ctc import ctc_nats
    >>> labels = jnp.array([[1], [2]])
    >>> nats = ctc_nats(jnp.zeros((3, 1, 3)), labels)
    >>> float(jnp.exp(-nats[0]) * 3**3)  # of 27 paths, 112, 122, 012, 102, 120 read 1 2
    5.0
    """
    logits, labels, lengths, label_lengths = _checked(
        logits, labels, lengths, label_lengths, blank
    )
    steps, *batch, classes = logits.shape
    rows = int(np.prod(batch))
    given = labels.reshape(len(labels), rows), label_lengths.reshape(rows)
    lattice = _lattice(*given, lengths.reshape(rows), blank)
    mask = length_mask(lattice.steps, steps)
    z = jnp.where(mask[..., None], logits.reshape(steps, rows, classes), 0)
    if not steps:
        return jnp.where(label_lengths > 0, jnp.inf, jnp.zeros(batch, z.dtype))
    return _nats(jax.nn.log_softmax(z), lattice).reshape(batch)


def ctc_fits(
    labels: Int[Array, "L *B"],
    lengths: Lengths,
    label_lengths: Lengths | None = None,
) -> Bool[Array, "*B"]:
    """Whether a row has enough steps for its labels: one for each, and one for the
    blank between two that are equal.

    Args:
        labels: ``y``, without blanks.
        lengths: steps of every row.
        label_lengths: labels of every row; ``None`` means all.

    Raises:
        TypeError, ValueError: lengths are not integers, do not match the labels, or are
            out of range.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.models.ctc import ctc_fits
    >>> ctc_fits(jnp.array([[1, 1], [1, 2]]), jnp.array([2, 2])).tolist()
    [False, True]
    """
    labels = jnp.asarray(labels)
    if labels.ndim < 1:
        raise ValueError(f"labels has shape {labels.shape}, expected [L, ...].")
    count, *batch = labels.shape
    given = row_lengths(label_lengths, count, batch, **LABELS)
    real = length_mask(given, count)
    repeated = (labels[1:] == labels[:-1]) & real[1:]
    needed = given + repeated.sum(axis=0, dtype=jnp.int32)
    return row_lengths(lengths, MOST, batch, of="logits") >= needed


class _Lattice(NamedTuple):
    """``e`` of every row, read forwards and from the end, ``[2, B, S]``."""

    classes: Int[Array, "2 B S"]
    skips: Bool[Array, "2 B S"]
    """Whether ``e_s`` may follow ``e_{s-2}``."""
    starts: Bool[Array, "2 B S"]
    """Whether a path may begin at ``s``."""
    sizes: Int[Array, "B"]
    """``2 L + 1``; what comes after it does not count."""
    steps: Int[Array, "B"]


def _lattice(labels, label_lengths, steps, blank):
    count, rows = labels.shape
    sizes = 2 * label_lengths + 1
    at = jnp.arange(2 * count + 1, dtype=jnp.int32)[None]
    spread = jnp.full((rows, 2 * count + 1), blank, jnp.int32)
    e = spread.at[:, 1::2].set(labels.T)
    e = jnp.where(at < sizes[:, None], e, blank)
    both = jnp.stack([e, jnp.take_along_axis(e, _mirror(sizes, at.shape[1]), axis=1)])
    two_before = jnp.pad(both[..., :-2], ((0, 0), (0, 0), (2, 0)))[..., : at.shape[1]]
    skips = (both != blank) & (both != two_before) & (at >= 2)[None]
    starts = jnp.broadcast_to((at < 2) & (at < sizes[:, None]), both.shape)
    return _Lattice(both, skips, starts, sizes, steps)


def _mirror(lengths, count):
    """The place of every entry of a row that is read from its end, ``[B, count]``;
    padding stays where it is."""
    at = jnp.arange(count, dtype=jnp.int32)[None]
    lengths = lengths[:, None]
    return jnp.where(at < lengths, lengths - 1 - at, at)


@jax.custom_jvp
def _nats(log_p, lattice):
    """``-log p(y | z)``, from ``log p_t [T, B, K]``."""
    return _sums(log_p, lattice)[0]


@_nats.defjvp
def _derivative(primals, tangents):
    """The product with the probabilities of passing a class, which JAX differentiates
    further if it has to."""
    log_p, lattice = primals
    nats, alpha, beta = _sums(log_p, lattice)
    size = alpha.shape[-1]
    real = jnp.arange(size, dtype=jnp.int32)[None] < lattice.sizes[:, None]
    passed = jnp.where(real[None], alpha + beta, -jnp.inf)
    top = jax.lax.stop_gradient(passed.max(axis=-1, keepdims=True))
    some = jnp.isfinite(top) & length_mask(lattice.steps, len(log_p))[..., None]
    passed = jnp.exp(jnp.where(some, passed - jnp.where(some, top, 0), -jnp.inf))
    total = passed.sum(axis=-1, keepdims=True)
    passed = passed / jnp.where(total > 0, total, 1)
    classes = jax.nn.one_hot(lattice.classes[0], log_p.shape[-1], dtype=log_p.dtype)
    by_class = jnp.einsum(
        "tbs,bsk->tbk", passed, classes, precision=jax.lax.Precision.HIGHEST
    )
    # Where nats are NaN or infinite, the probabilities are 0.
    return nats, -(by_class * tangents[0]).sum(axis=(0, 2))


def _sums(log_p, lattice):
    """``-log p(y | z) [B]``, ``log alpha``, and ``log beta`` without the probability of
    its own step, both ``[T, B, S]``. One loop computes both."""
    steps, _, size = len(log_p), *lattice.classes.shape[1:]
    in_time = _mirror(lattice.steps, steps).T[..., None]
    in_place = _mirror(lattice.sizes, size)[None]

    def mirrored(a):
        a = jnp.take_along_axis(a, in_time, axis=0)
        return jnp.take_along_axis(a, in_place, axis=2)

    y = jnp.take_along_axis(log_p, lattice.classes[:1], axis=2, mode="fill")
    y = jnp.stack([y, mirrored(y)], axis=1)
    begin = jnp.where(lattice.starts, 0, jnp.full(y.shape[1:], -jnp.inf, y.dtype))
    mask = length_mask(lattice.steps, steps)[:, None, :, None]

    def step(state, at):
        y, real = at
        two = jnp.where(lattice.skips, _shifted(state, 2), -jnp.inf)
        before = log_add(state, _shifted(state, 1), two)
        return jnp.where(real, before + y, state), before

    end, before = jax.lax.scan(step, begin + y[0], (y[1:], mask[1:]))
    before = jnp.concatenate([begin[None], before])
    # A path ends where one that is read from the end begins.
    ends = jnp.take_along_axis(lattice.starts[1], in_place[0], axis=1)
    last = jnp.where(ends, end[0], -jnp.inf)
    nats = jnp.maximum(-log_sum(last), 0)
    nothing = jnp.where(lattice.sizes > 1, jnp.inf, jnp.zeros_like(nats))
    nats = jnp.where(lattice.steps > 0, nats, nothing)
    return nats, before[:, 0] + y[:, 0], mirrored(before[:, 1])


def _shifted(a, by):
    """``a[s - by]`` at ``s``."""
    count = a.shape[-1]
    fill = jnp.full((*a.shape[:-1], min(by, count)), -jnp.inf, a.dtype)
    return jnp.concatenate([fill, a], axis=-1)[..., :count]


def _checked(logits, labels, lengths, label_lengths, blank):
    """All arguments as arrays; labels are blank in the padding, and traced labels that
    are wrong are ``K``."""
    logits = check_floating("logits", logits)
    if logits.ndim < 2:
        raise ValueError(
            f"logits has shape {logits.shape}, expected time-major [T, ..., K]."
        )
    steps, *batch, classes = logits.shape
    labels = check_labels(labels, logits.shape, batch, blank)
    count = len(labels)
    lengths = row_lengths(lengths, steps, batch, of="logits")
    label_lengths = row_lengths(label_lengths, count, batch, **LABELS)
    labels = masked_labels(labels, label_lengths, classes, blank)
    logits = logits.astype(accumulation_dtype(logits.dtype))
    return logits, labels, lengths, label_lengths
