"""The embedding of every series, and the mean of all for a new one."""

import jax
import jax.numpy as jnp
from flax import nnx

from lstm_jax._types import Array, Float, Int
from lstm_jax.nn.module import Module


class SeriesEmbedding(Module):
    """A learned vector of every series that is trained on.

    Args:
        series: ``N``, the number of series.
        size: ``E``, of a vector.
        rngs: source of keys.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> SeriesEmbedding(3, 4, rngs=nnx.Rngs(0))(jnp.array([0, 2, -1])).shape
    (3, 4)
    """

    def __init__(self, series: int, size: int, *, rngs: nnx.Rngs):
        self.table = nnx.Param(jax.random.normal(rngs.params(), (series, size)))

    def __call__(self, series: Int[Array, "B"]) -> Float[Array, "B E"]:
        """The vector of each row; -1 takes the mean of all."""
        table = self.table[...]
        known = table[jnp.maximum(series, 0)]
        unknown = jnp.broadcast_to(table.mean(axis=0)[None], known.shape)
        return jnp.where((series >= 0)[:, None], known, unknown)
