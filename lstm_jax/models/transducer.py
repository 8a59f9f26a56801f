"""The transducer: labels without times, each seen by the scores of the next.

    p(k | t, u) = softmax(z[t, u])        a label or the blank, after u labels at step t

A path begins at step 0 with no label. The blank goes on to the next step, and label
``u + 1`` stays at its step. With the probabilities ``b(t, u)`` of the blank and
``l(t, u)`` of label ``u + 1``,

    alpha(t, u) = alpha(t-1, u) b(t-1, u) + alpha(t, u-1) l(t, u-1)
    p(y | z) = alpha(T-1, U) b(T-1, U)

is the sum over all paths that read ``y``. The scores may depend on the labels before,
which those of CTC cannot: ``z[t, u] = joint(hs[t], gs[u])`` with the states ``gs`` of a
second network that reads the labels.

Everything is in logarithms. Graves, "Sequence Transduction with Recurrent Neural
Networks", 2012.
"""

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float, Int, Lengths
from lstm_jax.core.arguments import check_floating
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.recurrence.sequence import length_mask
from lstm_jax.models.paths import check_labels, log_add, masked_labels, row_lengths


def transducer_nats(
    logits: Float[Array, "T U1 *B K"],
    labels: Int[Array, "U *B"],
    lengths: Lengths | None = None,
    label_lengths: Lengths | None = None,
    *,
    blank: int = 0,
) -> Float[Array, "*B"]:
    """``-log p(y | z)`` of every row, 0 or more.

    Padding, even NaN, changes neither values nor gradients. A row without steps has
    ``inf`` and a gradient of 0. The loss needs memory for all ``T (U + 1) K`` scores.

    Args:
        logits: ``z``, scores of the ``K`` classes after ``0 ... U`` labels.
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
    >>> from lstm_jax.models.transducer import transducer_nats
    >>> nats = transducer_nats(jnp.zeros((3, 2, 1, 4)), jnp.array([[1]]))
    >>> float(jnp.exp(-nats[0]) * 4**4)  # the label at any of 3 steps
    3.0
    """
    logits, labels, lengths, label_lengths = _checked(
        logits, labels, lengths, label_lengths, blank
    )
    steps, places, *batch, _ = logits.shape
    in_time = length_mask(lengths, steps)[:, None]
    in_place = length_mask(label_lengths + 1, places)[None]
    real = in_time & in_place
    log_p = jax.nn.log_softmax(jnp.where(real[..., None], logits, 0))
    blanks = jnp.where(real, log_p[..., blank], -jnp.inf)
    # Wrong labels under a trace are the class K, which is filled with NaN.
    index = jnp.concatenate([labels, jnp.full((1, *batch), blank, jnp.int32)])
    index = jnp.broadcast_to(index, (steps, places, *batch))[..., None]
    spoken = jnp.take_along_axis(log_p, index, axis=-1, mode="fill")[..., 0]
    more = in_time & length_mask(label_lengths, places)[None]
    spoken = jnp.where(more, spoken, -jnp.inf)
    if not steps:
        return jnp.full(batch, jnp.inf, log_p.dtype)
    alpha = _forward(blanks, spoken)
    last, end = jnp.maximum(lengths - 1, 0), label_lengths
    total = alpha + _diagonals(blanks)
    whole = jnp.take_along_axis(total, (last + end)[None, None], axis=0)[0]
    whole = jnp.take_along_axis(whole, end[None], axis=0)[0]
    return jnp.where(lengths > 0, jnp.maximum(-whole, 0), jnp.inf)


def _forward(blanks, spoken):
    """``log alpha [T + U, U + 1, B]`` by diagonals: entry ``(n, u)`` is that of step
    ``n - u``, so that a diagonal needs only the one before."""
    begin = jnp.full(blanks.shape[1:], -jnp.inf, blanks.dtype).at[0].set(0)

    def step(alpha, at):
        blanks, spoken = at
        said = (alpha + spoken)[:-1]
        none = jnp.full((1, *said.shape[1:]), -jnp.inf, said.dtype)
        return log_add(alpha + blanks, jnp.concatenate([none, said])), alpha

    _, alphas = jax.lax.scan(step, begin, (_diagonals(blanks), _diagonals(spoken)))
    return alphas


def _diagonals(a):
    """``a[n - u, u]`` at ``[n, u]``, and ``-inf`` where there is no such step."""
    steps, places = a.shape[:2]
    n = jnp.arange(steps + places - 1, dtype=jnp.int32)[:, None]
    t = n - jnp.arange(places, dtype=jnp.int32)[None]
    inside = ((t >= 0) & (t < steps)).reshape(*t.shape, *[1] * (a.ndim - 2))
    t = jnp.clip(t, 0, steps - 1).reshape(inside.shape)
    return jnp.where(inside, jnp.take_along_axis(a, t, axis=0), -jnp.inf)


def _checked(logits, labels, lengths, label_lengths, blank):
    logits = check_floating("logits", logits)
    if logits.ndim < 3:
        raise ValueError(
            f"logits has shape {logits.shape}, expected time-major [T, U + 1, ..., K]."
        )
    steps, places, *batch, classes = logits.shape
    labels = check_labels(labels, logits.shape, batch, blank)
    count = len(labels)
    if places != count + 1:
        raise ValueError(
            f"logits has shape {logits.shape} and labels {labels.shape}, expected "
            f"scores after 0 to {count} labels, logits.shape[1] == {count + 1}."
        )
    lengths = row_lengths(lengths, steps, batch, of="logits")
    called = {"name": "label_lengths", "of": "labels"}
    label_lengths = row_lengths(label_lengths, count, batch, **called)
    labels = masked_labels(labels, label_lengths, classes, blank)
    logits = logits.astype(accumulation_dtype(logits.dtype))
    return logits, labels, lengths, label_lengths
