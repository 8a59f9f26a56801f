"""When is Newton's method faster than the scan over a long sequence?

The measurements of `benchmarks.newton` at sizes for a machine with thousands of cores.
"""

import argparse
import functools

import jax

from benchmarks import newton
from lstm_jax import Newton

STEPS, UNITS = (16_384, 131_072), (64, 256, 128)


def cases(setting):
    sizes = [(T, H) for T in STEPS for H in UNITS]
    pace = argparse.Namespace(repeats=7, budget=4.0, at_least=3)
    if setting.dry_run:
        sizes, pace = [(32, 4)], argparse.Namespace(repeats=2, budget=1.0, at_least=2)
    return {
        f"{name}, T={T}, H={H}": functools.partial(measure, name, settings, T, H, pace)
        for T, H in sizes
        for name, settings in newton.SETTINGS.items()
    }


def measure(name: str, settings: Newton, T: int, H: int, pace: argparse.Namespace):
    """A row of `benchmarks.newton`, with one kind of Jacobian."""
    args = argparse.Namespace(hidden_size=H, **vars(pace))
    try:
        yield newton.measure(T, args, {name: settings})
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = f"out of memory: {str(error).splitlines()[0]}"
        raise NotImplementedError(reason) from error
