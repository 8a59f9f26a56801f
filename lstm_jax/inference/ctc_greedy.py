"""The best path of a CTC model: the most likely class of every step.

    k_t = argmax over k of log p_t[k]
    step t begins to emit k_t if k_t is a label and differs from k_{t-1}

The path reads as its classes without repeats and without blanks. Graves, Fernandez,
Gomez & Schmidhuber, "Connectionist Temporal Classification", ICML 2006, eq. 4. The
labels of the best path need not be the most likely labels: `ctc_beam_search` adds up
all paths of the same labels.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lstm_jax._types import Array, Float, Int, Lengths
from lstm_jax.core.arguments import check_floating, check_static
from lstm_jax.core.cells.checks import check_lengths
from lstm_jax.core.recurrence.sequence import length_mask


class Emitted(NamedTuple):
    """What each step emits."""

    labels: Int[Array, "T *B"]
    """int32; the label that begins at this step. -1 where none begins: at a blank, at a
    repeat of the class before, and in the padding."""
    log_p: Float[Array, "T *B"]
    """float32; the log-probability of the most likely class, 0 in the padding."""


def ctc_greedy(
    log_p: Float[Array, "T *B K"],
    lengths: Lengths | None = None,
    previous: Int[Array, "*B"] | None = None,
    *,
    blank: int,
) -> tuple[Emitted, Int[Array, "*B"]]:
    """The labels of the best path, and the class of the last step.

    A stream may come in pieces of any length: pass the class of the last step on to the
    next piece. Padding, even NaN, changes nothing.

    Args:
        log_p: log-probabilities of the ``K`` classes, the blank among them. Logits give
            the same labels.
        lengths: real steps of every row; ``None`` means all.
        previous: the class of the last real step of every row before this piece;
            ``None`` means the blank, as at the start of a stream.
        blank: the class that stands for no label.

    Returns:
        `Emitted`, and ``previous`` of the next piece, int32. NaN in a real step gives
        NaN in ``Emitted.log_p``.

    Raises:
        TypeError: ``log_p`` is not floating point, or ``lengths`` or ``previous`` are
            not integers.
        ValueError: shapes do not match, a length is out of range, or ``blank`` is not a
            class.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lstm_jax.inference import ctc_greedy
    >>> path = jnp.array([1, 1, 0, 1, 2])
    >>> log_p = jax.nn.log_softmax(9 * jax.nn.one_hot(path, 3))
    >>> emitted, previous = ctc_greedy(log_p, blank=0)
    >>> emitted.labels.tolist(), int(previous)
    ([1, -1, -1, 1, 2], 2)
    """
    log_p, lengths = check_log_p(log_p, lengths, blank)
    batch = log_p.shape[1:-1]
    if previous is None:
        previous = jnp.full(batch, blank, jnp.int32)
    previous = jnp.asarray(previous)
    if not jnp.issubdtype(previous.dtype, jnp.integer):
        raise TypeError(
            f"previous has dtype {previous.dtype}, expected integers, the class of "
            f"the last step of every row."
        )
    if previous.shape != batch:
        raise ValueError(
            f"previous has shape {previous.shape}, expected {batch}, the batch axes of "
            f"log_p {log_p.shape}."
        )
    return _greedy(log_p, lengths, previous.astype(jnp.int32), blank=blank)


@functools.partial(jax.jit, static_argnames="blank")
def _greedy(log_p, lengths, previous, *, blank):
    real = length_mask(lengths, len(log_p))
    best = jnp.argmax(log_p, axis=-1).astype(jnp.int32)
    classes = jnp.concatenate([previous[None], best])
    begins = real & (best != blank) & (best != classes[:-1])
    emitted = Emitted(
        jnp.where(begins, best, -1), jnp.where(real, log_p.max(axis=-1), 0)
    )
    last = jnp.take_along_axis(classes, lengths[None], axis=0)[0]
    return emitted, last


def check_log_p(log_p, lengths, blank):
    """Log-probabilities as float32 and one length for every row, int32."""
    log_p = check_floating("log_p", log_p)
    if log_p.ndim < 2 or log_p.shape[-1] == 0:
        raise ValueError(
            f"log_p has shape {log_p.shape}, expected time-major [T, ..., K] with 1 "
            f"class or more."
        )
    steps, *batch, classes = log_p.shape
    check_static("blank", blank)
    number = isinstance(blank, int | np.integer) and not isinstance(blank, bool)
    if not number or not 0 <= blank < classes:
        raise ValueError(f"blank is {blank!r}, expected a class in [0, {classes}).")
    if lengths is None:
        return log_p.astype(jnp.float32), jnp.full(batch, steps, jnp.int32)
    if not isinstance(lengths, Tracer):
        lengths = np.asarray(lengths)
    lengths = check_lengths(lengths, steps, tuple(batch), of="log_p")
    return log_p.astype(jnp.float32), jnp.minimum(lengths, steps)
