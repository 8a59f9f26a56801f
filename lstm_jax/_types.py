"""Names for array shapes, so that annotations read like the equations.

Axes: ``T`` time, ``*B`` any number of batch axes (none included), ``D`` input
features, ``H`` hidden units. jaxtyping is a development dependency: without it the
annotations are plain aliases of ``jax.Array``.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jax import Array

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Key
else:
    try:
        from jaxtyping import Bool, Float, Int, Key
    except ImportError:

        class _Shaped:
            """Stands in for a jaxtyping dtype: ``Float[Array, "T D"]`` is ``Array``."""

            def __class_getitem__(cls, item):
                return item[0]

        Bool = Float = Int = Key = _Shaped

PyTree = Any

Lengths = Int[Array, "*B"] | np.ndarray | list | tuple | int
"""Real steps of every row: values that are known may come as plain numbers."""

__all__ = ["Array", "Bool", "Float", "Int", "Key", "Lengths", "PyTree"]
