"""A Flax module as a pair of pure functions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from lstm_jax._types import Array, Key, PyTree
from lstm_jax.core.arguments import seed_key


class Functional:
    """Builds a module from parameters, so that training can differentiate by them.

    Args:
        build: makes the module from a key.

    >>> import jax, jax.numpy as jnp
    >>> from flax import nnx
    >>> model = Functional(lambda key: nnx.Linear(3, 2, rngs=nnx.Rngs(key)))
    >>> params = model.init(jax.random.key(0))
    >>> model(params)(jnp.ones((4, 3))).shape, model.size
    ((4, 2), 8)
    """

    def __init__(self, build: Callable[[Key[Array, ""]], nnx.Module]):
        self._build = build
        shapes = nnx.eval_shape(lambda: build(seed_key(0)))
        self._graph, params = nnx.split(shapes, nnx.Param)
        self.shapes: PyTree = params
        """The shapes and dtypes of the parameters."""

    def init(self, key: Key[Array, ""]) -> PyTree:
        """New parameters."""
        return nnx.split(self._build(key), nnx.Param)[1]

    def __call__(self, params: PyTree) -> Any:
        """The module with these parameters, in evaluation mode."""
        # Arrays of NumPy cannot be indexed by what is traced.
        module = nnx.merge(self._graph, jax.tree.map(jnp.asarray, params))
        module.eval()
        return module

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.shapes))
