"""JAX's debugging tools find the NaN that a primitive of ours makes of an infinity."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from lstm_jax import LSTMCarry, LSTMCell, ops
from lstm_jax.core.primitives.convolve import convolve
from lstm_jax.core.primitives.matmul import matmul
from lstm_jax.kernels.cpu.primitives import PRIMITIVES as primitives
from lstm_jax.kernels.lstm.operands import Operands
from tests import cells

AT = cells.make_case(LSTMCell(5), jnp.float32)
OPERANDS = Operands(AT.xs, *AT.params, *AT.carry, None, None, None, None)
OUT, RESIDUALS = jax.jit(
    lambda at: primitives.forward_with_residuals(at, reverse=False)
)(OPERANDS)
KERNEL = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 4)), jnp.float32)


def forward(h, c):
    return primitives.forward(OPERANDS._replace(h0=h, c0=c), reverse=False)


def tangent(h, c):
    return primitives.tangent(OPERANDS, RESIDUALS, {"h0": h, "c0": c}, reverse=False)


def backward(h, c):
    d_out, wrt = OUT._replace(h=h, c=c), ("h0", "c0", "w_h")
    return primitives.backward(OPERANDS, RESIDUALS, d_out, wrt=wrt, reverse=False)


def gradient(h, c):
    run = lambda p: ops.lstm(p, LSTMCarry(h, c), AT.xs, implementation="native")
    return jax.grad(lambda params: run(params)[1].sum())(AT.params)


PRIMITIVES = {
    "matmul": lambda h, c: matmul(h, AT.params.w_h),
    "convolution": lambda h, c: convolve(h, KERNEL),
    "forward": forward,
    "tangent": tangent,
    "backward": backward,
    "gradient": gradient,
}
"""Of a state: no operation beside the primitive makes a NaN of an infinite one."""

FINITE = [np.full_like(a, 0.5) for a in AT.carry]
INFINITE = [np.full_like(AT.carry.h, np.inf), FINITE[1]]

every_primitive = pytest.mark.parametrize("name", PRIMITIVES)
ways = pytest.mark.parametrize("way", ["eager", "jit", "disable_jit"])


def run(name, way):
    f = jax.jit(PRIMITIVES[name]) if way == "jit" else PRIMITIVES[name]

    def call(state):
        with jax.disable_jit(way == "disable_jit"):
            return jax.block_until_ready(f(*state))

    return call


@ways
@every_primitive
def test_debug_nans(name, way):
    f = run(name, way)
    with jax.debug_nans(True):
        f(FINITE)
        with pytest.raises(FloatingPointError, match="nan"):
            f(INFINITE)


@ways
@pytest.mark.parametrize("name", ["forward", "tangent"])
def test_debug_infs(name, way):
    f = run(name, way)
    with jax.debug_infs(True):
        f(FINITE)
        with pytest.raises(FloatingPointError, match="inf"):
            f([FINITE[0], np.full_like(AT.carry.c, np.inf)])


@every_primitive
@pytest.mark.parametrize("errors", ["nan_checks", "all_checks"])
def test_checkify(name, errors):
    checked = checkify.checkify(PRIMITIVES[name], errors=getattr(checkify, errors))
    f = jax.jit(checked)
    assert f(*FINITE)[0].get() is None
    assert "nan generated" in f(*INFINITE)[0].get()


@every_primitive
def test_no_tracer_leaks(name):
    with jax.checking_leaks():
        run(name, "jit")(FINITE)


def test_compiled_programs_have_names(caplog):
    """Called outside of ``jit``, a primitive is a program of its own."""
    at = OPERANDS._replace(xs=OPERANDS.xs[:2])
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        primitives.forward(at, reverse=False)
    assert "jit(lstm_jax_forward)" in caplog.text


@every_primitive
def test_the_program_can_be_read(name):
    """Without addresses, which differ from process to process."""
    text = str(jax.make_jaxpr(PRIMITIVES[name])(*FINITE))
    assert "lstm_jax_" in text
    assert " at 0x" not in text
