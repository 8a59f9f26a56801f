"""A linear recurrence with real coefficients, with all steps in parallel.

    d_t = A_t d_{t-1} + b_t        d_0 = 0

Two steps in a row are again one such step, ``(A_2 A_1, A_2 b_1 + b_2)``. So an
associative scan (Blelloch, "Prefix Sums and Their Applications", 1990) needs about
``2 log2(T)`` parallel rounds. ``A_t`` is a matrix, or the diagonal of one.

The products of many ``A_t`` may overflow, even if every ``d_t`` is small. Nothing here
checks the result; `lstm_jax.core.recurrence.newton.solver` does.
`lstm_jax.core.primitives.associative` has the same for positive numbers, in logarithms.
"""

import jax.numpy as jnp
from jax import lax

from lstm_jax._types import Array, Float


def linear_recurrence(
    a: Float[Array, "T *B n"] | Float[Array, "T *B n n"], b: Float[Array, "T *B n"]
) -> Float[Array, "T *B n"]:
    """``d`` of the recurrence above. ``a`` holds matrices if it has one axis more than
    ``b``, otherwise diagonals.
    """
    join = _join_diagonals if a.ndim == b.ndim else _join_matrices
    return lax.associative_scan(join, (a, b))[1]


def apply(
    a: Float[Array, "*B n"] | Float[Array, "*B n n"], x: Float[Array, "*B n"]
) -> Float[Array, "*B n"]:
    """``A x``, at every step at once."""
    return a * x if a.ndim == x.ndim else _multiply(a, x[..., None])[..., 0]


def _join_diagonals(first, then):
    """Combines two steps, in order."""
    (a, b), (a_then, b_then) = first, then
    return a_then * a, a_then * b + b_then


def _join_matrices(first, then):
    (a, b), (a_then, b_then) = first, then
    return _multiply(a_then, a), apply(a_then, b) + b_then


def _multiply(a, b):
    # Newton's method needs all digits of float32, which a GPU gives only on request.
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
