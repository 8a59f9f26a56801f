"""Which implementation a call takes where it names none, seen in the lowered program.

The choice is made when a program is lowered, with the rows that ``vmap`` has added by
then. Both ways keep the same residuals, so that one may follow the other.
"""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from lstm_jax import LSTMCell, Stack, Stream, feed, init_lstm, lstm, lstm_stack, unroll
from lstm_jax.kernels.cpu import library
from tests import cells
from tests.kernels.test_native import (
    RTOL,
    in_float64,
    make_case,
    make_flags,
    outputs,
    value_and_grad,
)

D = 3
T, FEW, MANY, H = 16, 2, 7, 260
"""The kernel is faster for weights of this size with `MANY` rows, not with `FEW`."""
FORWARD, BACKWARD = "lstm_jax_forward", "lstm_jax_backward"


def text_of(f, *args, platform="cpu"):
    traced = jax.jit(f).trace(*args)
    return traced.lower(lowering_platforms=(platform,)).as_text()


def takes_kernel(f, *args, **options):
    text = text_of(f, *args, **options)
    assert (FORWARD in text) == ("stablehlo.while" not in text)
    return FORWARD in text


def inputs(steps, rows, dtype=jnp.float32, features=D):
    return jnp.ones((steps, rows, features), dtype)


@pytest.mark.parametrize(
    ("cell", "xs", "kernel"),
    [
        (LSTMCell(5), inputs(8, 2), True),
        (LSTMCell(5), inputs(3, 200), False),  # fewer than 4 steps
        (LSTMCell(5), inputs(8, 2, jnp.bfloat16), True),
        (LSTMCell(5), inputs(8, 2, jnp.float16), False),
        (LSTMCell(H), inputs(T, FEW), False),
        (LSTMCell(H), inputs(T, MANY), True),
        (LSTMCell(H), inputs(T - 1, 50), False),
        (cells.CELLS["gru"], inputs(8, 2), False),
        (LSTMCell(5, lstm_jax.Activations(gate="hard_sigmoid")), inputs(8, 2), False),
    ],
)
def test_by_cell_and_shape(cell, xs, kernel):
    params = cell.init(jax.random.key(0), D)
    run = lambda xs: unroll(cell, params, None, xs)[1]
    assert takes_kernel(run, xs) == kernel
    assert takes_kernel(lambda xs: Stack([cell])([params], None, xs)[1], xs) == kernel


@pytest.mark.parametrize("narrow", [False, True])
def test_large_weights_in_sixteen_bits(narrow, monkeypatch):
    """By the kernel only if it multiplies in 16 bits, as XLA may do."""
    monkeypatch.setattr(library, "multiplies_bfloat16", lambda: narrow)
    cell = LSTMCell(H)
    params = cell.init(jax.random.key(0), D)
    run = lambda xs: unroll(cell, params, None, xs)[1]
    for rows in (FEW, MANY):
        assert takes_kernel(run, inputs(T, rows, jnp.bfloat16)) == narrow
    assert not takes_kernel(run, inputs(3, MANY, jnp.bfloat16))


