"""The rules of ``vmap`` for the primitives of a kernel.

``vmap`` folds the new axis into the batch. If it maps the weights, the kernel runs once
for each set of weights.

An opaque residual belongs to all rows of one call of the kernel. If ``vmap`` maps the
rows, the kernel's forward pass has run for all of them, and the residual is not mapped.
If it maps gradients by the outputs alone, the kernel runs once for each of them.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import batching

from lstm_jax.core.precision import as_asked
from lstm_jax.kernels.lstm import derivatives, shards
from lstm_jax.kernels.lstm.binding import Primitives, bind
from lstm_jax.kernels.lstm.operands import OPERAND_AXES, OUTPUT_AXES, gradient_axes


def register(primitives: Primitives) -> None:
    """Registers the rules with JAX."""
    rules = {
        primitives.forward_p: _forward,
        primitives.tangent_p: _tangent,
        primitives.backward_p: _backward,
    }
    for primitive, rule in rules.items():
        rule = functools.partial(rule, primitives.kernel, primitive)
        batching.primitive_batchers[primitive] = as_asked(rule)


def _forward(kernel, primitive, leaves, axes, *, tree, **static):
    run = functools.partial(bind, primitive, tree=tree, **static)
    (at,) = _mapped(tree, axes)
    if _any(at.w_x, at.w_h, at.b):
        return _one_by_one(run, leaves, axes)
    places = _places(tree, leaves, OPERAND_AXES)
    out = run(*_first_of_batch(leaves, axes, places))
    return out, [*OUTPUT_AXES, *kernel.residual_axes][: len(out)]


def _tangent(kernel, primitive, leaves, axes, *, tree, **static):
    del kernel
    at, *_ = _mapped(tree, axes)
    if _any(at.w_x, at.w_h, at.b):
        run = functools.partial(bind, primitive, tree=tree, **static)
        return _one_by_one(run, leaves, axes)
    del static["least_rows"]
    linear = functools.partial(derivatives.tangent, **static)
    return _by_definition(linear, leaves, axes, tree)


def _backward(kernel, primitive, leaves, axes, *, tree, **static):
    at, residuals, _ = _mapped(tree, axes)
    run = functools.partial(bind, primitive, tree=tree)
    one_by_one = functools.partial(run, **static)
    if _any(at.w_x, at.w_h, at.b):
        return _one_by_one(one_by_one, leaves, axes)
    if kernel.opaque:
        if not _any(*at):
            return _one_by_one(one_by_one, leaves, axes)
        opaque = [
            residual
            for begin, residual in zip(kernel.residual_axes, residuals, strict=True)
            if begin is None
        ]
        if _any(*opaque):
            # A copy for each row, as `lax.cond` makes of what it returns, cannot be
            # told from others.
            del static["least_rows"]
            linear = functools.partial(derivatives.backward, **static)
            return _by_definition(linear, leaves, axes, tree)
    begin = (OPERAND_AXES, kernel.residual_axes, OUTPUT_AXES)
    places = _places(tree, leaves, *begin)
    static["groups"] += 1
    out = run(*_first_of_batch(leaves, axes, places), **static)
    return out, list(gradient_axes(sorted(static["wrt"])).values())


class _Axis:
    """A mapped axis, or ``None``, as a leaf."""

    def __init__(self, axis):
        self.mapped = axis is not None


def _mapped(tree, axes):
    """The arguments, with an `_Axis` for each array."""
    # ``None`` would not be a leaf of the tree.
    return tree.unflatten([_Axis(axis) for axis in axes])


def _any(*axes):
    return any(axis is not None and axis.mapped for axis in axes)


def _places(tree, leaves, *axes):
    """The index at which the batch axes of each leaf start, or ``None``."""
    return [
        place
        for begin, arrays in zip(axes, tree.unflatten(leaves), strict=True)
        for place, array in zip(begin, arrays, strict=True)
        if array is not None
    ]


def _by_definition(linear, leaves, axes, tree):
    """Maps ``linear(at, d)``, which reads no residuals."""

    def compute(*leaves):
        at, _, d = tree.unflatten(leaves)
        return jax.tree.leaves(linear(at, d))

    out = jax.vmap(compute, axes)(*leaves)
    return out, [0] * len(out)


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
