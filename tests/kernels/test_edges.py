"""The kernel where numbers end: infinities, NaN, gates that are shut, and memory."""

import itertools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import LSTMCarry, init_lstm, lstm
from lstm_jax.kernels.cpu import library

T, B, D, H = 3, 2, 3, 4
PARAMS = init_lstm(jax.random.key(0), D, H)
XS = jax.random.normal(jax.random.key(1), (T, B, D))
CARRY = LSTMCarry(jnp.full((B, H), 0.3), jnp.full((B, H), -0.2))
COTANGENTS = jnp.full((T, B, H), 0.1), LSTMCarry(*[jnp.full((B, H), 0.2)] * 2)


def gradients(implementation):
    """Outputs and all gradients."""

    def run(params, carry, xs, d_out):
        def f(params, carry, xs):
            carry, hs = lstm(params, carry, xs, implementation=implementation)
            return hs, carry

        out, vjp = jax.vjp(f, params, carry, xs)
        return out, vjp(d_out)

    return jax.jit(run)


NATIVE, SCAN = gradients("native"), gradients("scan")


def same_nan(*args):
    ours, theirs = (jax.tree.leaves(run(*args)) for run in (NATIVE, SCAN))
    return all(
        (np.isnan(a) == np.isnan(b)).all() for a, b in zip(ours, theirs, strict=True)
    )


SPECIAL = np.float32([np.inf, -np.inf, np.nan])


def test_nan_is_where_it_is_by_the_scan():
    """Each value of each argument, and infinite states at gates that are shut."""
    leaves, tree = jax.tree.flatten((PARAMS, CARRY, XS, COTANGENTS))
    for n, value in itertools.product(range(len(leaves)), SPECIAL):
        changed = np.array(leaves[n])
        changed.flat[1] = value
        args = [*leaves[:n], jnp.asarray(changed), *leaves[n + 1 :]]
        assert same_nan(*jax.tree.unflatten(tree, args)), (n, value)
    shut = (np.inf, -np.inf, 200.0, -200.0, -89.0)
    for gate, bias, infinite in itertools.product(range(4), shut, SPECIAL):
        params = PARAMS._replace(b=PARAMS.b.at[gate * H].set(bias))
        carry = CARRY._replace(c=CARRY.c.at[0, 0].set(infinite))
        assert same_nan(params, carry, XS, COTANGENTS), (gate, bias, infinite)


def test_a_gate_between_16_and_88_is_small_and_not_zero():
    """What is stated: here an infinite state is NaN by the scan alone."""
    params = PARAMS._replace(b=PARAMS.b.at[H].set(-50.0))  # the forget gate of unit 0
    carry = CARRY._replace(c=CARRY.c.at[0, 0].set(jnp.inf))
    (hs, _), _ = NATIVE(params, carry, XS, COTANGENTS)
    (scanned, _), _ = SCAN(params, carry, XS, COTANGENTS)
    assert np.isfinite(hs[0, 0, 0])
    assert np.isnan(scanned[0, 0, 0])


@pytest.mark.parametrize(
    ("x", "want"),
    [(-np.inf, 0.0), (-3e38, 0.0), (-89.0, 0.0), (89.0, 1.0), (3e38, 1.0), (np.inf, 1)],
)
def test_the_sigmoid_ends_at_0_and_1(x, want):
    (y,) = jax.ffi.ffi_call(
        library.target("activate"), [jax.ShapeDtypeStruct((1,), jnp.float32)]
    )(jnp.full(1, x, jnp.float32), tanh=np.bool_(False))
    assert float(y[0]) == want


OUT_OF_MEMORY = """
import resource
import jax, jax.numpy as jnp
from lstm_jax import init_lstm, lstm

D = 2_000_000  # weights of 32 MB, which the kernel packs with much room to spare
params = jax.eval_shape(lambda key: init_lstm(key, D, 1), jax.random.key(0))
params = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), params)
xs = jnp.zeros((1, 4, D))
run = jax.jit(lambda p, xs: lstm(p, None, xs, implementation="native")[1])
run = run.lower(params, xs).compile()
pages = int(open("/proc/self/statm").read().split()[0])
used = pages * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.RLIM_INFINITY))
try:
    run(params, xs).block_until_ready()
except jax.errors.JaxRuntimeError as error:
    print(error)
"""


def test_out_of_memory_is_an_exception():
    """It ended the process without a word."""
    run = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "RESOURCE_EXHAUSTED: lstm_jax: out of memory for the kernel" in run.stdout
