"""The product of two arrays, with the sum in the accumulation dtype.

Leading axes are not folded into one. On a mesh that splits one of them, folding would
gather the whole array on every device.

For 16-bit matrices on a CPU, XLA uses the processor's instructions for them (AMX, four
to seven times as fast as float32) only if the first factor and the result lie in memory
row by row and the sum is over the columns of the first factor. Otherwise it multiplies
in float32, or compiles a program that cannot run: "Unsupported element type for
DotThunk", where the result is read transposed. So there the rows are laid out first.
"""

import jax.numpy as jnp
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from lstm_jax._types import Array, Float
from lstm_jax.core.precision import accumulation_dtype, product_precision

Axes = int | tuple[int, ...]


def dot(
    a: Float[Array, "..."], b: Float[Array, "..."], axes: tuple[Axes, Axes]
) -> Float[Array, "..."]:
    """The sum over the axes ``axes[0]`` of ``a`` and ``axes[1]`` of ``b``.

    The axes that are left come in the result, those of ``a`` first.
    """
    one, other = ((n,) if isinstance(n, int) else n for n in axes)
    narrow, last = a.dtype.itemsize < 4, tuple(range(a.ndim - len(one), a.ndim))
    if narrow and one != last:
        a, one = _in_rows(jnp.moveaxis(a, one, last)), last
    product = lax.dot_general(
        a,
        b,
        ((one, other), ((), ())),
        precision=product_precision(a.dtype),
        preferred_element_type=accumulation_dtype(a.dtype),
    )
    return _in_rows(product) if narrow else product


_primitive = Primitive("lstm_jax_in_rows")


def _in_rows(a):
    """The same array; on a CPU it lies in memory row by row."""
    return _primitive.bind(a)


def _lower_for_cpu(context, a):
    # An exported program may hold no custom call, and runs anywhere.
    if context.module_context.lowering_parameters.for_export:
        return [a]
    rows = lambda a: with_layout_constraint(a, Layout(tuple(range(a.ndim))))
    return mlir.lower_fun(rows, multiple_results=False)(context, a)


def _batch(operands, axes):
    return _primitive.bind(jnp.moveaxis(operands[0], axes[0], 0)), 0


_primitive.def_impl(lambda a: a)
_primitive.def_abstract_eval(lambda a: a)
mlir.register_lowering(_primitive, lambda _, a: [a])
mlir.register_lowering(_primitive, _lower_for_cpu, platform="cpu")
ad.deflinear2(_primitive, lambda g, _: [_primitive.bind(g)])
batching.primitive_batchers[_primitive] = _batch
