"""The native kernel computes what `unroll` defines, under every transformation.

The definition runs in float64, so that what differs is the kernel's own error.
"""

import concurrent.futures
import functools
import os
import pathlib
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from lstm_jax import LSTMCarry, LSTMCell, ops, unroll
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.kernels.cpu import library
from tests import cells
from tests.core.test_derivatives import MODES, inner

RTOL = 2e-6
"""Of the largest value in an array."""

SIZES = [(1, 1, 1), (1, 3, 5), (3, 1, 16), (7, 2, 17), (6, 7, 33), (5, 25, 40)]
"""``T, B, H``: tails of units and of rows, one row, many rows."""


def make_case(T, B, H, D=3, seed=0):
    """Recurrent weights of a size that neither forgets nor amplifies."""
    batch = (B,) if B else ()
    at = cells.make_case(
        LSTMCell(H), jnp.float32, steps=T, batch=batch, in_size=D, seed=seed
    )
    return at._replace(params=at.params._replace(w_h=at.params.w_h * 2 * H**-0.5))


def make_flags(which, T, B, seed=0):
    rng = np.random.default_rng(seed)
    mask, resets = rng.random((2, T, B)) < 0.6
    return cells.Flags(
        mask if "mask" in which else None, resets if "resets" in which else None
    )


def in_float64(f, *args):
    """``f`` by definition, in float64."""
    with jax.enable_x64(True):
        wide = lambda a: a.astype(np.float64) if a.dtype == np.float32 else a
        args = jax.tree.map(lambda a: wide(np.asarray(a)), args)
        f = jax.jit(f, compiler_options=cells.QUICK)
        return jax.tree.map(np.asarray, f(*args))


def agree(f, *args, rtol=RTOL):
    """``f(kernel, *args)`` by the kernel and by definition."""
    got = jax.jit(functools.partial(f, "native"))(*args)
    cells.assert_close(got, in_float64(functools.partial(f, "scan"), *args), rtol)


def outputs(kernel, at, flags=cells.NO_FLAGS, **options):
    cell = LSTMCell(at.carry.h.shape[-1])
    return cells.run(cell, at, flags, implementation=kernel, **options)


def loss(kernel, at, flags=cells.NO_FLAGS, **options):
    """Feels every output differently, and bends."""

    def weigh(x):
        x = x.astype(accumulation_dtype(x.dtype))
        weights = np.random.default_rng(0).normal(size=x.shape)
        return jnp.sum(jnp.asarray(weights, x.dtype) * x + x * x / 2)

    return sum(map(weigh, jax.tree.leaves(outputs(kernel, at, flags, **options))))


