"""What `jax.shard_map` asks of a loop."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from lstm_jax._types import PyTree


def vary_alike(tree: PyTree, others: PyTree) -> PyTree:
    """``tree``, varying over every mesh axis that a leaf of ``others`` varies over.

    Inside ``jax.shard_map`` the carry of a scan must vary like what its step returns,
    and gradients of replicated parameters are summed where these begin to vary. An
    empty sum is an exact 0 that varies like its argument, NaN or not; outside of
    ``shard_map``, XLA removes it.
    """
    leaves = jax.tree.leaves(others)
    if not any(isinstance(leaf, Tracer) for leaf in leaves):
        return tree
    empty = lambda x: lax.stop_gradient(x[(slice(0, 0),) * x.ndim]).sum()
    zeros = [empty(jnp.asarray(leaf)).astype(jnp.float32) for leaf in leaves]
    zero = functools.reduce(jnp.add, zeros)
    return jax.tree.map(lambda x: x + zero.astype(x.dtype), tree)
