"""The kernel as three primitives that work with every transformation of JAX.

Each of `forward`, `tangent` and `backward` is the derivative or the transpose of
another. On a CPU, `forward` and `backward` are fused loops.
`lstm_jax.kernels.cpu.scans` has all three for other platforms, and for calls with too
few rows for the kernel. The choice is made when a program is lowered, because ``vmap``
may add rows until then.

Second derivatives need the derivative of ``tangent`` and ``backward`` by the point
``at``. It comes from the reference, `lstm_jax.unroll`. Residuals are functions of
``at`` that only save work, so no derivative goes through them.

``vmap`` folds the new axis into the batch. If it maps the weights, the kernel runs once
for each set of weights.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.interpreters.xla import apply_primitive

from lstm_jax._types import Array
from lstm_jax.core.primitives.debugging import show_nan
from lstm_jax.core.sharding import sum_to, types_of
from lstm_jax.kernels.cpu import derivatives, partition, scans, shards
from lstm_jax.kernels.cpu.calls import Operands, Outputs, Residuals
from lstm_jax.kernels.cpu.derivatives import (
    OPERAND_AXES,
    OUTPUT_AXES,
    RESIDUAL_AXES,
    gradient_axes,
)


def forward(at: Operands, *, reverse: bool, least_rows: int = 0) -> Outputs:
    """The outputs only, for calls that are not differentiated.

    The kernel runs if all steps together have ``least_rows`` rows or more.
    """
    leaves, tree = jax.tree.flatten((at,))
    static = dict(reverse=reverse, least_rows=least_rows)
    out = forward_p.bind(*leaves, tree=tree, residuals=False, **static)
    return show_nan(Outputs(*out))


def forward_with_residuals(
    at: Operands, *, reverse: bool, least_rows: int = 0
) -> tuple[Outputs, Residuals]:
    """The outputs, and the residuals for `tangent` and `backward`."""
    leaves, tree = jax.tree.flatten((at,))
    static = dict(reverse=reverse, least_rows=least_rows)
    out = forward_p.bind(*leaves, tree=tree, residuals=True, **static)
    return show_nan(Outputs(*out[:3])), Residuals(*out[3:])


def tangent(
    at: Operands,
    residuals: Residuals,
    d: dict[str, Array],
    *,
    reverse: bool,
    least_rows: int = 0,
    groups: int = 0,
) -> Outputs:
    """The derivative of the outputs in the directions ``d``, by name of the operand.

    Directions of weights start with the first ``groups`` batch axes.
    """
    leaves, tree = jax.tree.flatten((at, residuals, d))
    static = dict(reverse=reverse, least_rows=least_rows, groups=groups)
    out = tangent_p.bind(*leaves, tree=tree, **static)
    return show_nan(Outputs(*out))


def backward(
    at: Operands,
    residuals: Residuals,
    d_out: Outputs,
    *,
    wrt: tuple[str, ...],
    reverse: bool,
    least_rows: int = 0,
    groups: int = 0,
) -> dict[str, Array]:
    """Gradients by the operands ``wrt``, by name, from gradients by the outputs.

    Each has the shape of its operand. Gradients by weights start with the first
    ``groups`` batch axes.
    """
    leaves, tree = jax.tree.flatten((at, residuals, d_out))
    static = dict(reverse=reverse, least_rows=least_rows, groups=groups)
    out = backward_p.bind(*leaves, tree=tree, wrt=wrt, **static)
    return dict(zip(sorted(wrt), show_nan(out), strict=True))


def _primitive(name: str, shapes: Callable, by_scan: Callable, by_kernel=None):
    primitive = Primitive(f"lstm_jax_{name}")
    primitive.multiple_results = True

    def types(*leaves, **static):
        # Tracing `shapes` gives the types, so varying axes and shardings follow JAX's
        # rules.
        return types_of(functools.partial(_on_leaves(shapes), **static), *leaves)

    def lowering(run, divided=None):
        local = _on_shards(run, types, divided)
        return mlir.lower_fun(local, multiple_results=True)

    primitive.def_abstract_eval(types)
    primitive.def_impl(functools.partial(apply_primitive, primitive))
    mlir.register_lowering(primitive, lowering(_on_leaves(by_scan)))
    if by_kernel is not None:
        run = _on_leaves(by_scan, by_kernel)
        divided = lowering(run, _by_compiler(run, types, primitive.name))
        on_cpu = partition.lowering(lowering(run), divided)
        mlir.register_lowering(primitive, on_cpu, platform="cpu")
    return primitive


def _on_leaves(f, by_kernel=None):
    """Calls ``f`` on leaves, or ``by_kernel`` if there are enough rows."""

    def on_leaves(*leaves, tree, least_rows, **static):
        args = tree.unflatten(leaves)
        run = f
        if by_kernel is not None and _has_rows(args[0], least_rows):
            run = by_kernel
        return jax.tree.leaves(run(*args, **static))

    return on_leaves


def _has_rows(at, least):
    """Symbolic sizes of ``jax.export`` cannot be compared, so they count as too few."""
    *steps_and_rows, _ = at.xs.shape
    if least == 0:
        return True
    known = all(isinstance(n, int) for n in steps_and_rows)
    return known and math.prod(steps_and_rows) >= least


def _on_shards(f, types, divided=None):
    """Runs ``f`` on each device for its own rows, if the types contain such a sharding.

    Otherwise runs ``divided``, or ``f`` for all rows. Results with fewer batch axes
    than the rows are summed over the other axes.
    """

    def on_shards(*leaves, tree, **static):
        args, static = tree.unflatten(leaves), static | {"tree": tree}
        places = derivatives.places(*args, groups=static.get("groups", 0))
        rows = shards.rows_of(leaves, places)
        if rows is None:
            return (divided or f)(*leaves, **static)
        out_types = types(*leaves, **static)
        out_places = _out_places(args[0], out_types, **static)

        def local(*leaves):
            out = zip(f(*leaves, **static), out_places, strict=True)
            return [lax.psum(a, rows.axes(place.rank)) for a, place in out]

        specs = lambda arrays, places: tuple(
            rows.of(place, a.ndim) for a, place in zip(arrays, places, strict=True)
        )
        run = jax.shard_map(
            local,
            mesh=rows.mesh,
            in_specs=specs(leaves, places),
            out_specs=list(specs(out_types, out_places)),
            axis_names=set(rows.mesh.explicit_axes),
            check_vma=False,
        )
        return shards.like(run(*shards.gather(leaves, places, rows)), out_types)

    return on_shards


def _by_compiler(f, types, name):
    """Runs ``f`` on each device for the rows that XLA gives it.

    If the kernel does not run, XLA shards the loop itself.
    """

    def by_compiler(*leaves, tree, **static):
        args, static = tree.unflatten(leaves), static | {"tree": tree}
        at = args[0]
        rows = at.h0.ndim > 1 and at.h0.size > 0
        if not rows or not _has_rows(at, static["least_rows"]):
            return f(*leaves, **static)
        out_types = types(*leaves, **static)
        return partition.by_rows(
            functools.partial(f, **static),
            leaves,
            derivatives.places(*args, groups=static.get("groups", 0)),
            out_types,
            _out_places(at, out_types, **static),
            partition.name_of(name, static),
        )

    return by_compiler


def _out_places(at, out_types, *, wrt=None, groups=0, **static):
    """The place of the batch axes in every result."""
    del static
    n = at.h0.ndim - 1
    if wrt is not None:
        return derivatives.gradient_places(wrt, n, groups)
    return derivatives.output_places(n)[: len(out_types)]


forward_p = _primitive(
    "forward",
    derivatives.forward_shapes,
    scans.forward,
    derivatives.forward_by_kernel,
)
tangent_p = _primitive("tangent", derivatives.tangent_shapes, scans.tangent)
backward_p = _primitive(
    "backward",
    derivatives.backward_shapes,
    scans.backward,
    derivatives.backward_by_kernel,
)


# ------------------------------------------------------------------- derivatives


def _is_zero(tangent):
    return isinstance(tangent, ad.Zero)


def _directions(d: Operands) -> dict[str, Array]:
    """The nonzero tangents, by name."""
    return {
        name: tangent
        for name, tangent in d._asdict().items()
        if tangent is not None and not _is_zero(tangent)
    }


def _forward_jvp(primals, tangents, *, tree, residuals, **static):
    (at,), (d,) = tree.unflatten(primals), tree.unflatten(tangents)
    out, kept = forward_with_residuals(at, **static)
    d_out = tangent(at, kept, _directions(d), **static)
    if not residuals:
        return [*out], [*d_out]
    return [*out, *kept], [*d_out, *(ad.Zero(jax.typeof(a)) for a in kept)]


def _linear_jvp(f, by_definition, primals, tangents, *, tree, least_rows, **static):
    """The derivative of ``f(at, residuals, linear)``, by its last argument and by
    ``at``.
    """
    f = functools.partial(f, least_rows=least_rows)
    at, residuals, linear = tree.unflatten(primals)
    d_at, _, d_linear = tree.unflatten(tangents)
    terms, out = [], None
    if not all(map(_is_zero, jax.tree.leaves(d_linear, is_leaf=_is_zero))):
        d_linear = jax.tree.map(ad.instantiate_zeros, d_linear, is_leaf=_is_zero)
        terms.append(f(at, residuals, d_linear, **static))
    if d := _directions(d_at):
        moved = lambda by: by_definition(at._replace(**by), linear, **static)
        by = {name: getattr(at, name) for name in d}
        out, term = jax.jvp(moved, (by,), (d,))
        terms.append(term)
    d_out = jax.tree.map(lambda *terms: sum(terms[1:], terms[0]), *terms)
    if out is None:
        out = f(at, residuals, linear, **static)
    return jax.tree.leaves(out), jax.tree.leaves(d_out)


def _tangent_transpose(cotangents, *leaves, tree, **static):
    at, residuals, d = tree.unflatten(leaves)
    wrt = tuple(name for name in d if ad.is_undefined_primal(d[name]))
    d_out = Outputs(*map(ad.instantiate_zeros, cotangents))
    gradients = backward(at, residuals, d_out, wrt=wrt, **static)
    summed = [
        sum_to(d[name].aval, gradients[name], at.h0) if name in wrt else None
        for name in sorted(d)
    ]
    return [None] * (len(leaves) - len(d)) + summed


def _backward_transpose(cotangents, *leaves, tree, wrt, **static):
    at, residuals, d_out = tree.unflatten(leaves)
    d = map(ad.instantiate_zeros, cotangents)
    d = dict(zip(sorted(wrt), d, strict=True))
    out = tangent(at, residuals, d, **static)
    summed = [
        sum_to(known.aval, o, at.h0) if ad.is_undefined_primal(known) else None
        for known, o in zip(d_out, out, strict=True)
    ]
    return [None] * (len(leaves) - len(summed)) + summed


ad.primitive_jvps[forward_p] = _forward_jvp
ad.primitive_jvps[tangent_p] = functools.partial(
    _linear_jvp, tangent, derivatives.tangent
)
ad.primitive_jvps[backward_p] = functools.partial(
    _linear_jvp, backward, derivatives.backward
)
ad.primitive_transposes[tangent_p] = _tangent_transpose
ad.primitive_transposes[backward_p] = _backward_transpose


# -------------------------------------------------------------------------- vmap


def _batch(primitive, leaves, axes, *, tree, **static):
    bind = functools.partial(primitive.bind, tree=tree)
    # `_Axis` replaces ``None``, which would not be a leaf of the tree.
    at = tree.unflatten([_Axis(axis) for axis in axes])[0]
    if at.w_x.mapped or at.w_h.mapped or at.b.mapped:
        return _one_by_one(functools.partial(bind, **static), leaves, axes)
    if primitive is tangent_p:
        del static["least_rows"]

        def compute(*leaves):
            at, _, d = tree.unflatten(leaves)
            return jax.tree.leaves(derivatives.tangent(at, d, **static))

        out = jax.vmap(compute, axes)(*leaves)
        return out, [0] * len(out)
    # One of these for each argument.
    axes_of = (OPERAND_AXES, RESIDUAL_AXES, OUTPUT_AXES)
    places = [
        place
        for begin, arrays in zip(axes_of, tree.unflatten(leaves), strict=False)
        for place, array in zip(begin, arrays, strict=True)
        if array is not None
    ]
    leaves = _first_of_batch(leaves, axes, places)
    if primitive is forward_p:
        out_axes = [*OUTPUT_AXES, *RESIDUAL_AXES]
    else:
        static["groups"] += 1
        out_axes = list(gradient_axes(sorted(static["wrt"])).values())
    out = bind(*leaves, **static)
    return out, out_axes[: len(out)]


class _Axis:
    """A mapped axis, or ``None``, as a leaf."""

    def __init__(self, axis):
        self.mapped = axis is not None


def _first_of_batch(leaves, axes, places):
    """Moves the mapped axis to the start of the batch axes of each array."""
    mapped = zip(leaves, axes, strict=True)
    size = next(a.shape[axis] for a, axis in mapped if axis is not None)

    def move(a, axis, place):
        if place is None:
            return a
        if axis is not None:
            return jnp.moveaxis(a, axis, place)
        a = jnp.expand_dims(a, place)
        return jnp.broadcast_to(a, (*a.shape[:place], size, *a.shape[place + 1 :]))

    return [move(*each) for each in zip(leaves, axes, places, strict=True)]


def _one_by_one(f, leaves, axes):
    """Runs ``f`` in a loop over the mapped axis."""
    mapped = [
        jnp.moveaxis(a, axis, 0)
        for a, axis in zip(leaves, axes, strict=True)
        if axis is not None
    ]
    shared = [a for a, axis in zip(leaves, axes, strict=True) if axis is None]

    def loop(mapped, shared):
        def one(mapped):
            mine, ours = iter(mapped), iter(shared)
            return f(*(next(ours if axis is None else mine) for axis in axes))

        return lax.map(one, mapped)

    out = shards.by_members(loop, mapped, shared)
    return out, [0] * len(out)


for _p in (forward_p, tangent_p, backward_p):
    batching.primitive_batchers[_p] = functools.partial(_batch, _p)
