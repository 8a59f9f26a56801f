"""cuDNN's calls as primitives of JAX, one set for each precision.

Reverse mode is cuDNN's backward call. Forward mode and second derivatives are by the
reference equations. No primitive can be traced without JAX's CUDA plugin, because only
the plugin knows the size of the reserve space.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax._types import Array, Float
from lstm_jax.kernels.cudnn import calls
from lstm_jax.kernels.lstm import derivatives
from lstm_jax.kernels.lstm.binding import Primitives
from lstm_jax.kernels.lstm.kernel import Kernel, Loops
from lstm_jax.kernels.lstm.operands import (
    OPERAND_AXES,
    OUTPUT_AXES,
    WEIGHTS,
    Operands,
    gradient_axes,
)
from lstm_jax.kernels.lstm.primitives import primitives_of
from lstm_jax.kernels.lstm.shards import Place, zeros


class Residuals(NamedTuple):
    """What cuDNN's forward call stores for its backward call."""

    hs: Float[Array, "T *B H"]
    """The outputs."""
    reserve: Float[Array, "R"]
    """The reserve space of all rows together."""
    rows: Float[Array, "B 0"]
    """Without elements: its shape is the number of rows of the call."""


def make(
    precision: lax.Precision, platforms: tuple[str, ...] = ("cuda",)
) -> Primitives:
    """The primitives of cuDNN in this precision."""
    zero_residuals = functools.partial(_zero_residuals, precision)
    by_definition = Loops(
        forward=functools.partial(_forward_by_definition, zero_residuals),
        tangent=lambda at, kept, d, **static: derivatives.tangent(at, d, **static),
        backward=lambda at, kept, d, **static: derivatives.backward(at, d, **static),
    )
    return primitives_of(
        Kernel(
            name=f"lstm_jax_cudnn_{precision.name.lower()}",
            platforms=platforms,
            forward=functools.partial(_forward, precision),
            backward=functools.partial(_backward, precision),
            scans=by_definition,
            residuals=zero_residuals,
            residual_axes=Residuals._make((1, None, None)),
        )
    )


def _forward(precision, at, *, reverse, residuals):
    out, reserve = calls.forward(at, reverse=reverse, precision=precision)
    return out, Residuals(out.hs, reserve, _count(at)) if residuals else None


def _backward(precision, at, kept, d_out, *, wrt, reverse, groups):
    static = dict(reverse=reverse, precision=precision)
    if groups and set(wrt) & set(WEIGHTS):
        gradients = _by_group(at, d_out, groups, **static)
    elif kept.rows.shape != _count(at).shape:
        # A `vmap` of forward has ended, and each of its members is differentiated for
        # itself. But the reserve space is of all members.
        gradients = _again(at, d_out, **static)
    else:
        gradients = calls.backward(at, kept.hs, kept.reserve, d_out, **static)
    return {name: gradients[name] for name in wrt}


def _again(at, d_out, **static):
    """The gradients by a forward call of their own."""
    out, reserve = calls.forward(at, **static)
    return calls.backward(at, out.hs, reserve, d_out, **static)


def _by_group(at, d_out, groups, **static):
    """The gradients where each group of rows has its own by the weights.

    cuDNN sums the gradients by weights over all rows of a call, and the reserve space
    cannot be divided. So every group runs again, forward and backward.
    """
    again = functools.partial(_again, **static)
    gradient = jax.custom_batching.sequential_vmap(again)
    axes = Operands._make(
        None if a is None else axis for a, axis in zip(at, OPERAND_AXES, strict=True)
    )
    for _ in range(groups):
        gradient = jax.vmap(gradient, (axes, OUTPUT_AXES), gradient_axes(calls.BY))
    return gradient(at, d_out)


def _forward_by_definition(zero_residuals, at, *, reverse, residuals):
    """On other platforms. Nobody reads its reserve space."""
    out = derivatives.definition(at, reverse)
    return out, zero_residuals(at, None)._replace(hs=out.hs) if residuals else None


def _zero_residuals(precision, at, rows):
    (T, *batch, _), H = at.xs.shape, at.h0.shape[-1]
    hs = zeros((T, *batch, H), at.h0.dtype, rows, Place(1, len(batch)))
    size = calls.reserve_size(at, precision)
    reserve = zeros((size,), jnp.float32, rows, Place(None, 0))
    return Residuals(hs, reserve, _count(at))


def _count(at):
    return jnp.zeros((at.h0.size // at.h0.shape[-1], 0), jnp.float32)
