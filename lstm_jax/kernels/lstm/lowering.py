"""What runs: the kernel or the scan, on one device or on each of a mesh.

The choice is made when a program is lowered, because ``vmap`` may add rows until then.
"""

import functools
import math
from collections.abc import Callable

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.interpreters.xla import apply_primitive

from lstm_jax.core.precision import as_asked, asked_precision
from lstm_jax.core.sharding import types_of
from lstm_jax.kernels.lstm import partition, shards, types
from lstm_jax.kernels.lstm.binding import Primitives
from lstm_jax.kernels.lstm.kernel import Kernel
from lstm_jax.kernels.lstm.places import gradient_places, output_places, places


def register(primitives: Primitives) -> None:
    """Registers the types and the computations of the primitives with JAX."""
    kernel, forward_p, tangent_p, backward_p = primitives
    scans = kernel.scans
    _register(kernel, forward_p, types.forward, scans.forward, kernel.forward)
    _register(kernel, tangent_p, types.tangent, scans.tangent)
    _register(kernel, backward_p, types.backward, scans.backward, kernel.backward)


def _register(
    kernel: Kernel,
    primitive: Primitive,
    shapes: Callable,
    by_scan: Callable,
    by_kernel: Callable | None = None,
) -> None:
    shapes = functools.partial(shapes, kernel)

    def types(*leaves, **static):
        # Tracing `shapes` gives the types, so varying axes and shardings follow JAX's
        # rules.
        return types_of(functools.partial(_on_leaves(shapes), **static), *leaves)

    def lowering(run, divided=None):
        local = _on_shards(kernel, run, types, divided)
        return mlir.lower_fun(as_asked(local), multiple_results=True)

    primitive.def_abstract_eval(as_asked(types))
    primitive.def_impl(functools.partial(apply_primitive, primitive))
    mlir.register_lowering(primitive, lowering(_on_leaves(by_scan)))
    if by_kernel is None:
        return

    def filled(at, *args, **static):
        empty = at.h0.size == 0  # an empty axis under vmap
        return (shapes if empty else by_kernel)(at, *args, **static)

    run = _on_leaves(by_scan, filled)
    divided = lowering(run, _by_compiler(kernel, run, types, primitive.name))
    there = partition.lowering(lowering(run), divided)
    for platform in kernel.platforms:
        mlir.register_lowering(primitive, there, platform=platform)


def _on_leaves(f, by_kernel=None):
    """Calls ``f`` on leaves, or ``by_kernel`` if there are enough rows."""

    def on_leaves(*leaves, tree, least_rows, **static):
        args = tree.unflatten(leaves)
        run = f
        if by_kernel is not None and has_rows(args[0], least_rows):
            run = by_kernel
        return jax.tree.leaves(run(*args, **static))

    return on_leaves


def has_rows(at, least):
    """Whether all steps together have ``least`` rows or more.

    Symbolic sizes of ``jax.export`` cannot be compared, so they count as too few.
    """
    *steps_and_rows, _ = at.xs.shape
    if least == 0:
        return True
    known = all(isinstance(n, int) for n in steps_and_rows)
    return known and math.prod(steps_and_rows) >= least


def _on_shards(kernel, f, types, divided=None):
    """Runs ``f`` on each device for its own rows, if the types contain such a sharding.

    Otherwise runs ``divided``, or ``f`` for all rows. Results with fewer batch axes
    than the rows are summed over the other axes.
    """

    def on_shards(*leaves, tree, **static):
        args, static = tree.unflatten(leaves), static | {"tree": tree}
        there = places(kernel, *args, groups=static.get("groups", 0))
        rows = shards.rows_of(leaves, there)
        if rows is None:
            return (divided or f)(*leaves, **static)
        if _together(kernel, args, **static):
            rows = rows.gathered()
        out_types = types(*leaves, **static)
        out_places = _out_places(kernel, args[0], out_types, **static)

        def local(*leaves):
            out = zip(f(*leaves, **static), out_places, strict=True)
            return [lax.psum(a, rows.axes(place.rank)) for a, place in out]

        specs = lambda arrays, places: tuple(
            rows.of(place, a.ndim) for a, place in zip(arrays, places, strict=True)
        )
        run = jax.shard_map(
            local,
            mesh=rows.mesh,
            in_specs=specs(leaves, there),
            out_specs=list(specs(out_types, out_places)),
            axis_names=set(rows.mesh.explicit_axes),
            check_vma=False,
        )
        return shards.like(run(*shards.gather(leaves, there, rows)), out_types)

    return on_shards


def _by_compiler(kernel, f, types, name):
    """Runs ``f`` on each device for the rows that XLA gives it.

    If the kernel does not run, XLA shards the loop itself.
    """

    def by_compiler(*leaves, tree, **static):
        args, static = tree.unflatten(leaves), static | {"tree": tree}
        at = args[0]
        rows = at.h0.ndim > 1 and at.h0.size > 0
        rows = rows and not _together(kernel, args, **static)
        if not rows or not has_rows(at, static["least_rows"]):
            return f(*leaves, **static)
        out_types = types(*leaves, **static)
        asked = {"asked": asked_precision()}
        return partition.by_rows(
            functools.partial(as_asked(f), **static, **asked),
            leaves,
            places(kernel, *args, groups=static.get("groups", 0)),
            out_types,
            _out_places(kernel, at, out_types, **static),
            partition.name_of(name, static | asked),
        )

    return by_compiler


def _together(kernel, args, *, residuals=False, **static):
    """Whether the call reads or writes residuals that cannot be divided by rows."""
    del static
    return kernel.opaque and (residuals or len(args) > 1)


def _out_places(kernel, at, out_types, *, wrt=None, groups=0, **static):
    """The place of the batch axes in every result."""
    del static
    n = at.h0.ndim - 1
    if wrt is not None:
        return gradient_places(wrt, n, groups)
    return output_places(kernel, n)[: len(out_types)]
