"""Arrays that are sharded over the devices of a mesh.

On a mesh with explicit axes (the default of ``jax.make_mesh``), the type of an array
contains its sharding, and every operation must state the sharding of its result.
`leave_to_compiler` exempts a whole recurrence: XLA shards the values inside, and the
results are sharded like the inputs.

Inside ``shard_map``, JAX tracks the mesh axes over which a value varies. JAX's own
operations may mix values that vary differently; a primitive of ours may not. To make a
value vary like another, this file adds an empty sum of the other. An empty sum is
exactly 0, even if the other is NaN, and it varies like the other. Outside
``shard_map``, XLA removes it.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray, Tracer
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lstm_jax._types import Array, PyTree


def vary_alike(tree: PyTree, others: PyTree) -> PyTree:
    """Returns ``tree``, made to vary over every mesh axis that ``others`` vary over.

    The carry of a scan must vary like the result of its step. Under ``jax.vmap`` the
    result also gets the batch axis of ``others``. So do not use this for weights: each
    row would get its own product.
    """
    leaves = jax.tree.leaves(others)
    if not any(isinstance(leaf, Tracer) for leaf in leaves):
        return tree
    zeros = [_zero(jnp.asarray(leaf)) for leaf in leaves]
    zero = functools.reduce(jnp.add, zeros)
    return jax.tree.map(lambda x: x + zero.astype(x.dtype), tree)


def sum_to(aval: ShapedArray, cotangent: Array, other: Array) -> Array:
    """The cotangent of an operand that varies over fewer mesh axes than ``other``.

    If a replicated value meets a varying one, its cotangents must be summed over the
    mesh. This sum is the transpose of starting to vary, which JAX derives itself.
    """
    begin = lambda x: x + _zero(other).astype(x.dtype)
    return jax.linear_transpose(begin, aval)(cotangent)[0]


def _zero(x):
    empty = lax.stop_gradient(jnp.atleast_1d(x)[(slice(0, 0),) * max(x.ndim, 1)])
    return empty.sum().astype(jnp.float32)


def leave_to_compiler(f: Callable[..., Any], args: tuple, specs: PyTree) -> Any:
    """Calls ``f(*args)`` and lets XLA shard the values inside.

    ``specs`` has a ``PartitionSpec`` for every result. It matters only if an argument
    is on a mesh with explicit axes. Otherwise ``f`` is simply called.
    """
    mesh = _explicit_mesh(args)
    if mesh is None:
        return f(*args)
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
    axes = mesh.explicit_axes
    return jax.sharding.auto_axes(f, axes=axes, out_sharding=shardings)(*args)


def spec_of(x: Array) -> PartitionSpec:
    """The sharding in the type of an array."""
    return jax.typeof(x).sharding.spec


def types_of(f: Callable[..., Any], *avals: Any) -> list[ShapedArray]:
    """The types of the results of ``f``, on the mesh of the arguments.

    Newer versions of JAX drop the mesh of an argument outside of `jax.set_mesh`.
    """
    mesh = _explicit_mesh(avals)
    context = contextlib.nullcontext()
    if mesh is not None:
        context = jax.sharding.use_abstract_mesh(mesh)
    with context:
        return jax.make_jaxpr(f)(*avals).out_avals


def _explicit_mesh(tree):
    for leaf in jax.tree.leaves(tree):
        aval = leaf if isinstance(leaf, ShapedArray) else jax.typeof(leaf)
        if AxisType.Explicit in aval.sharding.mesh.axis_types:
            return aval.sharding.mesh
    return None
