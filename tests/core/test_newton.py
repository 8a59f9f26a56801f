"""Newton's method in parallel over time gives the numbers of the scan."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import (
    Newton,
    RNNCell,
    RNNParams,
    Zoneout,
    newton_unroll,
    ops,
    unroll,
)
from lstm_jax.core.recurrence import backends
from lstm_jax.core.recurrence.newton.solver import Recurrence, solve
from tests import cells
from tests.core.test_derivatives import MODES, evaluate
from tests.shapes import LENGTHS, B, H, T

LSTM, RNN, STEPS = cells.CELLS["lstm"], cells.CELLS["rnn"], 24
DIAGONAL = Newton(jacobian="diagonal")


def by_newton(cell, at, flags=cells.NO_FLAGS, settings=None, **options):
    """Carry and outputs of a case, with the settings of ``implementation="newton"``
    unless others are given."""
    if settings is None:
        return cells.run(cell, at, flags, implementation="newton", **options)
    found = newton_unroll(
        cell,
        at.params,
        at.carry,
        at.xs,
        mask=flags.mask,
        resets=flags.resets,
        reset_carry=at.reset_carry if flags.resets is not None else None,
        settings=settings,
        **options,
    )
    return found.carry, found.hs


def compare(run, reference, *cases, rtol, gradient=True):
    """Both functions ``(at, flags)`` agree in every case: values and gradients."""

    def figures(run, at, flags):
        if not gradient:
            return run(at, flags)

        def loss(at):
            out = run(at, flags)
            return cells.scalar(out), out

        (_, out), d = jax.value_and_grad(loss, has_aux=True)(at)
        return out, d

    ways = (run, reference)
    both = jax.jit(
        lambda *case: [figures(way, *case) for way in ways],
        compiler_options=cells.QUICK,
    )
    for at, flags in cases:
        got, want = both(at, jax.tree.map(jnp.asarray, flags))
        cells.assert_close(got, want, rtol)


def random_cases(cell, dtype, count):
    for seed in range(count):
        at = cells.make_case(cell, dtype, seed=10 * seed)
        yield at, cells.make_flags(seed=seed)


CASES = [(name, "float64", 5) for name in cells.CELLS]
CASES += [("lstm", "float32", 30)]
DIFFERENTIATED = {*cells.MECHANISMS, "min lstm"}
"""With the derivatives of these; one rule serves all cells."""


@pytest.mark.parametrize(("name", "dtype", "count"), CASES)
def test_random_cases(name, dtype, count, x64):
    """A hundred: with holes, resets, a reset carry, half of them backwards."""
    cell = cells.CELLS[name]
    options = dict(reverse=len(name) % 2 == 0)
    compare(
        functools.partial(by_newton, cell, **options),
        functools.partial(cells.run, cell, **options),
        *random_cases(cell, dtype, count),
        rtol=2 * cells.tolerance(dtype),
        gradient=name in DIFFERENTIATED,
    )


def test_only_the_diagonal(x64):
    """Also the derivatives: the linear recurrences are solved by iteration."""
    compare(
        functools.partial(by_newton, RNN, settings=DIAGONAL),
        functools.partial(cells.run, RNN),
        *random_cases(RNN, "float64", 2),
        rtol=cells.DERIVATIVES,
    )


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, dict(batch=())),
        ({"reverse": True}, dict(steps=1, batch=(2, 3))),
        ({"lengths": LENGTHS}, {}),
        ({"remat": 3}, {}),
    ],
)
def test_other_shapes(options, shape, x64):
    at = cells.make_case(RNN, **shape)
    compare(
        lambda at, _: by_newton(RNN, at, **options),
        lambda at, _: cells.run(RNN, at, **options),
        (at, cells.NO_FLAGS),
        rtol=cells.DERIVATIVES,
    )


def test_no_steps_and_no_rows():
    at = cells.make_case(LSTM, "float32", steps=0)
    found = newton_unroll(LSTM, at.params, at.carry, at.xs)
    np.testing.assert_array_equal(found.carry.h, at.carry.h)
    assert found.hs.shape == (0, B, H)
    assert found.converged.all()
    assert found.iterations.shape == (B,)
    found = newton_unroll(LSTM, at.params, None, jnp.ones((T, 0, 4)))
    assert found.hs.shape == (T, 0, H)


def test_random_masks(x64):
    cell = Zoneout(LSTM, h=0.3, c=0.4)
    at, key = cells.make_case(cell), jax.random.key(3)
    run = functools.partial(cells.run, cell, at, key=key, reverse=True)
    cells.assert_close(run(implementation="newton"), run(), 1e-13)


@pytest.mark.parametrize(
    ("name", "mode", "settings"),
    [
        ("rnn", "forward over reverse", None),
        ("rnn", "reverse over reverse", None),
        ("rnn", "forward over reverse", DIAGONAL),
    ],
)
def test_derivatives_of_every_kind(name, mode, settings, x64):
    cell, (_, way) = cells.CELLS[name], MODES[mode]
    at = cells.make_case(cell)
    run = functools.partial(by_newton, settings=settings)
    loss = lambda run, at: cells.scalar(run(cell, at))
    got, want = (
        evaluate(way, functools.partial(loss, run), at) for run in (run, cells.run)
    )
    cells.assert_close(got, want, cells.DERIVATIVES)


def test_vmap(x64):
    """Over sequences and parameters; the limit leaves some steps to run one by one."""
    cases = [cells.make_case(RNN, seed=seed, batch=()) for seed in (0, 10)]
    at = jax.tree.map(lambda *a: jnp.stack(a), *cases)

    def both(at):
        run = functools.partial(by_newton, RNN, settings=Newton(iterations=2))
        loss = lambda at: cells.scalar(run(at))
        return run(at), jax.grad(loss)(at)

    got = jax.jit(jax.vmap(both), compiler_options=cells.QUICK)(at)
    for n, case in enumerate(cases):
        one = jax.jit(lambda at: (cells.run(RNN, at), None))(case)[0]
        cells.assert_close(jax.tree.map(lambda a, n=n: a[n], got[0]), one, 1e-12)
        d = jax.jit(jax.grad(lambda at: cells.loss(RNN, at)))(case)
        cells.assert_close(jax.tree.map(lambda a, n=n: a[n], got[1]), d, 1e-10)


def large_case(cell, scale, dtype="float64"):
    at = cells.make_case(cell, dtype, steps=STEPS)
    return at._replace(params=jax.tree.map(lambda w: scale * w, at.params))


@pytest.mark.parametrize("jacobian", ["full", "diagonal"])
def test_without_convergence_the_steps_run_one_by_one(jacobian, x64):
    """Values and gradients are right, and the flag says that it did not converge."""
    at, settings = large_case(RNN, 3), Newton(jacobian, iterations=1)
    found = newton_unroll(RNN, at.params, at.carry, at.xs, settings=settings)
    assert not found.converged.any()
    assert (found.difference > 1e-3).all()
    np.testing.assert_array_equal(found.iterations, 1)
    compare(
        lambda at, _: by_newton(RNN, at, settings=settings),
        lambda at, _: cells.run(RNN, at),
        (at, cells.NO_FLAGS),
        rtol=1e-9,
    )


@pytest.mark.parametrize("damping", [0, 1])
def test_as_many_iterations_as_steps_suffice(damping, x64):
    """Whatever the weights; large ones need nearly all."""
    settings = Newton(iterations=10 * STEPS, damping=damping)

    @jax.jit
    def run(at):
        found = newton_unroll(RNN, at.params, at.carry, at.xs, settings=settings)
        return found, cells.run(RNN, at)

    for scale in (1, 4, 100):
        found, want = run(large_case(RNN, scale))
        assert found.converged.all()
        assert (found.iterations <= STEPS).all()
        hard = scale == 4 or (scale, damping) == (1, 1)
        assert (found.iterations > STEPS // 2).any() >= hard
        assert (found.difference <= 16 * np.finfo(float).eps).all()
        cells.assert_close((found.carry, found.hs), want, 1e-6)


@pytest.mark.parametrize("tolerance", [1e-3, 0.0])
def test_tolerance(tolerance, x64):
    at = large_case(RNN, 1)
    settings = Newton(jacobian="diagonal", tolerance=tolerance)
    found = newton_unroll(RNN, at.params, at.carry, at.xs, settings=settings)
    strict = newton_unroll(RNN, at.params, at.carry, at.xs, settings=DIAGONAL)
    assert (found.difference <= tolerance).all()
    assert ((found.iterations < strict.iterations) == (tolerance > 0)).all()


def test_small_states_are_right_to_their_own_size(x64):
    """The tolerance is relative, also where all states are tiny."""
    at = cells.make_case(RNN, steps=STEPS)
    at = at._replace(
        params=at.params._replace(w_h=at.params.w_h / 4, b=jnp.zeros(H)),
        carry=jax.tree.map(jnp.zeros_like, at.carry),
        xs=1e-9 * at.xs,
    )
    for settings in (None, DIAGONAL):
        got = by_newton(RNN, at, settings=settings)
        cells.assert_close(got, cells.run(RNN, at), 1e-12)


def test_states_of_zeros_are_solved_at_once():
    """An empty row, and a recurrence that stays at 0, are not run one by one."""
    at = cells.make_case(RNN, "float32")
    found = newton_unroll(RNN, at.params, None, at.xs, lengths=LENGTHS)
    assert found.converged.all()
    assert found.iterations[0] == 0
    step = lambda x: 0.5 * x
    zeros = jnp.zeros((T, 1, 2))
    matrices = lambda x: jnp.broadcast_to(0.5 * jnp.eye(2), (*x.shape, 2))
    f = Recurrence(zeros[0], step, matrices, lambda t, x: step(x), jnp.abs)
    _, outcome = solve(f, zeros, tolerance=1e-6, iterations=5, damping=0)
    assert outcome.converged.all()
    np.testing.assert_array_equal(outcome.iterations, 0)


def test_nan_in_the_inputs():
    """A NaN reaches the outputs that it reaches in the scan, and the call ends."""
    at = cells.make_case(RNN, "float32", steps=100)
    at = at._replace(xs=at.xs.at[60, 1, 2].set(jnp.nan))
    found = newton_unroll(RNN, at.params, at.carry, at.xs)
    want = cells.run(RNN, at)
    np.testing.assert_array_equal(np.isnan(found.hs), np.isnan(want[1]))
    cells.assert_close(found.hs[:60], want[1][:60], 1e-5)
    np.testing.assert_array_equal(found.converged, [True, False, True])


def test_products_of_jacobians_may_overflow():
    """The gradient of early outputs is finite, though 30 Jacobians of 100 multiply to
    infinity in float32."""
    cell, steps = RNNCell(3), 30
    params = RNNParams(jnp.eye(3), 100 * jnp.eye(3), jnp.zeros(3))
    at = cells.Case(params, None, None, jnp.zeros((steps, 1, 3)))

    def gradient(run):
        early = lambda at: jnp.sin(run(cell, at)[1][:4] + 1).sum()
        return jax.jit(jax.grad(early))(at)

    want = gradient(cells.run)
    assert np.isfinite(want.xs).all()
    assert np.abs(want.xs).max() > 1e5
    cells.assert_close(gradient(by_newton), want, 1e-6)


def test_corrections_that_overflow_are_left_out():
    """At the first guess, 40 Jacobians of 100 multiply to infinity in float32."""
    steps = 40
    params = RNNParams(jnp.eye(3), 100 * jnp.eye(3), jnp.zeros(3))
    xs = jax.random.normal(jax.random.key(0), (steps, 2, 3))
    settings = Newton(iterations=10 * steps)
    found = newton_unroll(RNNCell(3), params, None, xs, settings=settings)
    assert found.converged.all()
    assert (found.iterations <= steps).all()
    want = unroll(RNNCell(3), params, None, xs, implementation="scan")
    cells.assert_close(found[:2], want, 1e-5)


def test_overflowing_tangents_are_those_of_the_scan():
    """Infinite in both, at the same steps."""
    cell = RNNCell(1)
    params = RNNParams(jnp.eye(1), 100 * jnp.eye(1), jnp.zeros(1))
    xs, dots = jnp.zeros((30, 1)), jnp.zeros((30, 1)).at[2].set(1)

    def tangent(name):
        run = lambda xs: unroll(cell, params, None, xs, implementation=name)[1]
        return jax.jit(lambda xs, dots: jax.jvp(run, (xs,), (dots,))[1])(xs, dots)

    got, want = tangent("newton"), tangent("scan")
    assert np.isinf(want).any()
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_the_gradient_of_a_weight_is_one_product_over_all_steps():
    """Of recurrent weights ``[H, 4H]`` no array has an axis of time."""
    at = cells.make_case(LSTM, "float32", steps=17, batch=())
    loss = lambda at: cells.scalar(by_newton(LSTM, at))
    text = str(jax.make_jaxpr(jax.grad(loss))(at))
    assert f"[17,{H},{4 * H}]" not in text
    assert f"[1,{H},{4 * H}]" not in text


def test_contracting_dynamics_need_few_iterations():
    params = LSTM.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (500, 1, 3))
    found = newton_unroll(LSTM, params, None, xs)
    assert found.converged.all()
    assert (found.iterations <= 8).all()


def test_nobody_gets_it_without_asking():
    newton = backends.NAMED["newton"]
    assert newton not in backends.UNNAMED
    assert not any(b.run is newton.run for b in backends.UNNAMED)
    assert ops.availability()["newton"] == "available"


class Counting(RNNCell):
    def zero_carry(self, batch_shape, dtype):
        carry = super().zero_carry(batch_shape, dtype)
        return carry, jnp.zeros(batch_shape, jnp.int32)

    def step(self, params, carry, gx, dot, *gates):
        stepped, h = super().step(params, carry[0], gx, dot, *gates)
        return (stepped, carry[1] + 1), h


@pytest.mark.parametrize(
    ("cell", "dtype", "why"),
    [
        (LSTM, jnp.bfloat16, "float32 and float64, not in bfloat16"),
        (LSTM, jnp.float16, "float32 and float64, not in float16"),
        (Counting(H), jnp.float32, "a carry of float32 alone, .* Counting has int32"),
    ],
)
def test_what_it_cannot_do(cell, dtype, why):
    params = cell.init(jax.random.key(0), 4)
    with pytest.raises(NotImplementedError, match=f'"newton" does not .*{why}.*"scan"'):
        unroll(cell, params, None, jnp.ones((T, 4), dtype), implementation="newton")
    with pytest.raises(NotImplementedError, match=f"{why}.*Use lstm_jax.unroll"):
        newton_unroll(cell, params, None, jnp.ones((T, 4), dtype))


def test_symbolic_sizes():
    (rows,) = jax.export.symbolic_shape("rows")
    params = LSTM.init(jax.random.key(0), 4)
    run = lambda xs: unroll(LSTM, params, None, xs, implementation="newton")[1]
    with pytest.raises(NotImplementedError, match=r"needs known sizes, .*rows"):
        jax.export.export(jax.jit(run))(jax.ShapeDtypeStruct((T, rows, 4), jnp.float32))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(jacobian="diag"), "jacobian is 'diag', .* mean 'diagonal'"),
        (dict(tolerance=-1e-3), "tolerance is -0.001, expected a number, 0 or more"),
        (dict(tolerance=float("nan")), "tolerance is nan"),
        (dict(iterations=0), "iterations is 0, expected an integer, 1 or more"),
        (dict(damping=1.5), r"damping is 1.5, expected a number in \[0, 1\]"),
    ],
)
def test_settings_that_are_none(wrong, message):
    with pytest.raises(ValueError, match=message):
        Newton(**wrong)


def test_settings_of_another_type():
    at = cells.make_case(LSTM, "float32")
    with pytest.raises(TypeError, match="settings is 'full', expected a Newton"):
        newton_unroll(LSTM, at.params, None, at.xs, settings="full")


def test_on_a_mesh():
    """The results are sharded like the rows."""
    mesh = jax.make_mesh((2,), ("data",))
    place = jax.sharding.PartitionSpec
    at = cells.make_case(LSTM, "float32", batch=(4,))
    with jax.set_mesh(mesh):
        xs = jax.device_put(at.xs, jax.NamedSharding(mesh, place(None, "data")))
        run = lambda params, xs: newton_unroll(LSTM, params, None, xs)
        found = jax.jit(run)(at.params, xs)
        split = jax.shard_map(
            lambda params, xs: run(params, xs)[:3],
            in_specs=(place(), place(None, "data")),
            out_specs=(place("data"), place(None, "data"), place("data")),
        )
        inside = jax.jit(split)(at.params, xs)
    assert found.hs.sharding.spec == place(None, "data", None)
    assert found.converged.sharding.spec == place("data")
    want = unroll(LSTM, at.params, None, at.xs, implementation="scan")
    cells.assert_close(found[:2], want, 1e-5)
    cells.assert_close(inside[:2], want, 1e-5)
