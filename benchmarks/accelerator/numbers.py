"""Are the numbers right, and what does the matmul precision change?

The worked example by every implementation; and the errors of values and gradients of
one layer in float32 against float64 on the CPU, by `jax.default_matmul_precision`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.contenders import differences
from benchmarks.kernel import named
from benchmarks.properties import example, outputs
from lstm_jax import LSTMCarry, LSTMParams, lstm
from lstm_jax.core.recurrence import backends

EXPECTED = {"h": 0.6091248, "c": 0.9332488}
"""Of x=0.5, h=0.1, c=0.2, all weights and biases 1."""
PRECISIONS = (None, "tensorfloat32", "highest")
SIZES, TINY = dict(B=32, T=128, D=256, H=256), dict(B=2, T=3, D=4, H=5)
LARGEST_ERROR = {None: 1e-4, "tensorfloat32": 3e-2, "highest": 1e-4}
"""More than this is another computation, not rounding."""


def cases(setting):
    # Those measured at one precision come last; the other two they share with "scan".
    once = ("plain", "newton", "native")
    names = sorted(backends.NAMED, key=lambda name: name in once)
    sizes = TINY if setting.dry_run else SIZES
    if setting.dry_run:
        names = ["scan"]
    found = {f"worked example, {n}": functools.partial(worked, n) for n in names}
    for name in names:
        short = setting.dry_run or name in once
        for precision in PRECISIONS[:1] if short else PRECISIONS:
            case = functools.partial(errors, name, precision, sizes)
            found[f"{name}, precision {precision or 'not set'}"] = case
    return found


def worked(implementation):
    """One step, to 1e-6 if no precision is set; and what TensorFloat32 changes."""
    params = LSTMParams(jnp.ones((1, 4)), jnp.ones((1, 4)), jnp.ones(4))
    state = LSTMCarry(jnp.full((1, 1), 0.1), jnp.full((1, 1), 0.2))
    xs = jnp.full((1, 1, 1), 0.5)
    found = {}
    for precision in (None, "tensorfloat32"):
        with jax.default_matmul_precision(precision):
            carry, _ = lstm(params, state, xs, implementation=implementation)
        found[precision or "not set"] = {
            name: abs(float(getattr(carry, name)[0, 0]) - value)
            for name, value in EXPECTED.items()
        }
    good = max(found["not set"].values()) <= 1e-6
    yield {"differs": found} | ({} if good else {"status": "failed"})


def errors(implementation, precision, sizes):
    """Largest error over the largest value, of outputs and gradients."""
    inputs, expected = exact(**sizes)
    run = functools.partial(outputs, implementation=implementation)
    with jax.default_matmul_precision(precision):
        found = differences(named(run, inputs), expected)
    good = max(found.values()) <= LARGEST_ERROR[precision]
    yield {**sizes, "differs": found} | ({} if good else {"status": "failed"})


@functools.cache
def exact(B, T, D, H):
    """Parameters and inputs in float32, and what float64 makes of them on the CPU."""
    inputs = example((T, B, D), H)
    arrays = [np.asarray(a, np.float64) for a in jax.tree.leaves(inputs)]
    cpu = jax.devices("cpu")[0]
    with jax.enable_x64(True), jax.default_device(cpu):
        doubles = jax.tree.unflatten(jax.tree.structure(inputs), arrays)
        return inputs, named(functools.partial(outputs, implementation="scan"), doubles)
