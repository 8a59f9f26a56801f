"""A linear recurrence over a sequence, all steps at once.

Where a state enters its own next value only as ``h_t = a_t * h_{t-1} + b_t``, two steps
after each other are again one such step, ``(a_1 a_2, b_1 a_2 + b_2)``: an associative
operation, and the steps may be put together in any grouping. An associative scan
(Blelloch, "Prefix Sums and Their Applications", 1990) takes about ``2 T`` of these
operations in about ``2 log2(T)`` rounds, each round on all of its steps at once.

Positive ``a`` and ``b`` are given by their logarithms, ``(log a_1 + log a_2,
logaddexp(log b_1 + log a_2, log b_2))``, as in Heinsen, "Efficient Parallelization of a
Ubiquitous Sequential Computation", 2023. The state at the start may have any sign, or
be 0, and stays outside of the logarithms: with ``A_t`` the product of all ``a`` up to
``t`` and ``B_t`` the sum that begins with 0,

    h_t = A_t * h_0 + B_t

Memory is ``O(T)``, for the derivative too, whose rounds shrink by half; but its factor
is about three times that of a loop, since every ``logaddexp`` keeps what its derivative
needs. ``remat=`` bounds it by the length of a chunk; chunks follow each other.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

from lstm_jax._types import Array, Bool, Float

LOG_ZERO = -1e30
"""The logarithm of nothing, for a masked step: its exponential is 0, and it is finite,
so that no derivative is ``inf - inf``."""


def associative(
    coefficients: tuple[Float[Array, "T *B H"], Float[Array, "T *B H"]],
    carry: Any,
    reset_carry: Any,
    mask: Bool[Array, "T *B"] | None,
    resets: Bool[Array, "T *B"] | None,
    reverse: bool,
) -> tuple[Any, Float[Array, "T *B H"]]:
    """``(carry, hs)`` of the recurrence with these ``(log a, log b)``.

    The carry is a NamedTuple of ``h`` alone; it, the flags and the result are those of
    the loop in `lstm_jax.unroll`.
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
    """Two steps as one, in the order in which they are taken."""
    (log_a, log_b), (log_a_then, log_b_then) = first, then
    return log_a + log_a_then, jnp.logaddexp(log_b + log_a_then, log_b_then)


def _join_from(first, then):
    """`_join`, but steps with a reset among them forget what was before it."""
    (began, *first), (began_then, *then) = first, then
    pairs = zip(then, _join(first, then), strict=True)
    log_a, log_b = (jnp.where(began_then, alone, both) for alone, both in pairs)
    return began | began_then, log_a, log_b
