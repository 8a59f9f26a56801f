"""Numbers about gates and states: saturation, time constants, drift."""

from typing import NamedTuple

import jax.numpy as jnp

from lstm_jax._types import Array, Bool, Float
from lstm_jax.core.arguments import check_floating
from lstm_jax.core.cells.checks import check_flags
from lstm_jax.core.precision import accumulation_dtype


class Saturation(NamedTuple):
    """How often each unit of a gate is closed or open."""

    low: Float[Array, "H"]
    """Fraction of steps with the gate below the lower limit."""
    high: Float[Array, "H"]
    """Fraction of steps with the gate above the upper limit."""


def saturation(
    gate: Float[Array, "T *B H"],
    *,
    low: float = 0.1,
    high: float = 0.9,
    mask: Bool[Array, "T *B"] | None = None,
) -> Saturation:
    """How often each unit of a gate is nearly closed or nearly open.

    A forget gate that is mostly above 0.9 keeps its memory; a unit whose gates are
    mostly saturated learns slowly, since the sigmoid is flat there. The limits 0.1 and
    0.9 are those of Karpathy, Johnson & Fei-Fei, "Visualizing and Understanding
    Recurrent Networks", 2015. For a gate with tanh, pass ``low=-0.9``.

    Args:
        gate: values of the gate ``[T, ..., H]``, such as ``trace(...).gates["f"]``.
        low, high: the limits.
        mask: True at real steps, ``[T, ...]``; ``None`` counts all steps.

    Raises:
        TypeError: ``gate`` is not floating point.
        ValueError: ``gate`` or ``mask`` has the wrong shape, or ``low`` is above
            ``high``.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.diagnostics import saturation
    >>> f = jnp.array([[0.05, 0.5], [0.95, 0.5]])  # [T, H]
    >>> found = saturation(f)
    >>> found.low.tolist(), found.high.tolist()
    ([0.5, 0.0], [0.5, 0.0])
    """
    if not low <= high:
        raise ValueError(f"low is {low} and high is {high}, expected low <= high.")
    gate, mask = _checked("gate", gate, mask)
    count = lambda flags: _mean(flags.astype(gate.dtype), mask)
    return Saturation(count(gate < low), count(gate > high))


def time_constant(
    f: Float[Array, "T *B H"], *, mask: Bool[Array, "T *B"] | None = None
) -> Float[Array, "H"]:
    """How many steps each unit remembers: ``-1 / mean(ln f)``.

    After that many steps, ``1/e`` of a cell state is left, since ``T`` steps multiply
    it by the product of the forget gates, ``exp(sum_t ln f_t)``. A gate that is always
    1 gives infinity; a gate that is ever 0 gives 0.

    Args:
        f: values of the forget gate ``[T, ..., H]``, between 0 and 1; the update gate
            ``z`` of a GRU, which also multiplies the old state.
        mask: True at real steps, ``[T, ...]``; ``None`` counts all steps.

    Returns:
        Steps, for every unit.

    Raises:
        TypeError: ``f`` is not floating point.
        ValueError: ``f`` or ``mask`` has the wrong shape.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.diagnostics import time_constant
    >>> [round(t, 1) for t in time_constant(jnp.array([[0.5, 0.9, 1.0]])).tolist()]
    [1.4, 9.5, inf]
    """
    f, mask = _checked("f", f, mask)
    real = True if mask is None else mask[..., None]
    # Padding is 0; its logarithm would be -inf before the mean ignores it.
    logs = jnp.log(jnp.where(real, f, jnp.ones_like(f)))
    mean = _mean(logs, mask)
    forgets = mean < 0
    steps = -1 / jnp.where(forgets, mean, -jnp.ones_like(mean))
    return jnp.where(forgets, steps, jnp.full_like(steps, jnp.inf))


class Drift(NamedTuple):
    """How large a state is over time."""

    size: Float[Array, "T"]
    """Root mean square over rows and units at every step."""
    slope: Float[Array, ""]
    """Its mean change per step over the last half of the steps with a real row."""


def carry_drift(
    c: Float[Array, "T *B H"], *, mask: Bool[Array, "T *B"] | None = None
) -> Drift:
    """How the size of a state changes over a long sequence.

    Cell states that keep growing drive ``tanh(c)`` into saturation, so the cell stops
    listening. A slope near 0 means that the state has settled.

    Args:
        c: the states of all steps, such as ``trace(...).carry.c``.
        mask: True at real steps, ``[T, ...]``; ``None`` counts all steps.

    Raises:
        TypeError: ``c`` is not floating point.
        ValueError: ``c`` has fewer than two steps, or ``mask`` has the wrong shape.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.diagnostics import carry_drift
    >>> found = carry_drift(jnp.arange(8.0)[:, None])
    >>> found.size.tolist(), float(found.slope)
    ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 1.0)
    """
    c, mask = _checked("c", c, mask)
    if c.shape[0] < 2:
        raise ValueError(f"c has shape {c.shape}, expected at least two steps.")
    rows = c.reshape(c.shape[0], -1)
    real = jnp.ones(c.shape[:-1], bool) if mask is None else mask
    real = jnp.broadcast_to(real[..., None], c.shape).reshape(rows.shape)
    total = jnp.sum(jnp.where(real, rows, jnp.zeros_like(rows)) ** 2, axis=1)
    size = jnp.sqrt(total / jnp.maximum(real.sum(1), 1).astype(rows.dtype))
    # The numbers of the steps that count come first.
    counts = real.any(axis=1)
    steps = jnp.argsort(~counts, stable=True)
    last = jnp.maximum(counts.sum() - 1, 1)
    middle = jnp.where(last > 1, (last + 1) // 2, 0)
    first, end = steps[middle], steps[last]
    change = size[end] - size[first]
    apart = jnp.maximum(end - first, 1).astype(size.dtype)
    return Drift(size, jnp.where(counts.sum() > 1, change / apart, 0 * change))


def _checked(name, a, mask):
    a = check_floating(name, a)
    if a.ndim < 2:
        raise ValueError(f"{name} has shape {a.shape}, expected [T, ..., H].")
    return (
        a.astype(accumulation_dtype(a.dtype)),
        check_flags("mask", mask, a.shape[:-1], of=name),
    )


def _mean(a, mask):
    """The mean over the counted steps and rows, for every unit."""
    rows = a.reshape(-1, a.shape[-1])
    if mask is None:
        return rows.mean(axis=0)
    real = mask.reshape(-1, 1)
    total = jnp.where(real, rows, jnp.zeros_like(rows)).sum(axis=0)
    return total / jnp.maximum(real.sum(), 1).astype(rows.dtype)
