"""What JAX's debugging tools ask of a primitive of our own.

`jax.experimental.checkify` looks for NaN only behind operations that it knows, and no
primitive of another library can join them. A product with 1 is such an operation.
XLA removes it, so that nobody pays for it.
"""

import jax

from lstm_jax._types import PyTree


def show_nan(tree: PyTree) -> PyTree:
    """The same values, where `checkify.nan_checks` sees them."""
    return jax.tree.map(lambda x: x * 1, tree)
