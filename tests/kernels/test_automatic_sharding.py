"""The kernel where XLA decides the sharding: every device runs its own rows.

Seen in the compiled program: what the devices send to each other, and how many rows
each call of the kernel has.
"""

import functools
import math
import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lstm_jax import LSTMCell, Stack, lstm_stack, unroll
from tests import cells
from tests.kernels.test_choice import BACKWARD, FORWARD
from tests.kernels.test_meshes import place, specs_of
from tests.kernels.test_native import (
    RTOL,
    in_float64,
    loss,
    make_case,
    make_flags,
    outputs,
    value_and_grad,
)

T, ROWS, D, H = 5, 24, 3, 6
MOVES = {"all-gather", "all-to-all", "collective-permute"}
"""What brings rows to other devices."""


def make_mesh(**axes):
    shape = tuple(axes.values())
    devices = jax.devices("cpu")[: math.prod(shape)]
    return jax.make_mesh(
        shape, tuple(axes), (AxisType.Auto,) * len(axes), devices=devices
    )


DATA = dict(data=8)


class Program:
    """A function compiled for arguments on a mesh, and what is in its text."""

    def __init__(self, f, mesh, args, specs):
        self.args = tuple(map(functools.partial(place, mesh), args, specs))
        f = jax.jit(f, compiler_options=cells.QUICK)
        self.compiled = f.lower(*self.args).compile()
        self.text = self.compiled.as_text()

    def __call__(self):
        return self.compiled(*self.args)

    def moves(self):
        return {op for op in MOVES if re.search(rf" {op}(-start)?\(", self.text)}

    def sums(self, shape):
        """Whether arrays of this shape are summed over devices."""
        array = rf"f32\[{','.join(map(str, shape))}\]"
        return re.search(rf"= .*{array}.* all-reduce\(", self.text) is not None

    def rows_of_calls(self):
        """Of the kernel, by name of the call."""
        call = r"= \(f32\[\d+,(\d+),.* custom-call\(.*\"(lstm_jax_\w+)\""
        calls = re.findall(call, self.text)
        return {
            name: {int(n) for n, other in calls if other == name} for _, name in calls
        }


def agree(f, mesh, args, specs, rtol=RTOL):
    """The program of ``f("native", *args)``, right for these shardings."""
    program = Program(functools.partial(f, "native"), mesh, args, specs)
    want = in_float64(functools.partial(f, "scan"), *args)
    cells.assert_close(program(), want, rtol)
    return program


def check_own_rows(program, rows):
    assert not program.moves(), program.text
    assert program.rows_of_calls() == {FORWARD: {rows}, BACKWARD: {rows}}


MESHES = {
    "one axis": (DATA, "data"),
    "two axes": (dict(data=4, model=2), ("data", "model")),
    "in another order": (dict(data=4, model=2), ("model", "data")),
    "the first of two": (dict(data=4, model=2), "data"),
    "the second of two": (dict(data=2, model=4), "model"),
    "six devices": (dict(data=3, model=2), "model"),
    "six others": (dict(data=2, model=3), ("model", "data")),
}


