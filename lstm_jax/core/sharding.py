"""Arrays that are spread over the devices of a mesh.

On a mesh with explicit axes, the default of ``jax.make_mesh``, the type of an array
says how it is sharded, and every operation must say how its result is.
`leave_to_compiler` takes a whole recurrence out of that: XLA places what is inside, and
the results are typed like the inputs.

Inside ``shard_map`` JAX keeps account of the mesh axes over which a value varies, and
lets its own operations mix values that vary differently. An empty sum is an exact 0
that varies like its argument, NaN or not: adding it makes a value vary likewise.
Outside of ``shard_map`` XLA removes it.
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
    """``tree``, varying over every mesh axis that a leaf of ``others`` varies over.

    The carry of a scan must vary like what its step returns. Under ``jax.vmap`` the
    result is mapped where ``others`` are, so this is not for weights, whose products
    would be as many as there are rows.
    """
    leaves = jax.tree.leaves(others)
    if not any(isinstance(leaf, Tracer) for leaf in leaves):
        return tree
    zeros = [_zero(jnp.asarray(leaf)) for leaf in leaves]
    zero = functools.reduce(jnp.add, zeros)
    return jax.tree.map(lambda x: x + zero.astype(x.dtype), tree)


def sum_to(aval: ShapedArray, cotangent: Array, other: Array) -> Array:
    """The cotangent of an operand that varied over fewer mesh axes than ``other``.

    Where a replicated value met a varying one, its cotangents are summed over the mesh:
    the transpose of beginning to vary, which JAX derives itself.
    """
    begin = lambda x: x + _zero(other).astype(x.dtype)
    return jax.linear_transpose(begin, aval)(cotangent)[0]


def _zero(x):
    empty = lax.stop_gradient(jnp.atleast_1d(x)[(slice(0, 0),) * max(x.ndim, 1)])
    return empty.sum().astype(jnp.float32)


def leave_to_compiler(f: Callable[..., Any], args: tuple, specs: PyTree) -> Any:
    """``f(*args)``, where XLA decides how the values between are sharded.

    ``specs`` has a ``PartitionSpec`` for every result. It is read where an argument
    lies on a mesh with explicit axes; everywhere else ``f`` is simply called.
    """
    mesh = _explicit_mesh(args)
    if mesh is None:
        return f(*args)
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
    axes = mesh.explicit_axes
    return jax.sharding.auto_axes(f, axes=axes, out_sharding=shardings)(*args)


def spec_of(x: Array) -> PartitionSpec:
    """How the type of an array says that it is sharded."""
    return jax.typeof(x).sharding.spec


def types_of(f: Callable[..., Any], *avals: Any) -> list[ShapedArray]:
    """The types of the results of ``f``, on the mesh of its arguments.

    Newer versions of JAX forget the mesh of an argument outside of `jax.set_mesh`.
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
