"""The product of two matrices, with the sum in the accumulation dtype.

For 16-bit matrices on a CPU, XLA uses the processor's instructions for them (AMX, four
to seven times as fast as float32) only if both factors and the result lie in memory row
by row. Otherwise it multiplies in float32, or compiles a program that cannot run:
"Unsupported element type for DotThunk", where the result is read transposed. So there
the rows are laid out first.
"""

from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

from lstm_jax._types import Array, Float
from lstm_jax.core.precision import accumulation_dtype


def dot(
    a: Float[Array, "_ _"], b: Float[Array, "_ _"], axes: tuple[int, int]
) -> Float[Array, "_ _"]:
    """The sum over axis ``axes[0]`` of ``a`` and ``axes[1]`` of ``b``."""

    def product(a, b, over=axes):
        return lax.dot_general(
            a,
            b,
            (((over[0],), (over[1],)), ((), ())),
            preferred_element_type=accumulation_dtype(a.dtype),
        )

    def of_rows(a, b):
        one, other = axes
        if one == 0:
            a, one = _in_rows(a.T), 1
        return _in_rows(product(a, b, (one, other)))

    if a.dtype.itemsize > 2:
        return product(a, b)
    return lax.platform_dependent(a, b, cpu=of_rows, default=product)


def _in_rows(a):
    return with_layout_constraint(a, Layout(tuple(range(a.ndim))))