def value_and_grad(kernel, at, flags=cells.NO_FLAGS, **options):
    f = lambda at: loss(kernel, at, flags, **options)
    return outputs(kernel, at, flags, **options), jax.grad(f)(at)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("which", ["", "mask, resets"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_gradients(size, which, reverse):
    T, B, _ = size
    f = functools.partial(value_and_grad, reverse=reverse)
    agree(f, make_case(*size), make_flags(which, T, B))


@pytest.mark.parametrize("which", ["mask", "resets"])
def test_one_flag_alone(which):
    agree(value_and_grad, make_case(7, 2, 17), make_flags(which, 7, 2))


@pytest.mark.parametrize(
    ("T", "B", "H", "which"),
    [
        (37, 40, 130, ""),
        (37, 40, 130, "mask, resets"),
        (37, 5, 130, "mask, resets"),
        (60, 3, 120, "mask"),
        (60, 1, 520, ""),
        (60, 2, 140, "resets"),
    ],
)
def test_work_shared_between_threads(T, B, H, which):
    """Large enough for more than one thread; cut by rows and by units, into tiles of
    every width, with inputs multiplied ahead."""
    at, flags = make_case(T, B, H), make_flags(which, T, B)
    agree(value_and_grad, at, flags, rtol=1e-5)


def test_remat_takes_pieces():
    """Carries go from one call of the kernel to the next."""
    agree(functools.partial(value_and_grad, remat=3), make_case(7, 2, 6))


@pytest.mark.parametrize(("T", "B", "H"), [(400, 4, 5), (37, 40, 130)])
def test_blocks_of_steps_without_real_rows(T, B, H):
    """Products of a block begin the sums of the weights, also where it has no rows."""
    lengths = np.random.default_rng(0).integers(0, T // 4, B)
    flags = cells.Flags(cells.length_mask(lengths, T), None)
    agree(value_and_grad, make_case(T, B, H), flags, rtol=1e-5)


def test_the_same_bits_in_every_run():
    """However many threads have come by a step, and whenever they did."""
    at = make_case(6, 1, 512)
    gradient = jax.jit(lambda at: jax.grad(lambda at: loss("native", at))(at))
    first = gradient(at)
    for _ in range(40):
        jax.tree.map(np.testing.assert_array_equal, gradient(at), first)


@pytest.mark.parametrize("mode", MODES)
def test_every_way_to_differentiate(mode):
    figure = MODES[mode][1]
    flags = make_flags("mask, resets", 4, 2)
    at = make_case(4, 2, 3)
    v = cells.draw(at, seed=5)
    f = lambda kernel, at, v: figure(lambda at: loss(kernel, at, flags), at, v)
    agree(f, at, v)


def test_derivatives_of_inputs_alone():
    """Weights that nobody differentiates by have no gradient to compute."""
    at = make_case(4, 2, 3)
    f = lambda kernel, at: jax.grad(lambda xs: loss(kernel, at._replace(xs=xs)))(at.xs)
    agree(f, at)
    jaxpr = str(jax.make_jaxpr(functools.partial(f, "native"))(at))
    assert "wrt=('xs',)" in jaxpr, jaxpr


AXES = {
    "sequences": cells.Case(None, 0, 0, 1),
    "inputs alone": cells.Case(None, None, None, 1),
    "params": cells.Case(0, None, None, None),
    "both": cells.Case(0, 0, 0, 1),
}


def members(axes, count=3):
    parts = [make_case(5, 2, 6, seed=10 * n) for n in range(count)]
    join = lambda axis, trees: (
        trees[0]
        if axis is None
        else jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *trees)
    )
    return cells.Case(*map(join, axes, zip(*parts, strict=True)))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("figure", ["value", "grad", "summed", "jvp", "hvp"])
def test_vmap(figure, axes):
    at, axes = members(AXES[axes]), AXES[axes]
    flags = make_flags("mask, resets", 5, 2)
    v = cells.draw(at, seed=7)
    if figure == "summed":  # the gradient of a sum over the mapped axis
        mapped = lambda f: lambda at: jax.vmap(f, (axes,))(at).sum()
        f = lambda kernel, at: jax.grad(mapped(lambda at: loss(kernel, at, flags)))(at)
        return agree(f, at)
    one = {
        "value": lambda kernel, at, v: outputs(kernel, at, flags),
        "grad": lambda kernel, at, v: jax.grad(lambda at: loss(kernel, at, flags))(at),
        "jvp": lambda kernel, at, v: jax.jvp(
            lambda at: outputs(kernel, at, flags), (at,), (v,)
        ),
        "hvp": lambda kernel, at, v: jax.jvp(
            jax.grad(lambda at: loss(kernel, at, flags)), (at,), (v,)
        ),
    }[figure]
    f = lambda kernel, at, v: jax.vmap(
        functools.partial(one, kernel), (axes, axes), out_axes=0
    )(at, v)
    agree(f, at, v)


def test_gradients_of_single_examples_by_shared_weights():
    """And their own derivative: weights keep a gradient for each of two mapped axes."""
    at = make_case(4, 6, 5)
    pairs = lambda a, n: a.reshape(*a.shape[:n], 2, 3, *a.shape[n + 1 :])
    at = at._replace(
        xs=pairs(at.xs, 1),
        carry=jax.tree.map(lambda a: pairs(a, 0), at.carry),
        reset_carry=None,
    )

    def gradients(kernel, at):
        def one(carry, xs):
            f = lambda p: loss(kernel, cells.Case(p, carry, None, xs))
            return jax.grad(f)(at.params)

        return jax.vmap(jax.vmap(one, (0, 1)), (0, 1))(at.carry, at.xs)

    agree(gradients, at)
    squares = lambda kernel, at: inner(gradients(kernel, at), gradients(kernel, at))
    agree(lambda kernel, at: jax.grad(lambda at: squares(kernel, at))(at), at)


def test_no_batch_axis_and_two():
    agree(value_and_grad, make_case(5, 0, 6))
    at = make_case(5, 6, 7)
    two = lambda a, n: a.reshape(*a.shape[:n], 2, 3, *a.shape[n + 1 :])
    at = at._replace(
        xs=two(at.xs, 1),
        carry=jax.tree.map(lambda a: two(a, 0), at.carry),
        reset_carry=jax.tree.map(lambda a: two(a, 0), at.reset_carry),
    )
    agree(value_and_grad, at)


def test_scan_and_remat_around_it():
    at = make_case(6, 2, 5)

    def f(kernel, at):
        @jax.checkpoint
        def block(carry, xs):
            return unroll(LSTMCell(5), at.params, carry, xs, implementation=kernel)

        return cells.scalar(jax.lax.scan(block, at.carry, at.xs.reshape(2, 3, 2, 3)))

    agree(lambda kernel, at: jax.grad(lambda at: f(kernel, at))(at), at)


def test_nothing_to_do():
    for T, B in ((0, 2), (3, 0)):
        cell = LSTMCell(5)
        params = cell.init(jax.random.key(0), 3)
        carry, hs = unroll(
            cell, params, None, jnp.ones((T, B, 3)), implementation="native"
        )
        assert hs.shape == (T, B, 5)
        assert carry.c.shape == (B, 5)


def test_an_empty_axis():
    at = make_case(4, 2, 5)
    xs = jnp.zeros((0, *at.xs.shape))
    gradient = jax.grad(lambda xs: loss("native", at._replace(xs=xs)))
    assert jax.vmap(gradient)(xs).shape == xs.shape
    total = lambda p: jax.vmap(lambda xs: loss("native", at._replace(params=p, xs=xs)))(
        xs
    ).sum()
    assert all((g == 0).all() for g in jax.grad(total)(at.params))


def test_without_jit():
    at = make_case(4, 2, 5)
    with jax.disable_jit():
        got = jax.grad(loss, 1)("native", at)
    cells.assert_close(got, jax.grad(loss, 1)("native", at), RTOL)


def test_parameters_in_sixteen_bits():
    at = make_case(6, 3, 17)
    narrow = jax.tree.map(lambda p: p.astype(jnp.bfloat16), at.params)
    widen = lambda p: jax.tree.map(lambda p: p.astype(jnp.float32), p)
    gradient = jax.grad(lambda p: loss("native", at._replace(params=p)))
    got, want = gradient(narrow), gradient(widen(narrow))
    assert {g.dtype for g in got} == {jnp.dtype(jnp.bfloat16)}
    cells.assert_close(widen(got), want, cells.tolerance(jnp.bfloat16))


def narrow_case(*size):
    """Compute in bfloat16: the inputs and ``h``, not ``c`` and not the parameters."""
    at = make_case(*size)
    half = lambda carry: carry._replace(h=carry.h.astype(jnp.bfloat16))
    return at._replace(
        carry=half(at.carry),
        reset_carry=half(at.reset_carry),
        xs=at.xs.astype(jnp.bfloat16),
    )


@pytest.mark.parametrize("mode", ["value", "grad", "jvp", "forward over reverse"])
@pytest.mark.parametrize("which", ["", "mask, resets"])
def test_bfloat16(which, mode):
    agree_in_bfloat16(which, mode, (6, 3, 17))


def agree_in_bfloat16(which, mode, size):
    """Against the scan in bfloat16, and no further from float64 than that."""
    at, flags = narrow_case(*size), make_flags(which, *size[:2])
    v = cells.draw(at, seed=5)

    def figure(kernel, at, v):
        total = lambda at: loss(kernel, at, flags)
        ways = {"value": lambda f, at, v: outputs(kernel, at, flags)}
        ways |= {name: way for name, (_, way) in MODES.items()}
        return ways[mode](total, at, v)

    got, scan = (
        jax.jit(functools.partial(figure, k))(at, v) for k in ("native", "scan")
    )
    wide = lambda a: a.astype(np.float32) if a.dtype == jnp.bfloat16 else a
    exact = in_float64(functools.partial(figure, "scan"), *jax.tree.map(wide, (at, v)))
    dtypes = lambda tree: [a.dtype for a in jax.tree.leaves(tree)]
    assert dtypes(got) == dtypes(scan)
    for g, s, e in zip(*map(jax.tree.leaves, (got, scan, exact)), strict=True):
        error = lambda a: np.abs(np.asarray(a, np.float64) - e).max(initial=0.0)  # noqa: B023
        scale = np.abs(e).max(initial=1e-30)
        assert error(g) <= max(1.5 * error(s), 0.005 * scale)


@pytest.mark.parametrize("rows", [3, 12, 20])
def test_bfloat16_in_pieces(rows):
    """The state between two pieces holds all of it."""
    at = narrow_case(9, rows, 200)
    run = lambda carry, xs: outputs("native", at._replace(carry=carry, xs=xs))
    whole = run(at.carry, at.xs)
    for cut in (4, 8):
        middle, first = run(at.carry, at.xs[:cut])
        end, second = run(middle, at.xs[cut:])
        pieces = end, jnp.concatenate([first, second])
        jax.tree.map(np.testing.assert_array_equal, pieces, whole)


def test_sums_over_many_rows():
    """More than the loops take at a time, and not a multiple of what they take."""
    agree_in_bfloat16("mask, resets", "grad", (70, 19, 35))


def test_padding_is_finite():
    """Also what nobody reads: a debugger of NaN does."""
    at, flags = make_case(6, 3, 17), make_flags("mask, resets", 6, 3)
    with jax.debug_nans(True):
        jax.grad(loss, 1)("native", at, flags)


def test_nan_stays_in_its_row():
    at = make_case(5, 3, 18)
    at = at._replace(xs=at.xs.at[2, 1].set(jnp.nan))
    _, hs = outputs("native", at)
    assert np.isnan(hs[2:, 1]).all()
    assert np.isfinite(hs[:, [0, 2]]).all()
    assert np.isfinite(hs[:2]).all()


def test_extreme_inputs():
    at = make_case(4, 3, 5)
    at = at._replace(xs=at.xs * 1e4)
    agree(outputs, at)
    # All gates are saturated.
    assert all(abs(d).max() < 1e-30 for d in jax.grad(loss, 1)("native", at).params)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_platforms_take_the_definition(platform):
    at = make_case(4, 2, 3)
    f = jax.jit(jax.grad(functools.partial(loss, "native")))
    text = f.trace(at).lower(lowering_platforms=(platform,)).as_text()
    assert "lstm_jax_" not in text
    assert "lstm_jax_forward" in f.trace(at).lower().as_text()


def test_a_named_kernel_does_not_fall_back():
    at, gru = make_case(8, 2, 5), cells.CELLS["gru, reset after"]
    with pytest.raises(NotImplementedError, match=r'float16.*"scan"'):
        ops.lstm(at.params, None, at.xs, dtype=jnp.float16, implementation="native")
    params = gru.init(jax.random.key(0), 3)
    with pytest.raises(NotImplementedError, match="the plain LSTMCell, not GRUCell"):
        unroll(gru, params, None, at.xs, implementation="native")


def test_carry_in_and_out():
    at = make_case(6, 2, 5)
    carry, first = ops.lstm(at.params, at.carry, at.xs[:2], implementation="native")
    assert isinstance(carry, LSTMCarry)
    carry, second = ops.lstm(at.params, carry, at.xs[2:], implementation="native")
    whole = ops.lstm(at.params, at.carry, at.xs, implementation="native")
    cells.assert_close((carry, jnp.concatenate([first, second])), whole, 1e-6)


@pytest.mark.parametrize("flags", [True, False])
def test_shard_map(flags):
    """Rows spread over devices: the same numbers and gradients, also second ones."""
    mesh = Mesh(np.array(jax.devices("cpu")[:4]), ("data",))
    at = make_case(5, 8, 6)
    given = make_flags("mask, resets", 5, 8) if flags else cells.NO_FLAGS
    rows = P(None, "data")
    specs = (P(), rows, cells.Flags(*(None if f is None else rows for f in given)))

    def outputs(kernel, params, xs, flags):
        run = lambda p, xs, f: unroll(
            LSTMCell(6),
            p,
            None,
            xs,
            mask=f.mask,
            resets=f.resets,
            implementation=kernel,
        )[1]
        if kernel == "scan":
            return run(params, xs, flags)
        return jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=rows)(
            params, xs, flags
        )

    def loss(kernel, args):
        return jnp.sum(outputs(kernel, *args, given) ** 2)

    agree(lambda kernel, args: outputs(kernel, *args, given), (at.params, at.xs))
    gradient = lambda kernel, args: jax.grad(lambda args: loss(kernel, args))(args)
    agree(gradient, (at.params, at.xs))
    squares = lambda kernel, args: inner(*[gradient(kernel, args)] * 2)
    agree(lambda k, args: jax.grad(lambda a: squares(k, a))(args), (at.params, at.xs))


@pytest.mark.parametrize(
    ("make", "backward"),
    [(make_case, "lstm_jax_backward"), (narrow_case, "lstm_jax_backward16")],
)
def test_export_and_ahead_of_time(make, backward):
    at = make(6, 2, 5)
    f = jax.jit(functools.partial(outputs, "native"))
    names = ("lstm_jax_forward", backward)
    allowed = [jax.export.DisabledSafetyCheck.custom_call(name) for name in names]
    gradient = jax.jit(functools.partial(value_and_grad, "native"))
    exported = jax.export.export(
        jax.jit(lambda *leaves: jax.tree.leaves(gradient(tree.unflatten(leaves)))),
        disabled_checks=allowed,
    )
    leaves, tree = jax.tree.flatten(at)
    blob = exported(*leaves).serialize()
    got = jax.export.deserialize(blob).call(*leaves)
    cells.assert_close(got, jax.tree.leaves(gradient(at)), 1e-6)
    cells.assert_close(f.lower(at).compile()(at), f(at), 1e-6)


def test_more_concurrent_calls_than_threads():
    """Nobody waits for a worker that is busy elsewhere, and all get the same."""
    at = make_case(60, 6, 200)
    f = jax.jit(functools.partial(outputs, "native"))
    want = jax.block_until_ready(f(at))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(lambda: jax.block_until_ready(f(at))) for _ in range(40)]
        for call in calls:
            jax.tree.map(np.testing.assert_array_equal, call.result(timeout=60), want)


