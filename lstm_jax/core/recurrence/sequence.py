"""The inputs with their flags: which steps are real, and where episodes begin.

``lengths`` and ``mask`` become one mask here, once. Masked inputs become 0 before the
projection. Masking them later is not enough: a NaN in the padding would reach the
gradients of the weights as 0 * NaN, even though all values are finite.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from lstm_jax._types import Array, Bool, Float
from lstm_jax.core.cells.cell import Cell, Noise
from lstm_jax.core.cells.checks import (
    check_carry,
    check_flags,
    check_lengths,
    check_sequence,
)
from lstm_jax.core.sharding import leave_to_compiler, spec_of


class Sequence(NamedTuple):
    """The checked arguments of `unroll`. Flags that were not given are ``None``."""

    carry: Any
    xs: Float[Array, "T *B D"]
    mask: Bool[Array, "T *B"] | None
    resets: Bool[Array, "T *B"] | None
    reset_carry: Any
    noise: Noise | None = None
    """The random masks of the cell, set later than the other fields."""


def prepare(
    cell: Cell, params, carry, xs, lengths, mask, resets, reset_carry, reverse, dtype
) -> Sequence:
    """Checks the arguments of `lstm_jax.unroll` and converts them to one form."""
    carry, xs = check_sequence(cell, params, carry, xs, dtype)
    row_axes = xs.ndim - cell.feature_axes
    mask = _real(cell, xs, lengths, mask)
    if reset_carry is not None and resets is None:
        raise ValueError(
            "reset_carry is given without resets, expected both; "
            "mark the first step of every episode in resets [T, ...]."
        )
    resets = check_flags("resets", resets, xs.shape[:row_axes])
    if resets is not None:
        reset_carry = check_carry(
            cell, reset_carry, xs.shape[1:-1], xs.dtype, "reset_carry"
        )
        if reverse:
            resets = _episode_ends(resets)
    return Sequence(carry, xs, mask, resets, reset_carry)


def _real(cell, xs, lengths, mask):
    """The checked mask of real steps; ``None`` if all are real."""
    if lengths is not None and mask is not None:
        raise ValueError(
            "lengths and mask are both given, expected one; "
            "combine them into one mask [T, ...]."
        )
    steps, *rows = xs.shape[: xs.ndim - cell.feature_axes]
    if lengths is None:
        return check_flags("mask", mask, (steps, *rows))
    return length_mask(check_lengths(lengths, steps, tuple(rows)), steps)


def zero_carry(cell, xs):
    """A carry of zeros, sharded like the rows."""
    rows = spec_of(xs)[1:-1]
    zero = lambda xs: cell.zero_carry(xs.shape[1:-1], xs.dtype)
    fill = lambda a: PartitionSpec(*rows, *[None] * (a.ndim - len(rows)))
    specs = jax.tree.map(fill, jax.eval_shape(zero, xs))
    return leave_to_compiler(zero, (xs,), specs)


def without_padding(cell: Cell, seq: Sequence) -> Sequence:
    """The sequence with masked inputs set to 0."""
    if seq.mask is None:
        return seq

    def zero(mask, xs):
        real = mask.reshape(mask.shape + (1,) * cell.feature_axes)
        return jnp.where(real, xs, jnp.zeros_like(xs))

    xs = leave_to_compiler(zero, (seq.mask, seq.xs), spec_of(seq.xs))
    return seq._replace(xs=xs)


def zero_padding(cell: Cell, xs: Array, lengths: Any, mask: Any) -> Array:
    """Inputs ``[T, ..., D]`` that are 0 in the padding; checks as `prepare` does."""
    seq = Sequence(None, xs, _real(cell, xs, lengths, mask), None, None)
    return without_padding(cell, seq).xs


def length_mask(lengths, steps: int) -> Bool[Array, "T *B"]:
    """True at the first ``lengths`` of ``steps`` steps."""
    t = jnp.arange(steps, dtype=jnp.int32).reshape(-1, *(1,) * lengths.ndim)
    return t < lengths[None]


def _episode_ends(resets):
    """The resets of a backward run: the same boundaries, seen from the other side."""
    return jnp.concatenate([resets[1:], jnp.zeros_like(resets[:1])])
