"""The kernel on meshes of devices, with axes of every type: the same numbers and
derivatives, and on explicit axes the same types."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from lstm_jax import ops
from tests import cells
from tests.kernels.test_native import (
    in_float64,
    loss,
    make_case,
    make_flags,
    outputs,
)

T, ROWS, H = 5, 8, 6
SHAPES = {2: {"data": 2}, 8: {"data": 4, "model": 2}}
RTOL = 2e-6


def make_mesh(devices, kind="Explicit"):
    shape = SHAPES[devices]
    types = (getattr(AxisType, kind),) * len(shape)
    return jax.make_mesh(
        (*shape.values(),), (*shape,), types, devices=jax.devices("cpu")[:devices]
    )


def place(mesh, tree, specs):
    put = lambda spec, a: jax.device_put(a, NamedSharding(mesh, spec))
    is_spec = lambda x: isinstance(x, P)
    spread = lambda spec, part: jax.tree.map(functools.partial(put, spec), part)
    return jax.tree.map(spread, specs, tree, is_leaf=is_spec)


def specs_of(rows):
    """Of a case and of its flags."""
    return cells.Case(P(), P(rows), P(rows), P(None, rows)), P(None, rows)


def value_and_grad(kernel, at, flags):
    return outputs(kernel, at, flags), jax.grad(loss, 1)(kernel, at, flags)


def value_and_slope(kernel, at, flags):
    v = jax.tree.map(lambda a: a / 2, at)
    return jax.jvp(lambda at: outputs(kernel, at, flags), (at,), (v,))


@pytest.mark.parametrize("devices", SHAPES)
@pytest.mark.parametrize("kind", ["Auto", "Explicit", "Manual"])
@pytest.mark.parametrize("figure", [value_and_grad, value_and_slope])
def test_every_type_of_axis(figure, kind, devices):
    at, flags = make_case(T, ROWS, H), make_flags("mask, resets", T, ROWS)
    want = in_float64(functools.partial(figure, "scan"), at, flags)
    mesh = make_mesh(devices, "Auto" if kind == "Manual" else kind)
    specs = at_specs, flag_specs = specs_of((*SHAPES[devices],))
    f = functools.partial(figure, "native")
    if kind == "Manual":
        carry, hs = at_specs.carry, at_specs.xs
        second = (carry, hs) if figure is value_and_slope else at_specs
        f = jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=((carry, hs), second))
    placed = place(mesh, at, at_specs), place(mesh, flags, flag_specs)
    got = jax.jit(f)(*placed)
    weigh_all = kind == "Manual" and figure is value_and_grad
    if weigh_all:  # the loss weighs the rows that it sees
        got, want = got[0], want[0]
    cells.assert_close(got, want, RTOL)
    if kind == "Explicit":
        (carry, hs), second = got
        assert jax.typeof(hs).sharding == jax.typeof(placed[0].xs).sharding
        like = placed[0] if figure is value_and_grad else (placed[0].carry, hs)
        assert jax.tree.map(jax.typeof, (carry, second)) == jax.tree.map(
            jax.typeof, (placed[0].carry, like)
        )


@pytest.mark.parametrize("devices", SHAPES)
def test_what_is_sharded_otherwise_is_gathered(devices):
    """Weights, features or time: right, and gradients have the types of operands."""
    at, mesh = make_case(T + 3, ROWS, H, D=4), make_mesh(devices)
    f = lambda kernel, at: value_and_grad(kernel, at, cells.NO_FLAGS)
    want = in_float64(functools.partial(f, "scan"), at)
    by_columns = type(at.params)(P(None, "data"), P("data"), P("data"))
    if devices == 8:
        by_columns = by_columns._replace(w_h=P(None, "data"))
    for xs in (P("data"), P(None, None, "data"), P(None, "data")):
        specs = cells.Case(by_columns, P(), P(), xs)
        placed = place(mesh, at, specs)
        got = jax.jit(functools.partial(f, "native"))(placed)
        cells.assert_close(got, want, RTOL)
        assert jax.tree.map(jax.typeof, got[1]) == jax.tree.map(jax.typeof, placed)


AXES = {
    "rows": (cells.Case(None, None, None, 0), P("data"), P()),
    "rows inside": (cells.Case(None, None, None, 0), P(None, None, "data"), P()),
    "params": (cells.Case(0, None, None, None), P(), P("data")),
    "both": (cells.Case(0, None, None, 0), P("data"), P("data")),
}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("figure", ["value", "gradient"])
def test_vmap_on_explicit_axes(figure, axes):
    """The mapped axis is sharded, or one of those inside."""
    axes, xs_spec, params_spec = AXES[axes]
    mesh, parts = make_mesh(2), [make_case(T, 2, H, seed=10 * n) for n in range(4)]
    many = jax.tree.map(lambda *a: jnp.stack(a), *parts)
    at = parts[0]._replace(
        params=many.params if axes.params == 0 else parts[0].params,
        xs=many.xs if axes.xs == 0 else parts[0].xs,
    )
    one = {"value": outputs, "gradient": lambda k, at: jax.grad(loss, 1)(k, at)}[figure]
    f = lambda kernel, at: jax.vmap(functools.partial(one, kernel), (axes,))(at)
    want = in_float64(functools.partial(f, "scan"), at)
    placed = place(mesh, at, cells.Case(params_spec, P(), P(), xs_spec))
    got = jax.jit(functools.partial(f, "native"))(placed)
    cells.assert_close(got, want, RTOL)
    leaf = got[1] if figure == "value" else got.xs
    expected = P("data") if xs_spec == P() else xs_spec
    spec = tuple(expected) + (None,) * (4 - len(expected))
    assert tuple(jax.typeof(leaf).sharding.spec) == spec


def second_derivative(implementation, at):
    run = lambda xs: ops.lstm(at.params, None, xs, implementation=implementation)[1]
    gradient = jax.grad(lambda xs: jnp.sum(jnp.sin(run(xs))))
    return jax.jvp(gradient, (at.xs,), (at.xs / 2,))


def remat(implementation, at):
    run = lambda xs: ops.lstm(
        at.params, None, xs, remat=3, implementation=implementation
    )
    return run(at.xs), jax.grad(lambda xs: jnp.sum(jnp.sin(run(xs)[1])))(at.xs)


@pytest.mark.parametrize("implementation", ["native", "scan"])
@pytest.mark.parametrize("figure", [second_derivative, remat])
def test_further_figures_on_explicit_axes(figure, implementation):
    at, mesh = make_case(T, ROWS, H), make_mesh(2)
    want = in_float64(functools.partial(figure, "plain"), at)
    placed = place(mesh, at, specs_of("data")[0])
    got = jax.jit(functools.partial(figure, implementation))(placed)
    cells.assert_close(got, want, 2 * RTOL)
    last = jax.tree.leaves(got)[-1]
    assert jax.typeof(last).sharding == jax.typeof(placed.xs).sharding


def test_the_choice_and_calls_without_jit():
    """``implementation=None`` takes the kernel here, and it runs."""
    at, mesh = make_case(T, ROWS, H), make_mesh(2)
    placed = place(mesh, at, specs_of("data")[0])
    run = lambda at: ops.lstm(at.params, None, at.xs, implementation=None)
    assert "lstm_jax_forward" in jax.jit(run).lower(placed).as_text()
    with jax.set_mesh(mesh):
        carry, hs = run(placed)
        gradient = jax.grad(lambda at: jnp.sum(run(at)[1] ** 2))(placed)
    want = in_float64(
        lambda at: ops.lstm(at.params, None, at.xs, implementation="plain"), at
    )
    cells.assert_close((carry, hs), want, RTOL)
    assert jax.typeof(hs).sharding == jax.typeof(placed.xs).sharding
    assert jax.typeof(gradient.xs) == jax.typeof(placed.xs)
    rows = np.array([s.data.shape[1] for s in hs.addressable_shards])
    assert (rows == ROWS // 2).all()
