"""Do several steps of the scan in one turn of its loop save time?

``jax.lax.scan`` has an argument ``unroll`` for that. The library does not pass it; here
it is passed by replacing ``jax.lax.scan`` while a cell is traced.
"""

import contextlib
import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.family import cells
from lstm_jax import unroll
from lstm_jax.bench import timing

SIZES, TINY = dict(B=32, T=512, D=512, H=512), dict(B=2, T=8, D=8, H=8)
CELLS = ("GRU", "LSTM", "layer norm", "sLSTM, 4 heads")
TURNS = (1, 4, 8)
"""Steps in one turn of the loop."""


def cases(setting):
    sizes = TINY if setting.dry_run else SIZES
    names = CELLS[:1] if setting.dry_run else CELLS
    repeats = 2 if setting.dry_run else 15
    return {name: functools.partial(measure, name, sizes, repeats) for name in names}


def measure(name, sizes, repeats):
    """Milliseconds of outputs and gradient by every number of steps in a turn."""
    B, T, D, H = sizes.values()
    cell = cells(H)[name]
    params = cell.init(jax.random.key(0), D)
    xs = jax.random.normal(jax.random.key(1), (T, B, D))

    def loss(params, xs):
        hs = unroll(cell, params, None, xs, implementation="scan")[1]
        return jnp.mean(jnp.square(hs))

    calls, found = {}, {}
    for steps in TURNS:
        with scan_by(steps):
            f, _ = timing.compile_ahead(jax.value_and_grad(loss), params, xs)
        found[steps] = jax.tree.leaves(f(params, xs))
        for a, b in zip(found[steps], found[1], strict=True):
            np.testing.assert_allclose(a, b, rtol=0.03, atol=0.03 * np.max(np.abs(b)))
        calls[str(steps)] = lambda f=f: jax.block_until_ready(f(params, xs))
    times = timing.interleave(calls, repeats, at_least=5, budget=5.0)
    milliseconds = {n: 1e3 * float(np.median(t)) for n, t in times.items()}
    ratios = {n: timing.paired_ratio(t, times["1"]) for n, t in times.items()}
    yield {**sizes, "milliseconds": milliseconds, "this / 1": ratios}


@contextlib.contextmanager
def scan_by(steps):
    """In the block, scans that are traced take so many steps in a turn."""
    scan = functools.partial(jax.lax.scan, unroll=steps)
    with mock.patch.object(jax.lax, "scan", scan):
        yield