def test_one_core():
    """As many threads as cores, which the process then has to share one of."""
    program = """
import os, jax, jax.numpy as jnp, lstm_jax
params = lstm_jax.init_lstm(jax.random.key(0), 128, 128)
xs = jnp.ones((200, 32, 128))
f = jax.jit(lambda xs: lstm_jax.lstm(params, None, xs, implementation="native")[1])
many = f(xs)
for thread in os.listdir("/proc/self/task"):
    os.sched_setaffinity(int(thread), {min(os.sched_getaffinity(0))})
one = f(xs)
assert (many == one).all()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.parametrize("instructions", library.instruction_sets())
def test_instruction_sets(instructions):
    """What the kernel runs on where the processor has less."""
    program = f"""
from lstm_jax import ops
from tests.kernels import test_native

assert ops.availability()["native"] == "available, {instructions} instructions"
test_native.test_values_and_gradients((5, 25, 40), "mask, resets", False)
test_native.test_values_and_gradients((7, 2, 17), "", True)
test_native.test_values_and_gradients((3, 1, 16), "", False)
test_native.test_bfloat16("", "grad")
test_native.test_bfloat16_in_pieces(12)
test_native.test_sums_over_many_rows()
"""
    subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"LSTM_JAX_CPU": instructions},
        cwd=pathlib.Path(__file__).parents[2],
        check=True,
        timeout=120,
    )
