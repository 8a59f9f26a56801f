"""The product ``a @ w``, with control over the layout of its derivatives.

``jax.lax.dot_general`` also works, but was up to three times slower in a recurrence on
a CPU (see `lstm_jax.core.primitives.bilinear`). Two layouts matter:

* The weight gradient should be one product ``a.T @ g`` over all leading axes, with the
  operand on the left. The transpose of a 3-D ``dot_general`` puts ``g`` on the left,
  and XLA copies the larger array to do so.
* Inside a backward loop, ``g @ w.T`` should use weights that are transposed once,
  before the loop. Hence ``transpose_w``, whose own transpose is a plain product.

``w`` may have its own dtype. It is cast to the dtype of ``a``, and the sum has the
accumulation dtype. The gradient of ``w`` is returned in the dtype of ``w``.
"""

from lstm_jax._types import Array, Float
from lstm_jax.core.precision import cotangent_dtype
from lstm_jax.core.primitives.bilinear import bilinear
from lstm_jax.core.primitives.dot import dot


def matmul(
    a: Float[Array, "*B K"], w: Float[Array, "_ _"], *, transpose_w: bool = False
) -> Float[Array, "*B _"]:
    """``a @ w`` (or ``a @ w.T``) in the accumulation dtype of ``a``."""
    return _bind(a, w, transpose_w=transpose_w)


def _matmul(a, w, *, transpose_w):
    return dot(a, w.astype(a.dtype), (a.ndim - 1, 1 if transpose_w else 0))


def _weight_gradient(a, g, w):
    del w
    # The gradient is wide, the operand may not be.
    narrow = min(a.dtype, g.dtype, key=lambda dtype: dtype.itemsize)
    a, g = (x.astype(cotangent_dtype(narrow)) for x in (a, g))
    rows = tuple(range(a.ndim - 1))
    return dot(a, g, (rows, rows))


_bind = bilinear("lstm_jax_matmul", _matmul, _weight_gradient)
