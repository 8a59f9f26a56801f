"""A kernel with a residual of all rows together, as cuDNN has, under ``vmap`` and on
meshes.

The kernel of this file is a scan that packs its residuals into one vector.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from lstm_jax import LSTMCell
from lstm_jax.kernels.lstm import derivatives, scans
from lstm_jax.kernels.lstm.kernel import Kernel, Loops
from lstm_jax.kernels.lstm.operands import Operands
from lstm_jax.kernels.lstm.primitives import primitives_of
from lstm_jax.kernels.lstm.residuals import Residuals
from tests import cells

EXTRA = 3
"""Elements of the vector that do not depend on the number of rows."""


class Packed(NamedTuple):
    hs: jax.Array
    reserve: jax.Array


def zero_residuals(at, rows):
    del rows
    T, H = len(at.xs), at.h0.shape[-1]
    size = T * at.h0.size * 5 + EXTRA
    hs = jnp.zeros((T, *at.h0.shape[:-1], H), at.h0.dtype)
    return Packed(hs, jnp.zeros(size, at.c0.dtype))


def forward(at, *, reverse, residuals):
    out, kept = scans.forward(at, reverse=reverse, residuals=residuals)
    if kept is None:
        return out, None
    arrays = kept.gates, kept.cs, jnp.zeros(EXTRA, kept.cs.dtype)
    packed = Packed(kept.hs, jnp.concatenate([a.reshape(-1) for a in arrays]))
    return out, packed


def backward(at, kept, d_out, **static):
    T, H, n = len(at.xs), at.h0.shape[-1], len(at.xs) * at.h0.size
    assert kept.reserve.shape == (5 * n + EXTRA,)
    cut = lambda begin, end, width: kept.reserve[begin:end].reshape(
        T, *at.h0.shape[:-1], width
    )
    gates, cs = cut(0, 4 * n, 4 * H), cut(4 * n, 5 * n, H)
    return scans.backward(at, Residuals(gates, cs, kept.hs), d_out, **static)


def no_kernel(*args, **static):
    raise AssertionError("This test runs the kernel only.")


def tangent(at, kept, d, **static):
    del kept
    return derivatives.tangent(at, d, **static)


PACKED = primitives_of(
    Kernel(
        name="lstm_jax_packed",
        platforms=("cpu",),
        forward=forward,
        backward=backward,
        scans=Loops(no_kernel, tangent, no_kernel),
        residuals=zero_residuals,
        residual_axes=Packed(1, None),
    )
)


def make_operands(T=4, B=(2,), H=3):
    at = cells.make_case(LSTMCell(H), jnp.float32, steps=T, batch=B, in_size=2)
    return Operands(at.xs, *at.params, *at.carry, None, None, None, None)


AT = make_operands()
ALL = ("xs", "w_x", "w_h", "b", "h0", "c0")
DEFINITION = lambda at: derivatives.definition(at, False)
KERNEL = lambda at: PACKED.forward(at, reverse=False)


def loss(f):
    return lambda at: sum((jnp.sin(a) * a).sum() for a in f(at))


def agree(figure, *args):
    got, want = (jax.jit(figure(f))(*args) for f in (KERNEL, DEFINITION))
    cells.assert_close(got, want, 1e-5)


def stacked(names, n=3):
    """Operands with a leading axis for those that are mapped, and their axes."""
    scale = 1 + jnp.arange(n, dtype=jnp.float32) / n
    spread = lambda a: scale.reshape(n, *[1] * a.ndim) * a[None]
    at = AT._replace(**{name: spread(getattr(AT, name)) for name in names})
    axes = {name: 0 if name in names else None for name in ALL}
    return at, Operands(*axes.values(), None, None, None, None)


def test_derivatives():
    agree(lambda f: lambda at: jax.jvp(jax.grad(loss(f)), (at,), (at,)), AT)


@pytest.mark.parametrize("names", [("xs",), ("xs", "w_h")])
def test_vmap(names):
    at, axes = stacked(names)
    agree(lambda f: jax.vmap(jax.grad(loss(f)), (axes,)), at)


def test_vmap_of_gradients_by_outputs():
    """The residual is of one call, so the kernel runs once for each gradient."""
    agree(lambda f: lambda h: jax.jacrev(lambda h: f(AT._replace(h0=h)).c)(h), AT.h0)


@pytest.mark.parametrize("outer", ["rows", "weights"])
def test_vmap_in_vmap(outer):
    at, rows = stacked(("xs",))
    mapped, weights = stacked(("w_h",), 2)
    first, last = (weights, rows) if outer == "weights" else (rows, weights)
    twice = lambda f: jax.vmap(jax.vmap(jax.grad(loss(f)), (last,)), (first,))
    agree(twice, at._replace(w_h=mapped.w_h))


def test_vmap_of_a_jacobian():
    at, axes = stacked(("xs", "h0"))
    jacobian = lambda f: jax.jacrev(lambda h, at: f(at._replace(h0=h)).h)
    agree(lambda f: jax.vmap(lambda at: jacobian(f)(at.h0, at), (axes,)), at)


def test_inside_a_scan():
    """The loop stores residuals of all its rounds."""

    def twice(f):
        def round(h, _):
            return f(AT._replace(h0=h)).h, None

        return lambda h: jnp.sin(lax.scan(round, h, None, length=2)[0]).sum()

    hs = jnp.stack([AT.h0, 2 * AT.h0])
    agree(lambda f: jax.vmap(jax.grad(twice(f))), hs)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_rows_are_gathered(kind):
    mesh = jax.make_mesh((2,), ("rows",), (kind,))
    put = lambda a, spec: jax.device_put(a, NamedSharding(mesh, spec))
    at = AT._replace(xs=put(AT.xs, P(None, "rows")), h0=put(AT.h0, P("rows")))
    at = at._replace(c0=put(AT.c0, P("rows")))
    rest = {name: put(getattr(AT, name), P()) for name in ("w_x", "w_h", "b")}
    got = jax.jit(jax.grad(loss(KERNEL)))(at._replace(**rest))
    want = jax.jit(jax.grad(loss(DEFINITION)))(AT)
    cells.assert_close(*(jax.tree.map(np.asarray, t) for t in (got, want)), 1e-5)