PARAMS, LARGE = init_lstm(jax.random.key(0), D, 5), init_lstm(jax.random.key(0), D, H)
CALLS = {
    "unroll": lambda xs, **o: unroll(LSTMCell(5), PARAMS, None, xs, **o)[1],
    "lstm": lambda xs, **o: lstm(PARAMS, None, xs, **o)[1],
    "lstm_stack": lambda xs, **o: lstm_stack([PARAMS], None, xs, **o)[1],
    "Stack": lambda xs, **o: Stack([LSTMCell(5)])([PARAMS], None, xs, **o)[1],
    "feed": lambda xs, **o: feed(Stack([LSTMCell(5)]), [PARAMS], Stream(), xs, **o)[1],
}


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("name", CALLS)
def test_every_entrance(name, platform):
    """The kernel on a CPU, the scan elsewhere; a named one is what it says."""
    run, xs = CALLS[name], inputs(8, 2)
    gradient = jax.grad(lambda xs, **o: run(xs, **o).sum())
    takes = functools.partial(takes_kernel, platform=platform)
    assert takes(run, xs) == (platform == "cpu")
    assert (BACKWARD in text_of(gradient, xs, platform=platform)) == (platform == "cpu")
    for named in ("scan", "plain"):
        assert not takes(functools.partial(run, implementation=named), xs)
    native = functools.partial(run, implementation="native")
    assert takes(native, inputs(1, 1)) == (platform == "cpu")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_stack_is_the_same_program_as_lstm_stack(bidirectional):
    stack = Stack([LSTMCell(5)] * 3, bidirectional=bidirectional)
    params, xs = stack.init(jax.random.key(0), D), inputs(8, 2)

    def program(run):
        loss = lambda params, xs: (run(params, None, xs)[1] ** 2).sum()
        return text_of(jax.value_and_grad(loss), params, xs)

    assert program(stack) == program(lstm_stack)
    assert BACKWARD in program(stack)


def test_an_unknown_name():
    for run in CALLS.values():
        with pytest.raises(ValueError, match="implementation is 'scam'"):
            run(inputs(8, 2), implementation="scam")


def large(xs):
    return lstm(LARGE, None, xs)[1]


def gradient_of_inputs(xs):
    return jax.grad(lambda xs: large(xs).sum())(xs)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize("f", [large, gradient_of_inputs])
@pytest.mark.parametrize("inner", [lambda f: f, jax.jit, jax.checkpoint])
def test_the_choice_sees_the_mapped_rows(inner, f, platform):
    """Single sequences mapped together are the batched call."""
    one = inner(f)
    takes = functools.partial(takes_kernel, platform=platform)
    assert not takes(one, inputs(T, FEW)[:, 0])
    assert not takes(jax.vmap(one, 1), inputs(T, FEW))
    assert takes(jax.vmap(one, 1), inputs(T, MANY)) == (platform == "cpu")
    twice = jax.vmap(jax.vmap(one, 1), 1)
    assert takes(twice, jnp.ones((T, 2, MANY, D))) == (platform == "cpu")


def test_a_mapped_axis_of_symbolic_size_takes_the_scan():
    (rows,) = jax.export.symbolic_shape("rows")
    xs = jax.ShapeDtypeStruct((T, rows, D), jnp.float32)
    for f in (large, gradient_of_inputs, CALLS["lstm"]):
        exported = jax.export.export(jax.jit(jax.vmap(f, 1)))(xs)
        assert f"custom_call @{FORWARD}" not in exported.mlir_module()
        given = jnp.asarray(np.random.default_rng(0).normal(size=(T, 3, D)), xs.dtype)
        cells.assert_close(exported.call(given), jax.vmap(f, 1)(given), RTOL)


def test_rows_behind_a_linear_map():
    """Outputs of few rows, then gradients of many: by the kernel, from residuals of the
    scan."""
    at = make_case(T, FEW, H)
    cotangents = jax.random.normal(jax.random.key(1), (5, T, FEW, H))

    def gradients(name, at, cotangents):
        run = lambda at: outputs(name, at)[1]
        _, pullback = jax.vjp(run, at)
        return jax.vmap(pullback)(cotangents)

    text = text_of(functools.partial(gradients, None), at, cotangents)
    assert BACKWARD in text
    assert FORWARD not in text
    got = jax.jit(functools.partial(gradients, None))(at, cotangents)
    want = in_float64(functools.partial(gradients, "scan"), at, cotangents)
    cells.assert_close(got, want, RTOL)


def test_few_rows():
    at, flags = make_case(T, FEW, H), make_flags("mask, resets", T, FEW)
    got = jax.jit(functools.partial(value_and_grad, None))(at, flags)
    assert FORWARD not in text_of(functools.partial(value_and_grad, None), at, flags)
    want = in_float64(functools.partial(value_and_grad, "scan"), at, flags)
    cells.assert_close(got, want, RTOL)
