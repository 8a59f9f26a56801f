"""Sequences spread over a mesh of devices: the same numbers and derivatives."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import lstm_jax
from lstm_jax.diagnostics import state_gradients
from tests import cells
from tests.core.test_derivatives import check_both, grad_and_hvp

pytestmark = pytest.mark.usefixtures("x64")

DEVICES = 4
ROWS = 8
FLAGS = cells.make_flags(rows=ROWS)
SPECS = cells.Case(P(), P("data"), P("data"), P(None, "data"))
OUT = (P("data"), P(None, "data"))


@pytest.fixture
def mesh():
    devices = jax.devices("cpu")
    assert len(devices) >= DEVICES
    return Mesh(np.array(devices[:DEVICES]), ("data",))


def shard(f, mesh, out_specs):
    flags = P(None, "data")
    return jax.shard_map(f, mesh=mesh, in_specs=(SPECS, flags), out_specs=out_specs)


@pytest.mark.parametrize(
    ("name", "carry"),
    [
        *(("lstm", carry) for carry in ("carry", "no carry")),
        *(("gru", carry) for carry in ("no carry", "no flags")),
        ("convolution", "no carry"),
        ("slstm", "no carry"),
        ("min lstm", "no carry"),
    ],
)
def test_derivatives_around_shard_map(mesh, name, carry):
    cell = cells.CELLS[name]

    def local(at, flags, plain=False):
        if carry == "carry":
            return cells.run(cell, at, flags, plain=plain)
        flags = flags if carry == "no carry" else cells.Flags()
        return cells.unroll(
            cell,
            at.params,
            None,
            at.xs,
            **flags._asdict(),
            implementation="plain" if plain else "scan",
        )

    def loss(at, flags, plain):
        run = local if not plain else (lambda *args: local(*args, plain=True))
        return cells.scalar((run if plain else shard(run, mesh, OUT))(at, flags))

    check_both(loss, cells.make_case(cell, batch=(ROWS,)), FLAGS)


@pytest.mark.parametrize("summed", [False, True], ids=["local loss", "psum"])
@pytest.mark.parametrize("name", ["lstm", "gru", "slstm", "min lstm"])
def test_gradients_inside_shard_map(mesh, name, summed):
    """Gradients by replicated parameters are summed over the mesh."""
    cell = cells.CELLS[name]
    at = cells.make_case(cell, batch=(ROWS,))

    def loss(at, flags, plain=False):
        _, hs = cells.run(cell, at, flags, plain=plain)
        return jnp.sum(jnp.sin(hs))

    def local(at, flags):
        total = lambda at: jax.lax.psum(loss(at, flags), "data")
        return jax.grad(total if summed else lambda at: loss(at, flags))(at)

    got = jax.jit(shard(local, mesh, SPECS))(at, FLAGS)
    want = jax.jit(jax.grad(lambda at, flags: loss(at, flags, plain=True)))(at, FLAGS)
    cells.assert_close(got, want, cells.DERIVATIVES)


def test_sharded_parameters_of_an_ensemble(mesh):
    """One member a device, through vmap inside shard_map, carry made inside."""
    cell = cells.CELLS["lstm"]
    params = [cells.make_case(cell, seed=n).params for n in range(DEVICES)]
    params = jax.tree.map(lambda *x: jnp.stack(x), *params)
    xs = cells.make_case(cell).xs

    def losses(params, xs):
        each = lambda p: cells.scalar(cells.unroll(cell, p, None, xs))
        return jax.vmap(jax.value_and_grad(each))(params)

    sharded = jax.shard_map(
        losses, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data")
    )
    got, want = jax.jit(sharded)(params, xs), jax.jit(losses)(params, xs)
    cells.assert_close(got, want, cells.DERIVATIVES)


def test_automatic_sharding(mesh):
    """jit over inputs with a NamedSharding, parameters replicated."""
    cell = cells.CELLS["lstm"]
    at = cells.make_case(cell, batch=(ROWS,))
    f = lambda at, v: grad_and_hvp(lambda at: cells.loss(cell, at, FLAGS), at, v)
    v = cells.draw(at, seed=5)
    jit = functools.partial(jax.jit, compiler_options=cells.QUICK)
    want = jit(f)(at, v)
    put = lambda tree, spec: jax.device_put(tree, NamedSharding(mesh, spec))
    placed = [cells.Case(*map(put, tree, SPECS)) for tree in (at, v)]
    cells.assert_close(jit(f)(*placed), want, cells.DERIVATIVES)


@functools.cache
def on_one_device(name):
    """A case, its outputs and the gradients of a loss of them."""
    cell = cells.CELLS[name]
    at = cells.make_case(cell, batch=(ROWS,))
    return at, jax.jit(values_and_gradients(cell), compiler_options=cells.QUICK)(
        at, FLAGS
    )


def values_and_gradients(cell):
    def f(at, flags):
        out, pull = jax.vjp(lambda at: cells.run(cell, at, flags), at)
        return out, pull(jax.tree.map(jnp.cos, out))[0]

    return f


@pytest.mark.parametrize("kind", ["auto", "explicit", "manual"])
@pytest.mark.parametrize(
    ("name", "devices"), [*((name, 2) for name in cells.CELLS), ("lstm", 8), ("gru", 8)]
)
def test_every_cell_on_every_kind_of_mesh(name, kind, devices):
    """Values and gradients of one device; outputs and gradients sharded as inputs."""
    at, want = on_one_device(name)
    of = AxisType.Explicit if kind == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(of,))
    put = lambda spec, tree: jax.device_put(tree, NamedSharding(mesh, spec))
    placed = cells.Case(*map(put, SPECS, at))
    flags = put(P(None, "data"), FLAGS)
    f = values_and_gradients(cells.CELLS[name])
    specs = (OUT, SPECS)
    if kind == "manual":
        in_specs = (SPECS, P(None, "data"))
        f = jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=specs)
    got = jax.jit(f, compiler_options=cells.QUICK)(placed, flags)
    cells.assert_close(got, want, cells.DERIVATIVES)
    whole = lambda spec, n: (*spec, *(None,) * (n - len(spec)))
    if kind != "auto":
        spread = jax.tree.broadcast(specs, got, is_leaf=lambda s: isinstance(s, P))
        for spec, a in zip(*map(jax.tree.leaves, (spread, got)), strict=True):
            found = (
                jax.typeof(a).sharding.spec if kind == "explicit" else a.sharding.spec
            )
            assert whole(found, a.ndim) == whole(spec, a.ndim)


def test_a_manual_axis_beside_an_explicit_one():
    cell = cells.CELLS["lstm"]
    at = cells.make_case(cell, batch=(ROWS,))
    mesh = jax.make_mesh((2, 2), ("data", "model"))
    xs = jax.device_put(at.xs, NamedSharding(mesh, P(None, ("data", "model"))))
    run = lambda xs: lstm_jax.unroll(cell, at.params, None, xs)[1]
    rows = P(None, "data")
    partly = jax.shard_map(
        run, mesh=mesh, in_specs=rows, out_specs=rows, axis_names={"data"}
    )
    cells.assert_close(jax.jit(partly)(xs), run(at.xs), 1e-12)


def test_gradients_of_states_on_explicit_axes():
    cell = cells.CELLS["lstm"]
    at = cells.make_case(cell, batch=(ROWS,))
    mesh = jax.make_mesh((2,), ("data",))
    xs = jax.device_put(at.xs, NamedSharding(mesh, P(None, "data")))
    run = lambda xs: state_gradients(cell, at.params, xs, lambda hs: jnp.sum(hs[-1]))
    cells.assert_close(jax.jit(run)(xs), run(at.xs), cells.DERIVATIVES)


STACK = lstm_jax.Stack(
    [lstm_jax.Zoneout(lstm_jax.LSTMCell(cells.D), h=0.1)] * 2,
    skip="residual",
    input_dropout=0.2,
    dropout=0.5,
    output_dropout=0.1,
    weight_drop=0.3,
)


@pytest.mark.parametrize("locked", [False, True])
def test_masks_of_a_stack_on_explicit_axes(locked):
    """With lengths that are not sharded themselves, as most callers have them."""
    stack = dataclasses.replace(STACK, locked=locked)
    params = stack.init(jax.random.key(0), cells.D, dtype=jnp.float64)
    at = cells.make_case(lstm_jax.LSTMCell(cells.D), batch=(ROWS,))
    lengths = jnp.arange(ROWS) % (cells.T + 1)
    f = lambda params, xs: stack(
        params, None, xs, lengths=lengths, key=jax.random.key(1)
    )[1]
    gradient = jax.grad(lambda *at: jnp.sum(jnp.sin(f(*at))), (0, 1))
    mesh = jax.make_mesh((2,), ("data",))
    xs = jax.device_put(at.xs, NamedSharding(mesh, P(None, "data")))
    with jax.set_mesh(mesh):
        got = jax.jit(f)(params, xs), jax.jit(gradient)(params, xs)
    assert jax.typeof(got[0]).sharding == jax.typeof(xs).sharding
    want = f(params, at.xs), gradient(params, at.xs)
    cells.assert_close(got, want, cells.DERIVATIVES)


def test_one_step(mesh):
    """`lstm_step` takes replicated parameters and sharded rows too."""
    at = cells.make_case(cells.CELLS["lstm"], batch=(ROWS,))

    def loss(params, x):
        return jnp.sum(jnp.sin(lstm_jax.lstm_step(params, None, x)[1]))

    grad = jax.grad(loss, argnums=(0, 1))
    specs = (P(), P("data"))
    sharded = jax.shard_map(grad, mesh=mesh, in_specs=specs, out_specs=specs)
    got, want = jax.jit(sharded)(at.params, at.xs[0]), grad(at.params, at.xs[0])
    cells.assert_close(got, want, cells.DERIVATIVES)


def test_a_scalar_adds_nothing_to_what_varies_like_it():
    from lstm_jax.core.sharding import vary_alike

    got = jax.jit(vary_alike)(jnp.zeros(2), jnp.float32(3.0))
    np.testing.assert_array_equal(got, 0.0)


@pytest.mark.parametrize("layers", [2, 4])
def test_an_ensemble_of_stacks_on_shared_inputs(mesh, layers):
    """Parameters vary over the mesh and inputs do not, also in a loop over layers."""
    stack = lstm_jax.Stack([lstm_jax.LSTMCell(cells.D)] * layers)
    keys = jax.random.split(jax.random.key(0), DEVICES)
    params = jax.vmap(lambda key: stack.init(key, cells.D, dtype=jnp.float64))(keys)
    xs = cells.make_case(lstm_jax.LSTMCell(cells.D)).xs
    run = lambda params: stack(params, None, xs)[1]
    one = lambda params: run(jax.tree.map(lambda p: p[0], params))[None]
    spread = jax.shard_map(one, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    cells.assert_close(jax.jit(spread)(params), jax.vmap(run)(params), 1e-12)


def test_masks_of_every_device(mesh):
    """A key for each device, parameters and inputs shared."""
    cell = lstm_jax.Zoneout(lstm_jax.LSTMCell(cells.H), h=0.3)
    at, keys = cells.make_case(cell), jax.random.split(jax.random.key(0), DEVICES)
    run = lambda key: lstm_jax.unroll(cell, at.params, None, at.xs, key=key)[1]
    one = lambda keys: run(keys[0])[None]
    spread = jax.shard_map(one, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    cells.assert_close(jax.jit(spread)(keys), jax.vmap(run)(keys), 1e-12)
