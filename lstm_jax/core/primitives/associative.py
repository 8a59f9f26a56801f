"""A linear recurrence over a sequence, with all steps in parallel.

Let a state change only by ``h_t = a_t * h_{t-1} + b_t``. Then two steps in a row are
again one such step, ``(a_1 a_2, b_1 a_2 + b_2)``. This operation is associative, so the
steps can be grouped in any way. An associative scan (Blelloch, "Prefix Sums and Their
Applications", 1990) takes about ``2 T`` operations in about ``2 log2(T)`` parallel
rounds.

Positive ``a`` and ``b`` are stored as logarithms,
``(log a_1 + log a_2, logaddexp(log b_1 + log a_2, log b_2))``, as in Heinsen,
"Efficient Parallelization of a Ubiquitous Sequential Computation", 2023. The initial
state may be negative or 0, so it stays outside the logarithms. With ``A_t`` the product
of all ``a`` up to ``t`` and ``B_t`` the recurrence that starts from 0,

    h_t = A_t * h_0 + B_t

Memory is ``O(T)``, also for the derivative, because the rounds shrink by half. The
factor is about three times that of a loop, because every ``logaddexp`` stores values
for its derivative. ``remat=`` limits the memory to the length of a chunk; the chunks
run one after the other.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

from lstm_jax._types import Array, Bool, Float

LOG_ZERO = -1e30
"""The logarithm that stands for log(0), for a masked step. Its exponential is 0. It is
finite, so no derivative becomes ``inf - inf``."""


def associative(
    coefficients: tuple[Float[Array, "T *B H"], Float[Array, "T *B H"]],
    carry: Any,
    reset_carry: Any,
    mask: Bool[Array, "T *B"] | None,
    resets: Bool[Array, "T *B"] | None,
    reverse: bool,
) -> tuple[Any, Float[Array, "T *B H"]]:
    """``(carry, hs)`` of the recurrence with coefficients ``(log a, log b)``.

    The carry is a NamedTuple with the one field ``h``. Flags, carry and results have
    the same meaning as in `lstm_jax.unroll`.
    """
    log_a, log_b = coefficients
    if log_a.shape[0] == 0:
        return carry, jnp.zeros(log_a.shape, carry.h.dtype)
    real = None if mask is None else mask[..., None]
    if real is not None:
        log_a = jnp.where(real, log_a, jnp.zeros_like(log_a))
        log_b = jnp.where(real, log_b, jnp.full_like(log_b, LOG_ZERO))
    wide = lambda carry: carry.h.astype(log_a.dtype)[None]
    if resets is None:
        log_a, log_b = lax.associative_scan(_join, (log_a, log_b), reverse=reverse)
        start = wide(carry)
    else:
        steps = (resets[..., None], log_a, log_b)
        began, log_a, log_b = lax.associative_scan(_join_from, steps, reverse=reverse)
        start = jnp.where(began, wide(reset_carry), wide(carry))
    hs = (jnp.exp(log_a) * start + jnp.exp(log_b)).astype(carry.h.dtype)
    carry = type(carry)(hs[0 if reverse else -1])
    return carry, hs if real is None else jnp.where(real, hs, jnp.zeros_like(hs))


def _join(first, then):
    """Combines two steps, in order."""
    (log_a, log_b), (log_a_then, log_b_then) = first, then
    return log_a + log_a_then, jnp.logaddexp(log_b + log_a_then, log_b_then)


def _join_from(first, then):
    """Like `_join`, but a reset discards everything before it."""
    (began, *first), (began_then, *then) = first, then
    pairs = zip(then, _join(first, then), strict=True)
    log_a, log_b = (jnp.where(began_then, alone, both) for alone, both in pairs)
    return began | began_then, log_a, log_b
