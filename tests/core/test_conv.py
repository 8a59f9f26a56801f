"""The convolutional cell: against Flax, and what its axes of space ask for."""

import math
import re

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import ConvLSTMCell, LSTMCarry, unroll
from lstm_jax.core.primitives.convolve import convolve
from tests import cells
from tests.core.test_cell_oracles import conv_step
from tests.reference import forward
from tests.shapes import SPACE, B, D, H, T

CELL = ConvLSTMCell(H)
KERNELS = [(3,), (2,), (3, 3), (2, 4), (1, 5)]


def flax_params(params):
    """Ours as Flax has them: gates i, g, f, o, two biases, 1 added to the forget gate's
    while running. Ours is the sum of the biases, and of that 1."""

    def reorder(a):
        i, f, g, o = jnp.split(a, 4, axis=-1)
        return jnp.concatenate([i, g, f, o], axis=-1)

    i, f, g, o = jnp.split(params.b, 4)
    share = reorder(jnp.concatenate([i, f - 1, g, o])) / 2
    layer = lambda w: {"kernel": reorder(w), "bias": share}
    return {"params": {"ih": layer(params.w_x), "hh": layer(params.w_h)}}


def flax_run(kernel, at):
    cell = flax.linen.ConvLSTMCell(H, kernel, param_dtype=jnp.float64)
    params = flax_params(at.params)
    step = lambda carry, x: cell.apply(params, carry, x)
    (c, h), hs = jax.lax.scan(step, tuple(at.carry)[::-1], at.xs)
    return (h, c), hs


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_values_and_gradients_of_flax(x64, kernel):
    cell = ConvLSTMCell(H, kernel)
    at = cells.make_case(cell)
    both = lambda run: jax.jit(
        lambda at: (run(at), jax.grad(lambda at: cells.scalar(run(at)))(at))
    )(at)
    got = both(lambda at: cells.run(cell, at))
    want = both(lambda at: flax_run(kernel, at))
    cells.assert_close(got, want, cells.DERIVATIVES)


@pytest.mark.parametrize(
    ("kernel", "space"),
    [((3,), (1,)), ((5, 5), (2, 3)), ((2, 3, 2), (2, 1, 3))],
    ids=str,
)
def test_any_space(x64, kernel, space):
    """A single place, a kernel larger than the image, a volume."""
    cell = ConvLSTMCell(H, kernel)
    params = jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0))
    params = cells.draw(params, 0, dtype=jnp.float64)
    xs = cells.draw(jax.ShapeDtypeStruct((T, B, *space, D), jnp.float64), 1)
    got = unroll(cell, params, None, xs)
    want = forward(conv_step, params, [np.zeros((B, *space, H))] * 2, xs)
    cells.assert_close(got, want, cells.tolerance(jnp.float64))


@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
def test_any_number_of_batch_axes(x64, batch):
    """Flags have those axes and none of space."""
    rows = math.prod(batch)
    at = cells.make_case(CELL, batch=batch)
    flags = cells.make_flags(rows=6)
    flags = cells.Flags(*(f[:, -rows:].reshape(T, *batch) for f in flags))
    got = cells.run(CELL, at, flags)
    flat = lambda x, lead=0: x.reshape(*x.shape[:lead], rows, *SPACE, x.shape[-1])
    want = forward(
        conv_step,
        at.params,
        map(flat, at.carry),
        flat(at.xs, 1),
        mask=flags.mask.reshape(T, rows),
        resets=flags.resets.reshape(T, rows),
        reset_carry=[*map(flat, at.reset_carry)],
    )
    got = [flat(x) for x in got[0]], flat(got[1], 1)
    cells.assert_close(got, want, cells.tolerance(jnp.float64))


@pytest.mark.parametrize(
    ("steps", "batch"), [(0, (B,)), (T, (0,)), (T, (2, 0))], ids=str
)
def test_nothing_to_do(steps, batch):
    """No steps return the carry, no rows nothing; no weight has a gradient."""
    at = cells.make_case(CELL, "float32", steps=steps, batch=batch)
    lengths = np.full(batch, steps)
    run = lambda at: cells.run(CELL, at, lengths=lengths)
    (carry, hs), pullback = jax.vjp(run, at)
    assert hs.shape == (steps, *batch, *SPACE, H)
    assert all(map(np.array_equal, carry, at.carry))
    (d,) = pullback((carry, hs))
    assert not any(np.any(x) for x in d.params)


def test_an_empty_image():
    params, xs = CELL.init(jax.random.key(0), D), jnp.ones((T, B, 0, 3, D))
    hs, pullback = jax.vjp(lambda params: unroll(CELL, params, None, xs)[1], params)
    assert hs.shape == (T, B, 0, 3, H)
    assert not any(np.any(d) for d in pullback(hs)[0])


