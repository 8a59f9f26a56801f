"""The product ``a @ w``, with the layout of its derivatives in our hands.

``jax.lax.dot_general`` would do, but three things around a recurrence are then left to
chance, and each was measured to cost up to a factor of three on a CPU:

* the weight gradient should be one 2-D product with the operand on the left,
  ``a.T @ g`` over all leading axes; the transpose of a 3-D ``dot_general`` puts ``g``
  on the left, and XLA copies the larger array to get there;
* ``vmap`` should fold the new axis into the rows of ``a``, behind the time axis, where
  ``lax.scan`` wants it, instead of adding a dimension in front;
* inside a backward loop ``g @ w.T`` wants transposed weights made once, before the
  loop; hence ``transpose_w``, whose own transpose is a plain product.

``w`` may have a dtype of its own: it is cast to that of ``a``, the sum is kept in the
accumulation dtype, and the gradient of ``w`` comes back in the dtype of ``w``.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from lstm_jax._types import Array, Float
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.sharding import sum_to

matmul_p = Primitive("lstm_jax_matmul")


def matmul(
    a: Float[Array, "*B K"], w: Float[Array, "_ _"], *, transpose_w: bool = False
) -> Float[Array, "*B _"]:
    """``a @ w`` (or ``a @ w.T``) in the accumulation dtype of ``a``."""
    return matmul_p.bind(a, w, transpose_w=transpose_w)


def _matmul(a, w, *, transpose_w):
    rows = a.reshape(-1, a.shape[-1]) if a.size else a.reshape(0, a.shape[-1])
    out = lax.dot_general(
        rows,
        w.astype(a.dtype),
        (((1,), (1 if transpose_w else 0,)), ((), ())),
        preferred_element_type=accumulation_dtype(a.dtype),
    )
    return out.reshape(*a.shape[:-1], out.shape[-1])


def _abstract_eval(a, w, *, transpose_w):
    # Traced, not written out: varying axes and shardings follow JAX's own rules.
    plain = functools.partial(_matmul, transpose_w=transpose_w)
    return jax.make_jaxpr(plain)(a, w).out_avals[0]


def _transpose(g, a, w, *, transpose_w):
    if ad.is_undefined_primal(a):
        if type(g) is ad.Zero:
            return ad.Zero(a.aval), None
        out = matmul(g, w, transpose_w=not transpose_w).astype(a.aval.dtype)
        return sum_to(a.aval, out, w), None
    if type(g) is ad.Zero:
        return None, ad.Zero(w.aval)
    rows, g = a.reshape(-1, a.shape[-1]), g.reshape(-1, g.shape[-1])
    left, right = (g, rows) if transpose_w else (rows, g)
    out = lax.dot_general(
        left, right, (((0,), (0,)), ((), ())), preferred_element_type=g.dtype
    )
    return None, sum_to(w.aval, out.astype(w.aval.dtype), a)


def _batch(operands, axes, *, transpose_w):
    a, w = operands
    if axes[1] is not None:
        plain = functools.partial(_matmul, transpose_w=transpose_w)
        return jax.vmap(plain, axes)(a, w), 0
    axis = min(1, a.ndim - 2)
    return matmul(jnp.moveaxis(a, axes[0], axis), w, transpose_w=transpose_w), axis


matmul_p.def_impl(jax.jit(_matmul, static_argnames="transpose_w"))
matmul_p.def_abstract_eval(_abstract_eval)
mlir.register_lowering(matmul_p, mlir.lower_fun(_matmul, multiple_results=False))
batching.primitive_batchers[matmul_p] = _batch
ad.defjvp(
    matmul_p,
    lambda da, a, w, **params: matmul(da, w, **params),
    lambda dw, a, w, **params: matmul(a, dw, **params),
)
ad.primitive_transposes[matmul_p] = _transpose
