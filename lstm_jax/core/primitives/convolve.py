"""The convolution ``conv(a, w)``, with control over the layout of its derivatives.

    conv(a, w)[s] = sum_k a[s + k - (K - 1) // 2] w[k],  k = 0, ..., K - 1

at every position ``s``, along one or more spatial axes. Outside the image ``a`` is 0. A
kernel of even size reaches one position further forward than back.

The derivatives of ``jax.lax.conv_general_dilated`` are convolutions with another order
of axes. XLA on a CPU has a fast kernel only for features last. It transposes other
orders to features last, but not inside a loop. A recurrence is a loop, and there the
slow generic kernel takes more than ten times as long. So this file transposes the
operands first. The rest works like `lstm_jax.core.primitives.matmul`.
"""

import math

import jax.numpy as jnp
from jax import lax

from lstm_jax._types import Array, Float
from lstm_jax.core.precision import accumulation_dtype, product_precision
from lstm_jax.core.primitives.bilinear import bilinear


def convolve(
    a: Float[Array, "*BS _"], w: Float[Array, "*K _ _"], *, transpose_w: bool = False
) -> Float[Array, "*BS _"]:
    """``conv(a, w)`` in the accumulation dtype of ``a``, or its transpose.

    ``w`` is ``[*kernel, D, N]`` and ``a`` is ``[..., *S, D]``, or ``[..., *S, N]`` for
    the transpose of ``a -> conv(a, w)``.
    """
    return _bind(a, w, transpose_w=transpose_w)


def _convolve(a, w, *, transpose_w):
    n = w.ndim - 2
    w, margins = w.astype(a.dtype), _margins(w)
    if transpose_w:
        w, margins = jnp.flip(w, range(n)).swapaxes(-1, -2), [m[::-1] for m in margins]
    out = _features_last(_rows(a, n), w, margins)
    return out.reshape(*a.shape[:-1], out.shape[-1])


def _weight_gradient(a, g, w):
    """The gradient of ``vdot(g, conv(a, w))`` by ``w``, as a convolution: features of
    ``a`` are the rows and ``g`` is the kernel.
    """
    if g.size == 0:
        return jnp.zeros(w.shape, g.dtype)
    n, dtype = w.ndim - 2, accumulation_dtype(g.dtype)
    rows = _rows(a.astype(dtype), n).swapaxes(0, -1)
    kernel = jnp.moveaxis(_rows(g.astype(dtype), n), 0, -2)
    return jnp.moveaxis(_features_last(rows, kernel, _margins(w)), 0, -2)


def _margins(w):
    """How far the kernel reaches beyond the image, before and after."""
    return [((k - 1) // 2, k // 2) for k in w.shape[:-2]]


def _rows(a, n):
    """Merges all leading axes."""
    split = a.ndim - n - 1
    return a.reshape(math.prod(a.shape[:split]), *a.shape[split:])


def _features_last(a, w, margins):
    n = w.ndim - 2
    order = (0, n + 1, *range(1, n + 1))
    return lax.conv_general_dilated(
        a,
        w,
        window_strides=(1,) * n,
        padding=margins,
        dimension_numbers=lax.ConvDimensionNumbers(
            lhs_spec=order, rhs_spec=(n + 1, n, *range(n)), out_spec=order
        ),
        precision=product_precision(a.dtype),
        preferred_element_type=accumulation_dtype(a.dtype),
    )


_bind = bilinear("lstm_jax_convolve", _convolve, _weight_gradient)