@pytest.mark.parametrize("name", MESHES)
def test_every_device_runs_its_own_rows(name):
    """Only gradients by weights are communicated, as sums."""
    shape, axes = MESHES[name]
    at, flags = make_case(T, ROWS, H), make_flags("mask, resets", T, ROWS)
    program = agree(value_and_grad, make_mesh(**shape), (at, flags), specs_of(axes))
    parts = math.prod(size for name, size in shape.items() if name in axes)
    check_own_rows(program, ROWS // parts)
    assert all(program.sums(weight.shape) for weight in at.params)
    gradient = program()[1].xs
    assert gradient.sharding.shard_shape(gradient.shape)[1] == ROWS // parts


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("which", ["", "mask", "resets"])
def test_flags_and_direction(which, reverse):
    args = make_case(T, ROWS, H), make_flags(which, T, ROWS)
    f = functools.partial(value_and_grad, reverse=reverse)
    check_own_rows(agree(f, make_mesh(**DATA), args, specs_of("data")), 3)


def test_the_scan_communicates_no_more():
    at, flags = make_case(T, ROWS, H), make_flags("mask, resets", T, ROWS)
    scan = functools.partial(value_and_grad, "scan")
    program = Program(scan, make_mesh(**DATA), (at, flags), specs_of("data"))
    assert not program.moves(), program.text


def test_a_bidirectional_stack_with_lengths():
    stack = Stack([LSTMCell(H)] * 2, bidirectional=True)
    params, xs = stack.init(jax.random.key(0), D), make_case(T, ROWS, H).xs
    lengths = np.arange(ROWS, dtype=np.int32) % (T + 1)

    def gradients(kernel, params, xs, lengths):
        run = functools.partial(lstm_stack, lengths=lengths, implementation=kernel)
        loss = lambda params, xs: jnp.sum(jnp.sin(run(params, None, xs)[1]))
        return jax.grad(loss, (0, 1))(params, xs)

    specs = P(), P(None, "data"), P("data")
    program = agree(gradients, make_mesh(**DATA), (params, xs, lengths), specs)
    check_own_rows(program, 3)


def two_batch_axes(at, first):
    """The case with its rows in two axes, the first of this length."""
    fold = lambda n, a: a.reshape(*a.shape[:n], first, -1, *a.shape[n + 1 :])
    carry = jax.tree.map(functools.partial(fold, 0), at.carry)
    return at._replace(xs=fold(1, at.xs), carry=carry, reset_carry=None)


def value_and_grad_of_each(kernel, at):
    """Of every example of the first batch axis, also by the weights."""
    one = functools.partial(value_and_grad, kernel)
    return jax.vmap(one, (cells.Case(None, 0, None, 1),))(at)


@pytest.mark.parametrize("spec", [("data", "model"), ("data", None), (None, "model")])
@pytest.mark.parametrize("f", [value_and_grad, value_and_grad_of_each])
def test_two_batch_axes(f, spec):
    """Both sharded, or one of them; written, or added by ``vmap``."""
    mesh, at = make_mesh(data=4, model=2), two_batch_axes(make_case(T, ROWS, H), 4)
    program = agree(f, mesh, (at,), (cells.Case(P(), P(*spec), P(), P(None, *spec)),))
    parts = {"data": 4, "model": 2, None: 1}
    check_own_rows(program, ROWS // math.prod(map(parts.get, spec)))


def test_an_axis_of_the_mesh_that_is_split():
    """As where XLA divides 24 rows that become 2 times 12."""

    def f(kernel, at):
        return value_and_grad(kernel, two_batch_axes(at, 2))[1].params

    specs = specs_of("data")[:1]
    program = agree(f, make_mesh(**DATA), (make_case(T, ROWS, H),), specs)
    assert program.rows_of_calls() == {FORWARD: {3}, BACKWARD: {3}}


def test_mapped_weights():
    at = make_case(T, ROWS, H)
    twice = jax.tree.map(lambda p: jnp.stack([p, p / 2]), at.params)
    axes = cells.Case(0, None, None, None)
    each = lambda kernel, at: jax.vmap(functools.partial(loss, kernel), (axes,))(at)
    gradient = lambda kernel, at: jax.grad(lambda at: each(kernel, at).sum())(at)
    at, specs = at._replace(params=twice), specs_of("data")[:1]
    check_own_rows(agree(gradient, make_mesh(**DATA), (at,), specs), 3)
    by_member = (cells.Case(P("data"), P(), P(), P()),)
    agree(gradient, make_mesh(data=2), (at,), by_member)


def slope(kernel, at):
    d = jax.tree.map(lambda a: a / 2, at)
    return jax.jvp(functools.partial(outputs, kernel), (at,), (d,))


def second_derivative(kernel, at):
    d = jax.tree.map(lambda a: a / 2, at)
    return jax.jvp(jax.grad(functools.partial(loss, kernel)), (at,), (d,))


def pieces(kernel, at):
    """The kernel inside a loop, and again in the backward pass."""

    def f(at):
        @jax.checkpoint
        def piece(carry, xs):
            return unroll(LSTMCell(H), at.params, carry, xs, implementation=kernel)

        out = lax.scan(piece, at.carry, at.xs.reshape(2, -1, *at.xs.shape[1:]))
        return sum(jnp.sum(x * jnp.cos(x)) for x in jax.tree.leaves(out))

    return jax.grad(f)(at)


@pytest.mark.parametrize("f", [slope, second_derivative, pieces])
def test_further_figures(f):
    specs = specs_of("data")[:1]
    program = agree(f, make_mesh(**DATA), (make_case(4, ROWS, H),), specs)
    assert not program.moves(), program.text
    assert program.rows_of_calls()[FORWARD] == {3}


OTHERWISE = {
    "weights": cells.Case(P("model"), P("data"), P("data"), P(None, "data")),
    "time": cells.Case(P(), P("data"), P("data"), P("model", "data")),
    "features": cells.Case(P(), P("data"), P("data"), P(None, "data", "model")),
    "rows of the state alone": cells.Case(P(), P("data"), P(), P()),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_is_sharded_otherwise_is_gathered(name):
    """But not the rows."""
    mesh, at = make_mesh(data=4, model=2), make_case(T + 1, ROWS, H, D=4)
    program = agree(value_and_grad, mesh, (at,), (OTHERWISE[name],))
    assert program.rows_of_calls() == {FORWARD: {6}, BACKWARD: {6}}


@pytest.mark.parametrize("axes", ["data", ("data", "model")])
def test_rows_that_cannot_be_divided(axes):
    mesh, at = make_mesh(data=4, model=2), make_case(T, 12, H)
    divide = NamedSharding(mesh, P(None, ("data", "model")))

    def f(kernel, at):
        if kernel == "native":
            at = at._replace(xs=lax.with_sharding_constraint(at.xs, divide))
        return value_and_grad(kernel, at)

    agree(f, mesh, (at,), specs_of("data")[:1])
    agree(f, mesh, (at,), (P(),))


def test_shardings_of_jit_and_of_the_context():
    at, mesh = make_case(T, ROWS, H), make_mesh(**DATA)
    specs, f = specs_of("data")[0], functools.partial(value_and_grad, "native")
    is_spec = lambda x: isinstance(x, P)
    shardings = jax.tree.map(
        functools.partial(NamedSharding, mesh), specs, is_leaf=is_spec
    )
    at = jax.tree.map(np.asarray, at)
    by_jit = jax.jit(f, in_shardings=(shardings,), compiler_options=cells.QUICK)
    assert "all-gather" not in by_jit.lower(at).compile().as_text()
    want = in_float64(functools.partial(value_and_grad, "scan"), at)
    cells.assert_close(by_jit(at), want, RTOL)
    with jax.set_mesh(mesh):
        program = Program(f, mesh, (at,), (specs,))
        check_own_rows(program, 3)
        cells.assert_close(program(), want, RTOL)
    gradient = jax.grad(loss, 1)("native", place(mesh, at, specs))
    cells.assert_close(gradient, want[1], RTOL)


def test_the_choice_sees_the_rows_of_a_device():
    """Large weights, which pay for the kernel from 100 rows in all steps on."""
    steps, large, mesh = 16, 260, make_mesh(**DATA)
    f, specs = functools.partial(value_and_grad, None), specs_of("data")[:1]
    for rows, own in ((64, {8}), (16, set())):
        program = Program(f, mesh, (make_case(steps, rows, large),), specs)
        assert not program.moves(), program.text
        assert program.rows_of_calls().get(FORWARD, set()) == own


def test_one_device_and_exported_programs_are_not_divided():
    at, mesh = make_case(T, ROWS, H), make_mesh(**DATA)
    f = jax.jit(lambda at: jax.tree.leaves(outputs("native", at)))
    placed = place(mesh, at, specs_of("data")[0])
    allowed = jax.export.DisabledSafetyCheck.custom_call(FORWARD)
    exported = jax.export.export(f, disabled_checks=[allowed])(placed)
    for text in (f.lower(at).as_text(), exported.mlir_module()):
        assert f"custom_call @{FORWARD}(" in text
        assert "CustomSPMDPartitioning" not in text
    cells.assert_close(exported.call(placed), f(at), RTOL)


def test_the_cache_of_compiled_programs_tells_directions_apart():
    """XLA asks for the kernel after JAX has looked into the cache."""
    placed = place(make_mesh(**DATA), make_case(T, ROWS, H), specs_of("data")[0])

    def text(**options):
        f = jax.jit(functools.partial(outputs, "native", **options))
        pointer = r'backend_config = "\d+"'
        return re.sub(pointer, "", f.lower(placed).as_text())

    assert text() == text(reverse=False)
    assert text() != text(reverse=True)


def test_devices_in_any_order():
    devices = np.asarray(jax.devices("cpu")[:8])[[3, 1, 0, 2, 7, 6, 5, 4]]
    mesh = Mesh(devices.reshape(4, 2), ("data", "model"))
    specs = specs_of("data")[:1]
    check_own_rows(agree(value_and_grad, mesh, (make_case(T, ROWS, H),), specs), 6)