def test_sums_are_float32():
    """903 and 1001 are no bfloat16s: no sum is made or passed on in one."""
    a = jnp.ones((1, 3, 301), jnp.bfloat16)
    w = jnp.ones((3, 301, 1))
    for kernel in (w, w.astype(a.dtype)):
        assert convolve(a, kernel)[0, 1, 0] == 903
    a = jnp.ones((1001, 1, 1), jnp.bfloat16)
    dw = jax.grad(lambda w: convolve(a, w).sum())(jnp.ones((3, 1, 1)))
    assert dw.ravel().tolist() == [0, 1001, 0]


def test_gradients_in_sixteen_bits():
    """They are close, and those of float32 weights are not rounded."""
    at = cells.make_case(CELL, "float32")

    def gradient(dtype):
        run = lambda params: unroll(CELL, params, None, at.xs, dtype=dtype)[1]
        hs, pullback = jax.vjp(run, at.params)
        return pullback(jnp.cos(hs))[0]

    got = gradient(jnp.bfloat16)
    cells.assert_close(got, gradient(jnp.float32), 2e-2)
    for dw in got[:2]:
        assert np.any(dw != dw.astype(jnp.bfloat16).astype(jnp.float32))


@pytest.mark.parametrize("kernel", [(3,), (3, 3)], ids=str)
def test_features_are_last_in_every_convolution(kernel):
    """Of the gradient, in any loop: the one order that is fast on a CPU."""
    cell = ConvLSTMCell(H, kernel)
    at = cells.make_case(cell, "float32")
    traced = jax.jit(jax.grad(lambda at: cells.loss(cell, at, remat=2))).trace(at)
    text = traced.lower(lowering_platforms=("cpu", "cuda", "tpu")).as_text()
    space = ", ".join(map(str, range(len(kernel))))
    orders = set(re.findall(r"dim_numbers = (.*?), window", text))
    assert orders == {f"[b, {space}, f]x[{space}, i, o]->[b, {space}, f]"}


def test_initial_weights():
    """Glorot's fans count the kernel; recurrent kernels are orthogonal, all by gate."""
    cell, hidden, features = ConvLSTMCell(32, (3, 2)), 32, 16
    params = cell.init(jax.random.key(0), features)
    assert params.w_x.shape == (3, 2, features, 4 * hidden)
    bound = (6 / (3 * 2 * (features + hidden))) ** 0.5
    for gate in np.split(np.asarray(params.w_x), 4, axis=-1):
        assert 0.98 * bound < np.abs(gate).max() <= bound
    gates = np.split(np.asarray(params.w_h).reshape(-1, 4 * hidden), 4, axis=-1)
    for gate in gates:
        np.testing.assert_allclose(gate.T @ gate, np.eye(hidden), atol=1e-5)
    assert not np.allclose(gates[0], gates[1])


@pytest.mark.parametrize("kernel", [(), [3, 3], 3], ids=str)
def test_kernel_that_is_none(kernel):
    words = f"kernel is {kernel}, expected a tuple of positive integers, one for every"
    with pytest.raises(ValueError, match=re.escape(words)):
        ConvLSTMCell(H, kernel)


@pytest.mark.parametrize("kernel", [(0,), (3, -1), (2.0,)], ids=str)
def test_kernel_of_wrong_sizes(kernel):
    words = f"kernel[{len(kernel) - 1}] is {kernel[-1]!r}, expected an integer, 1 or mo"
    with pytest.raises(ValueError, match=re.escape(words)):
        ConvLSTMCell(H, kernel)


CALLS = {
    "features": (
        dict(xs=jnp.zeros((T, B, *SPACE, 3))),
        ["xs has 3 features but params.w_x takes 4", "pass in_size=3 to init"],
    ),
    "no features": (
        dict(xs=jnp.zeros((T, B, *SPACE, 0))),
        ["xs has 0 features", "expected 1 or more; params.w_x takes 4"],
    ),
    "no space": (
        dict(xs=jnp.zeros((T, B, D))),
        ["xs has shape (6, 3, 4), expected time-major [T, ..., X1, X2, D]"],
    ),
    "a mask with space": (
        dict(mask=jnp.ones((T, B, *SPACE), bool)),
        ["mask has shape (6, 3, 2, 7), expected (6, 3)"],
    ),
    "a carry without space": (
        dict(carry=LSTMCarry(jnp.zeros((B, H)), jnp.zeros((B, H)))),
        ["carry.h has shape (3, 5), expected (3, 2, 7, 5)"],
    ),
    "another kernel": (
        dict(params=ConvLSTMCell(H, (3, 5)).init(jax.random.key(0), D)),
        ["params.w_x has shape (3, 5, 4, 20), expected (3, 3, 4, 20)"],
    ),
}


@pytest.mark.parametrize(("wrong", "parts"), CALLS.values(), ids=CALLS)
def test_message(wrong, parts):
    call = dict(params=CELL.init(jax.random.key(0), D), carry=None)
    call |= dict(xs=jnp.zeros((T, B, *SPACE, D)))
    with pytest.raises(ValueError, match=re.escape(parts[0])) as raised:
        unroll(CELL, **(call | wrong))
    assert all(part in str(raised.value) for part in parts)
