"""Parameters of modules: buffers of their own, paths, sharding, and other values."""

import dataclasses
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import linen as fl
from flax import nnx
from flax.errors import ScopeParamNotFoundError
from flax.traverse_util import flatten_dict, path_aware_map

import lstm_jax
from lstm_jax import Cell, GRUCell, LSTMCell, MogrifierLSTMCell, Stack, init, linen, nn
from tests import cells
from tests.shapes import D, H

B, T = 2, 6
XS = jax.random.normal(jax.random.key(1), (B, T, D))
LAYERS = lstm_jax.init_lstm_stack(jax.random.key(2), D, H, num_layers=2)
AUTO = jax.sharding.AxisType.Auto


class SharingCell(LSTMCell):
    """A user's cell whose parameters are one array, and its states another."""

    def init(self, key, in_size, *, dtype=jnp.float32):
        one = jnp.ones((self.hidden_size, 4 * self.hidden_size), dtype)
        return lstm_jax.LSTMParams(one, one, one[0])

    def initial_carry(self, dtype):
        zeros = jnp.zeros(self.hidden_size, dtype)
        return lstm_jax.LSTMCarry(zeros, zeros)


STACKS = {
    f"{name}, {way}": Stack([cell], bidirectional=way == "two ways")
    for name, cell in (cells.CELLS | {"sharing": SharingCell(D)}).items()
    for way in ("one way", "two ways")
}


@pytest.mark.parametrize("name", STACKS)
def test_every_variable_can_be_donated(name):
    stack = STACKS[name]
    axes, bias = stack.cells[0].feature_axes, 0.1
    options = dict(trainable_carry=axes == 1)
    module = nn.Recurrent(stack, D, rngs=nnx.Rngs(0), **options)
    xs = jnp.ones((B, T, *(2,) * (axes - 1), D))
    variables = linen.Recurrent(stack=stack, **options).init(jax.random.key(0), xs)
    step = jax.jit(
        lambda state: jax.tree.map(lambda a: a + bias, state), donate_argnums=0
    )
    for state in (nnx.state(module), variables):
        want = jax.tree.map(lambda a: np.asarray(a) + np.float32(bias), state)
        cells.assert_close(step(state), want, 1e-6)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_weights_that_are_put_in_stay_the_callers():
    shared = lstm_jax.init_lstm(jax.random.key(3), H, H)
    module = nn.LSTM(H, H, num_layers=2, rngs=nnx.Rngs(0))
    module.params = (shared, shared)
    jax.jit(lambda s: jax.tree.map(jnp.sin, s), donate_argnums=0)(nnx.state(module))
    assert not any(leaf.is_deleted() for leaf in shared)


@pytest.mark.parametrize("form", ["tuples", "dicts", "numpy", "stacked", "two ways"])
def test_assigned_parameters_are_those_of_the_calls(form):
    two_ways = form == "two ways"
    size = D if form == "stacked" else H
    options = dict(num_layers=2, bidirectional=two_ways)
    layers = lstm_jax.init_lstm_stack(jax.random.key(2), D, size, **options)
    _, want = lstm_jax.lstm_stack(layers, None, XS.swapaxes(0, 1))
    if form == "stacked":
        layers = [jax.tree.map(lambda *a: jnp.stack(a), *layers)]
    given = {
        "dicts": lambda: [layer._asdict() for layer in layers],
        "numpy": lambda: jax.tree.map(np.asarray, layers),
    }.get(form, lambda: layers)()
    module = nn.LSTM(D, size, stacked=form == "stacked", rngs=nnx.Rngs(0), **options)
    run = nnx.jit(lambda module, xs: module(xs))
    before = run(module, XS)
    module.params = given
    got = run(module, XS)
    assert not np.allclose(before, got)
    cells.assert_close(got, want.swapaxes(0, 1), 1e-6)
    assert len(jax.tree.leaves(nnx.split(module)[1])) == len(jax.tree.leaves(layers))


