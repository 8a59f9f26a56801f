"""The derivative and the transpose of each primitive of a kernel.

Second derivatives need the derivative of ``tangent`` and ``backward`` by the point
``at``. It comes from the reference, `lstm_jax.unroll`. Residuals are functions of
``at`` that only save work, so no derivative goes through them.
"""

import functools

import jax
from jax.interpreters import ad

from lstm_jax._types import Array
from lstm_jax.core.precision import as_asked
from lstm_jax.core.sharding import sum_to
from lstm_jax.kernels.lstm import derivatives
from lstm_jax.kernels.lstm.binding import Primitives
from lstm_jax.kernels.lstm.operands import Operands, Outputs


def register(primitives: Primitives) -> None:
    """Registers them with JAX."""
    _, forward, tangent, backward = primitives
    rule = lambda f, *args: as_asked(functools.partial(f, *args))
    ad.primitive_jvps[forward] = rule(_forward_jvp, primitives)
    ad.primitive_jvps[tangent] = rule(
        _linear_jvp, primitives.tangent, derivatives.tangent
    )
    ad.primitive_jvps[backward] = rule(
        _linear_jvp, primitives.backward, derivatives.backward
    )
    ad.primitive_transposes[tangent] = rule(_tangent_transpose, primitives.backward)
    ad.primitive_transposes[backward] = rule(_backward_transpose, primitives.tangent)


def _is_zero(tangent):
    return isinstance(tangent, ad.Zero)


def _directions(d: Operands) -> dict[str, Array]:
    """The nonzero tangents, by name."""
    return {
        name: tangent
        for name, tangent in d._asdict().items()
        if tangent is not None and not _is_zero(tangent)
    }


def _forward_jvp(primitives, primals, tangents, *, tree, residuals, **static):
    (at,), (d,) = tree.unflatten(primals), tree.unflatten(tangents)
    out, kept = primitives.forward_with_residuals(at, **static)
    d_out = primitives.tangent(at, kept, _directions(d), **static)
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


def _tangent_transpose(backward, cotangents, *leaves, tree, **static):
    at, residuals, d = tree.unflatten(leaves)
    wrt = tuple(name for name in d if ad.is_undefined_primal(d[name]))
    d_out = Outputs(*map(ad.instantiate_zeros, cotangents))
    gradients = backward(at, residuals, d_out, wrt=wrt, **static)
    summed = [
        sum_to(d[name].aval, gradients[name], at.h0) if name in wrt else None
        for name in sorted(d)
    ]
    return [None] * (len(leaves) - len(d)) + summed


def _backward_transpose(tangent, cotangents, *leaves, tree, wrt, **static):
    at, residuals, d_out = tree.unflatten(leaves)
    d = map(ad.instantiate_zeros, cotangents)
    d = dict(zip(sorted(wrt), d, strict=True))
    out = tangent(at, residuals, d, **static)
    summed = [
        sum_to(known.aval, o, at.h0) if ad.is_undefined_primal(known) else None
        for known, o in zip(d_out, out, strict=True)
    ]
    return [None] * (len(leaves) - len(summed)) + summed
