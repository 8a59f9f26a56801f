"""Elementwise equations that store one derivative coefficient per argument.

A cell's update treats each unit separately, so its Jacobian is diagonal: one array per
argument. By default, automatic differentiation stores the factors of these arrays
(twelve for the LSTM) and multiplies them in every backward step. `elementwise`
multiplies them in the forward pass. Then a backward step is a few multiplications, and
only six arrays are stored. The equation is written once and JAX differentiates it, so a
change of the equation changes the derivative too.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from lstm_jax._types import Array, Float
from lstm_jax.core.primitives.activations import function_of

SIGMOID, TANH = "sigmoid", "tanh"

STEEPNESS: dict[str | Callable, float] = {SIGMOID: 0.5, TANH: 1.0}
"""``a`` in ``(1 - a) + a tanh(a z)``: the sigmoid for 1/2, tanh for 1."""


def add_bias(z: Float[Array, "*B N"], b: Float[Array, "N"]) -> Float[Array, "*B N"]:
    """``z + b`` in the dtype of ``z``; ``b`` may have another dtype."""
    return z + jnp.broadcast_to(b.astype(z.dtype), z.shape)


class Gate(NamedTuple):
    """The value of a gate and the slope of its activation at ``z``."""

    value: Float[Array, "*B H"]
    slope: Float[Array, "*B H"] | None
    z: Float[Array, "*B H"]


def gates(z: Float[Array, "*B nH"], /, **activations: str | Callable) -> list[Gate]:
    """Splits pre-activations into named gates, in order, and activates them together.

    For example ``gates(z, i=SIGMOID, g=TANH)``. Since
    ``sigmoid(z) = (1 + tanh(z / 2)) / 2``, one tanh serves all gates. On a CPU this is
    about twice as fast as one activation per gate. Any other activation runs per gate.
    """
    n = len(activations)
    if not set(activations.values()) <= STEEPNESS.keys():
        parts = jnp.split(z, n, axis=-1)
        return list(map(_gate, parts, activations.values()))
    a = [STEEPNESS[activation] for activation in activations.values()]
    a = np.repeat(np.asarray(a, z.dtype), z.shape[-1] // n)
    a = a.reshape((1,) * (z.ndim - 1) + a.shape)
    t = jnp.tanh(a * z)
    value, slope = (1 - a) + a * t, (a * a) * (1 - t * t)
    parts = (jnp.split(p, n, axis=-1) for p in (value, slope, z))
    return [Gate(*gate) for gate in zip(*parts, strict=True)]


def _gate(z, activation):
    value, slope = jax.jvp(function_of(activation), (z,), (jnp.ones_like(z),))
    return Gate(value, slope, z)


def elementwise(f: Callable[..., Array]) -> Callable[..., Array]:
    """Gives the elementwise function ``f`` the derivative described above.

    Arguments are arrays or `Gate`s. ``f`` sees the value of a `Gate`. The derivative
    goes straight to the pre-activation of the gate, through the slope. Named arguments
    are static.
    """

    @jax.custom_jvp
    def apply(values, slopes, zs):
        return f(*values)

    def jvp(primals, tangents):
        values, slopes, _ = primals
        out = f(*values)
        terms = [
            _coefficient(f, values, slopes, n) * dz
            for n, dz in enumerate(tangents[2])
            if not isinstance(dz, SymbolicZero)
        ]
        return out, sum(terms[1:], terms[0]) if terms else jnp.zeros_like(out)

    apply.defjvp(jvp, symbolic_zeros=True)

    @functools.wraps(f)
    def call(*args, **static):
        if static:
            return elementwise(functools.partial(f, **static))(*args)
        # The rule above ignores the tangents of value and slope on purpose: they repeat
        # the tangents of z. Second derivatives still flow through the coefficients.
        args = [a if isinstance(a, Gate) else Gate(a, None, a) for a in args]
        return apply(*zip(*args, strict=True))

    return call


def _coefficient(f, values, slopes, n):
    """The derivative of ``f`` by its ``n``-th argument, at every element."""
    by_nth = lambda x: f(*values[:n], x, *values[n + 1 :])
    _, coefficient = jax.jvp(by_nth, (values[n],), (jnp.ones_like(values[n]),))
    return coefficient if slopes[n] is None else coefficient * slopes[n]
