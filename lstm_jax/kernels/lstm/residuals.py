"""Gates and states as residuals, and the gradients by weights that they give."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from lstm_jax._types import Array, Float
from lstm_jax.core.precision import accumulation_dtype, product_precision
from lstm_jax.kernels.lstm.operands import Operands
from lstm_jax.kernels.lstm.shards import Place, Rows, zeros


class Residuals(NamedTuple):
    """Values that the forward loop stores for the backward loop."""

    gates: Float[Array, "T *B 4H"]
    """i, f, g, o."""
    cs: Float[Array, "T *B H"]
    hs: Float[Array, "T *B H"]
    """With a mask or resets: the operand of ``w_h``, which is ``h`` of the step before
    or the reset state. Otherwise the outputs, which are the same values one step later.
    """


RESIDUAL_AXES = Residuals._make([1, 1, 1])


def zero_residuals(at: Operands, rows: Rows | None) -> Residuals:
    """Zeros in the shapes of the residuals."""
    (T, *batch, _), H = at.xs.shape, at.h0.shape[-1]
    steps = lambda n, like: zeros(
        (T, *batch, n), like.dtype, rows, Place(1, len(batch))
    )
    return Residuals(steps(4 * H, at.c0), steps(H, at.c0), steps(H, at.h0))


def state_before(at: Operands, hs: Array, reverse: bool) -> Array:
    """The operand of ``w_h``, from the residual ``hs``."""
    if at.flagged:
        return hs
    pieces = (hs[1:], at.h0[None]) if reverse else (at.h0[None], hs[:-1])
    return jnp.concatenate(pieces)


def weight_gradients(
    at: Operands,
    hs: Array,
    dz: Float[Array, "T *B 4H"],
    wrt: tuple[str, ...],
    *,
    reverse: bool,
    groups: int,
    factors: Any = None,
) -> dict[str, Array]:
    """The gradients by those weights that are in ``wrt``, by name.

    Each is one product over all steps, with ``groups`` leading axes. Its factors have
    the dtype ``factors``, by default that of ``dz``.
    """
    gradients, factor = {}, dz if factors is None else dz.astype(factors)
    if "w_x" in wrt:
        gradients["w_x"] = _outer_products(at.xs, factor, groups)
    if "w_h" in wrt:
        before = state_before(at, hs, reverse)
        gradients["w_h"] = _outer_products(before, factor, groups)
    if "b" in wrt:
        gradients["b"] = dz.sum(axis=(0, *range(1 + groups, dz.ndim - 1)))
    return gradients


def _outer_products(a, g, groups):
    """``a.T @ g`` over time and over all batch axes but the first ``groups``."""
    T, *batch = a.shape[:-1]
    apart, rows = batch[:groups], T * math.prod(batch[groups:])

    def flat(x):
        x = x.reshape(T, *apart, rows // T, x.shape[-1])
        return jnp.moveaxis(x, 0, groups).reshape(*apart, rows, x.shape[-1])

    leading = tuple(range(groups))
    axes = (((groups,), (groups,)), (leading, leading))
    a, g = flat(a).astype(g.dtype), flat(g)
    return lax.dot_general(
        a,
        g,
        axes,
        precision=product_precision(g.dtype),
        preferred_element_type=accumulation_dtype(g.dtype),
    )