def test_assigned_parameters_of_a_cell_and_of_nested_fields():
    cell = nn.LSTMCell(D, H, rngs=nnx.Rngs(0))
    cell.params = LAYERS[0]._asdict()
    cells.assert_close(cell.params, LAYERS[0], 0)
    stack = Stack([MogrifierLSTMCell(H, rounds=3, rank=2)])
    module = nn.Recurrent(stack, D, rngs=nnx.Rngs(0))
    params = stack.init(jax.random.key(5), D)
    module.params = params
    cells.assert_close(module.params, params, 0)


def test_assigned_parameters_keep_the_dtype_of_the_module():
    module = nn.LSTM(D, H, num_layers=2, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    module.params = LAYERS
    assert {p.dtype.name for p in jax.tree.leaves(module.params)} == {"bfloat16"}


WRONG = {
    "layers": (LAYERS[:1], ValueError, "params has 1 entries, expected 2"),
    "one layer": (LAYERS[0], TypeError, "params is LSTMParams, expected a list"),
    "sizes": (
        lstm_jax.init_lstm_stack(jax.random.key(2), D, H + 1, num_layers=2),
        ValueError,
        r"params\[0\].w_x has shape \(4, 24\), expected \(4, 20\)",
    ),
    "integers": (
        jax.tree.map(lambda a: a.astype(int), LAYERS),
        TypeError,
        r"params\[0\].w_x has dtype int32, expected a floating",
    ),
    "another cell": (
        Stack([GRUCell(H)] * 2).init(jax.random.key(0), D),
        TypeError,
        r"params\[0\] is GRUParams, expected LSTMParams or a dict with w_x, w_h, b",
    ),
    "names": (
        [{"kernel": 0.0}] * 2,
        ValueError,
        r"params\[0\] has kernel, expected w_x, w_h, b",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_parameters_are_refused(name):
    params, error, message = WRONG[name]
    module = nn.LSTM(D, H, num_layers=2, rngs=nnx.Rngs(0))
    with pytest.raises(error, match=message):
        module.params = params


def test_paths_of_linen_reach_every_array(tmp_path, optax_promotion):
    model = linen.LSTM(hidden_size=H, num_layers=2, bidirectional=True)
    params = model.init(jax.random.key(0), XS)["params"]
    paths = set(flatten_dict(params, sep="/"))
    assert {"layers_0/forward/w_x", "layers_1/backward/b"} < paths
    assert len(paths) == len(jax.tree.leaves(params)) == 12
    labels = path_aware_map(lambda path, _: "no" if path[-1] == "b" else "yes", params)
    rule = optax.multi_transform(
        {"no": optax.set_to_zero(), "yes": optax.sgd(1)}, labels
    )
    updates, _ = rule.update(params, rule.init(params), params)
    for path, update in flatten_dict(updates).items():
        assert (update == 0).all() == (path[-1] == "b")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "params", params)
        checkpointer.wait_until_finished()
        raw = checkpointer.restore(tmp_path / "params")
    want = model.apply({"params": params}, XS)
    np.testing.assert_array_equal(model.apply({"params": raw}, XS), want)
    layers = model.as_layers({"params": raw}, D)
    got = lstm_jax.lstm_stack(layers, None, XS.swapaxes(0, 1))[1]
    cells.assert_close(got.swapaxes(0, 1), want, 1e-6)


def test_what_linen_misses_or_does_not_know():
    model = linen.LSTM(hidden_size=H, num_layers=2)
    params = model.init(jax.random.key(0), XS)["params"]
    part = params | {"layers_1": {"w_x": params["layers_1"]["w_x"]}}
    with pytest.raises(ValueError, match=r"layers_1 has w_x, expected w_x, w_h, b"):
        model.apply({"params": part}, XS)
    with pytest.raises(ScopeParamNotFoundError, match="layers_1"):
        model.apply({"params": {"layers_0": params["layers_0"]}}, XS)
    with pytest.raises(ValueError, match=r"params.w_x has shape \(4, 20\), expected"):
        linen.LSTM(hidden_size=H + 1, num_layers=2).apply({"params": params}, XS)


@pytest.mark.parametrize("stacked", [False, True], ids=["apart", "stacked"])
def test_sharding_of_initialisers_is_that_of_parameters(stacked):
    """The axes of one gate are those of all gates; an axis of layers has no name."""
    spec = jax.sharding.PartitionSpec
    options = dict(num_layers=2, bidirectional=True, merge="sum", stacked=stacked)
    w, b = (None, "model"), ("model",)
    more = (None,) if stacked else ()
    want = {"w_x": spec(*more, *w), "w_h": spec(*more, *w), "b": spec(*more, *b)}

    def initialisers(with_partitioning):
        return dict(
            w_x=with_partitioning(init.glorot, w),
            w_h=with_partitioning(init.orthogonal, w),
            forget_bias=with_partitioning(init.chrono(9), b),
        )

    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(AUTO, AUTO))
    with jax.set_mesh(mesh):
        ours = initialisers(nnx.with_partitioning)
        module = nn.LSTM(D, D, rngs=nnx.Rngs(0), **ours, **options)
        specs = nnx.to_pure_dict(nnx.get_partition_spec(nnx.state(module)))
        for way in ("forward", "backward"):
            assert specs["weights"][way][0] == want
        assert module.weights.forward[0].w_h[...].sharding.spec == want["w_h"]
        hs = module(XS)
        cell = nn.LSTMCell(D, H, rngs=nnx.Rngs(0), **ours)
        specs = nnx.to_pure_dict(nnx.get_partition_spec(nnx.state(cell)))
        assert specs["w_x"] == spec(*w)
        theirs = initialisers(fl.with_partitioning)
        model = linen.LSTM(hidden_size=D, **theirs, **options)
        variables = model.init(jax.random.key(0), XS)
        specs = fl.get_partition_spec(variables)["params"]
        assert specs["layers_0"] == {"forward": want, "backward": want}
        assert len(specs) == (1 if stacked else 2)
        module.params = model.as_layers(variables, D)
        cells.assert_close(module(XS), model.apply(variables, XS), 1e-6)
    plain = nn.LSTM(D, D, forget_bias=init.chrono(9), rngs=nnx.Rngs(0), **options)
    cells.assert_close(hs, plain(XS), 1e-6)


def test_sharding_reaches_the_fields_of_any_cell():
    spec, names = jax.sharding.PartitionSpec, (None, "model")
    stack = Stack([MogrifierLSTMCell(H + 1, rounds=2)])
    mesh = jax.make_mesh((2,), ("model",), axis_types=(AUTO,))
    with jax.set_mesh(mesh):
        options = {"q": nnx.with_partitioning(init.glorot, names)}
        module = nn.Recurrent(stack, D, init_options=options, rngs=nnx.Rngs(0))
        specs = nnx.to_pure_dict(nnx.get_partition_spec(nnx.state(module)))
        specs = specs["weights"]["forward"][0]
        assert (specs["q"][0], specs["r"][0]) == (spec(*names), spec())
        options = {"q": fl.with_partitioning(init.glorot, names)}
        model = linen.Recurrent(stack=stack, init_options=options)
        variables = model.init(jax.random.key(0), XS)
    specs = fl.get_partition_spec(variables)["params"]["layers_0"]
    assert (specs["q"]["0"], specs["r"]["0"]) == (spec(*names), spec())


def test_linen_modules_hash():
    """As static arguments of ``jax.jit`` do, also made with dicts and lists."""
    make = lambda: linen.LSTM(hidden_size=[H, H], init_options={"w_x": init.zeros})
    assert hash(make()) == hash(make())
    assert make() == make()
    run = jax.jit(lambda model, variables: model.apply(variables, XS), static_argnums=0)
    variables = make().init(jax.random.key(0), XS)
    assert not variables["params"]["layers_1"]["w_x"].any()
    assert run(make(), variables).shape == (B, T, H)
    assert hash(linen.Recurrent(stack=Stack([LSTMCell(H)]), init_options={}))


def test_initialisers_by_name_and_by_options():
    twice = dict(w_x=init.zeros, init_options={"w_x": init.zeros})
    stack = Stack([LSTMCell(H)])
    with pytest.raises(ValueError, match="w_x is given twice, also in init_options"):
        nn.Recurrent(stack, D, rngs=nnx.Rngs(0), **twice)
    with pytest.raises(ValueError, match="w_x is given twice, also in init_options"):
        linen.Recurrent(stack=stack, **twice).init(jax.random.key(0), XS)
    module = nn.LSTM(D, H, w_x=init.zeros, forget_bias=3.0, rngs=nnx.Rngs(0))
    assert not module.params[0].w_x.any()
    assert (module.params[0].b[H : 2 * H] == 3).all()


def parameters(function):
    return inspect.signature(function).parameters


def test_every_argument_is_named():
    """An editor shows them, and none of a stack's is missing from what makes one."""
    publics = [lstm_jax.lstm, lstm_jax.lstm_stack, lstm_jax.init_lstm_stack]
    publics += [lstm_jax.unroll, lstm_jax.feed, Stack, Stack.__call__]
    for module in (nn.LSTM, nn.Recurrent, nn.LSTMCell):
        publics += [module.__init__, module.__call__]
    publics += [linen.LSTM, linen.LSTM.__call__, linen.Recurrent]
    for function in publics:
        kinds = {p.kind for p in parameters(function).values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, function
    facts = parameters(Stack).keys() - {"cells"}
    for function in (nn.LSTM.__init__, linen.LSTM):
        assert facts <= parameters(function).keys()
    assert (
        facts - {"bidirectional", "stacked"} <= parameters(lstm_jax.lstm_stack).keys()
    )
    call = parameters(Stack.__call__).keys() - {"self", "params", "xs", "run"}
    assert call <= parameters(lstm_jax.lstm_stack).keys()
    assert call - {"start"} <= parameters(lstm_jax.feed).keys() | {"carries", "reverse"}
    for module in (nn.Recurrent, linen.Recurrent):
        own = parameters(module.__call__).keys()
        assert call - {"carries", "dtype", "implementation"} <= own
    shared = parameters(nn.Recurrent.__init__).keys() - {
        "self",
        "in_size",
        "stack",
        "rngs",
    }
    assert shared - {"keep_rngs"} <= parameters(linen.Recurrent).keys()
    assert shared - {"init_options"} <= parameters(nn.LSTM.__init__).keys()


def test_a_loop_over_steps_starts_from_a_carry():
    """``nnx.RNN``, ``nnx.scan`` and ``lax.scan`` around the cell are the sequence."""
    for dtype in (jnp.float32, jnp.bfloat16):
        cell = nn.LSTMCell(D, H, dtype=dtype, rngs=nnx.Rngs(0))
        xs = XS.swapaxes(0, 1)
        carry = cell.initialize_carry(xs.shape[1:])
        assert (carry.h.dtype, carry.c.dtype) == (dtype, jnp.float32)
        want = lstm_jax.lstm(cell.params, None, xs, dtype=dtype, implementation="plain")
        through = nnx.scan(
            lambda carry, cell, x: cell(carry, x),
            in_axes=(nnx.Carry, None, 0),
            out_axes=(nnx.Carry, 0),
        )
        tolerance = cells.tolerance(dtype)
        cells.assert_close(through(carry, cell, xs), want, tolerance)
        cells.assert_close(jax.lax.scan(cell, carry, xs), want, tolerance)
        if dtype == jnp.float32:
            rnn = nnx.RNN(cell, return_carry=True, time_major=True)
            cells.assert_close(rnn(xs), want, tolerance)
    with pytest.raises(ValueError, match="carry_init is given"):
        cell.initialize_carry((B, D), carry_init=init.zeros)


@pytest.mark.parametrize("flax", ["nnx", "linen"])
def test_a_carry_is_one_entry_a_layer(flax):
    for carry in (jnp.zeros((B, H)), lstm_jax.LSTMCarry(*[jnp.zeros((B, H))] * 2)):
        kind = type(carry).__name__
        message = f"carries is {kind}, expected a list, one entry per layer"
        module = nn.LSTM(D, H, trainable_carry=True, rngs=nnx.Rngs(0))
        init = linen.LSTM(hidden_size=H, trainable_carry=True).init
        given = () if flax == "nnx" else (jax.random.key(0),)
        with pytest.raises(TypeError, match=message):
            (module if flax == "nnx" else init)(*given, XS, carry)


@dataclasses.dataclass(frozen=True)
class Plain(Cell):
    """The example of `Cell`, with any carry."""

    hidden_size: int
    kind: str = "array"

    products = ("w_h",)
    added = frozenset({"w_h"})

    def init(self, key, in_size, *, dtype=jnp.float32):
        shape = (in_size, self.hidden_size), (self.hidden_size,) * 2
        return PlainParams(*(jnp.full(s, 0.1, dtype) for s in shape))

    def step(self, params, carry, gx, dot, gates=None):
        h = jnp.tanh(gx + dot("w_h", jax.tree.leaves(carry)[-1]))
        old = jax.tree.leaves(carry)[:-1]
        return jax.tree.unflatten(jax.tree.structure(carry), [*old, h]), h

    def zero_carry(self, batch_shape, dtype):
        h = jnp.zeros((*batch_shape, self.hidden_size), dtype)
        count = jnp.zeros(batch_shape, jnp.int32)
        return {"array": h, "counter": PlainCarry(count, h)}[self.kind]


class PlainParams(NamedTuple):
    w_x: Any
    w_h: Any


class PlainCarry(NamedTuple):
    count: Any
    h: Any


@pytest.mark.parametrize("kind", ["array", "counter"])
def test_cells_of_a_user_in_modules(kind):
    stack, xs = Stack([Plain(5, kind)]), jnp.ones((2, 7, 3))
    model = nn.Recurrent(stack, 3, rngs=nnx.Rngs(0))
    want = stack(model.params, None, xs.swapaxes(0, 1))[1].swapaxes(0, 1)
    np.testing.assert_allclose(model(xs), want, rtol=1e-6)
    flax = linen.Recurrent(stack=stack)
    variables = flax.init(jax.random.key(0), xs)
    np.testing.assert_allclose(flax.apply(variables, xs), want, rtol=1e-6)
    with pytest.raises(TypeError, match=r"carry.* expected (a NamedTuple|floating)"):
        nn.Recurrent(stack, 3, trainable_carry=True, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda m, xs: m(xs, rngs=nnx.Rngs(params=0)), "rngs has no stream dropout"),
        (
            lambda m, xs: nn.LSTM(3, 5, time_major=1, rngs=nnx.Rngs(0)),
            "time_major is 1",
        ),
        (lambda m, xs: nn.LSTM(3, 5, keep_rngs=1, rngs=nnx.Rngs(0)), "keep_rngs is 1"),
        (
            lambda m, xs: nn.LSTMCell(3, 5, rngs=nnx.Rngs(0)).initialize_carry(
                jax.random.key(0), (2, 3)
            ),
            "input_shape is .* a key is not needed",
        ),
        (
            lambda m, xs: linen.LSTM(hidden_size=5).as_variables(m.params[0]),
            "layers is LSTMParams, expected a list",
        ),
        (
            lambda m, xs: linen.LSTM(hidden_size=5).as_layers({"layers_0": {}}, 3),
            "variables has layers_0, expected params",
        ),
        (
            lambda m, xs: setattr(m, "params", {"layers_0": {}, "layers_1": {}}),
            "params has layers_0, layers_1, expected 0, 1; pass a list .* as_layers",
        ),
    ],
)
def test_more_advice(run, message):
    model = nn.LSTM(3, 5, num_layers=2, dropout=0.5, rngs=nnx.Rngs(0))
    with pytest.raises((TypeError, ValueError), match=message):
        run(model, jnp.ones((2, 7, 3)))
