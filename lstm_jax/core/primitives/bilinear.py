"""A primitive for a map ``f(a, w)`` that is linear in each of its two arguments.

A primitive needs three things for its derivatives: the map itself, its gradient by
``w``, and the fact that flipping ``transpose_w`` transposes ``a -> f(a, w)``. Having
our own primitive gives control over three things:

* The precision that the user has asked for where ``f`` is called also holds for its
  derivatives, and where the program is compiled.
* The gradient of ``w`` is computed in the fast layout, and returned in the dtype of
  ``w``.
* ``vmap`` folds the new axis into the rows of ``a``, behind the time axis, where
  ``lax.scan`` needs it. JAX would add a dimension in front.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from lstm_jax._types import Array
from lstm_jax.core.precision import as_asked, asked_precision, cotangent_dtype
from lstm_jax.core.primitives.debugging import show_nan
from lstm_jax.core.sharding import sum_to, types_of


def bilinear(name: str, compute: Callable, weight_gradient: Callable) -> Callable:
    """Makes ``f(a, w, *, transpose_w)``, where ``a`` has any number of leading axes.

    Args:
        name: name of the primitive.
        compute: ``(a, w, *, transpose_w)``, in the accumulation dtype of ``a``.
        weight_gradient: ``(a, g, w)``, the gradient by ``w`` of
            ``vdot(g, compute(a, w, transpose_w=False))``, in the accumulation dtype.
    """
    primitive, run = Primitive(name), as_asked(compute)

    def f(a: Array, w: Array, *, transpose_w: bool) -> Array:
        return bind(a, w, transpose_w=transpose_w, asked=asked_precision())

    def bind(a, w, **static):
        return show_nan(primitive.bind(a, w, **static))

    def abstract_eval(a, w, **static):
        # Tracing `compute` gives the type, so varying axes and shardings follow JAX's
        # rules.
        return types_of(functools.partial(run, **static), a, w)[0]

    def transpose(g, a, w, *, transpose_w, asked):
        by_a = ad.is_undefined_primal(a)
        if type(g) is ad.Zero:
            return (ad.Zero(a.aval), None) if by_a else (None, ad.Zero(w.aval))
        if by_a:
            g = g.astype(cotangent_dtype(a.aval.dtype))
            out = bind(g, w, transpose_w=not transpose_w, asked=asked)
            return sum_to(a.aval, out.astype(a.aval.dtype), w), None
        left, right = (g, a) if transpose_w else (a, g)
        out = as_asked(weight_gradient)(left, right, w.aval, asked=asked)
        return None, sum_to(w.aval, out.astype(w.aval.dtype), a)

    def batch(operands, axes, **static):
        a, w = operands
        if axes[1] is not None:
            return jax.vmap(functools.partial(run, **static), axes)(a, w), 0
        axis = min(1, a.ndim - w.ndim)
        a = jnp.moveaxis(a, axes[0], axis)
        return primitive.bind(a, w, **static), axis

    primitive.def_impl(jax.jit(run, static_argnames=("transpose_w", "asked")))
    primitive.def_abstract_eval(abstract_eval)
    lowering = mlir.lower_fun(run, multiple_results=False)
    mlir.register_lowering(primitive, lowering)
    batching.primitive_batchers[primitive] = batch
    ad.defjvp(
        primitive,
        lambda da, a, w, **static: bind(da, w, **static),
        lambda dw, a, w, **static: bind(a, dw, **static),
    )
    ad.primitive_transposes[primitive] = transpose
    return f
