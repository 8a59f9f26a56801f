"""A cell as a recurrence of vectors: the states of a row, packed into ``n`` numbers."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lstm_jax._types import Array, Float
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.recurrence.loop import Inputs, all_steps
from lstm_jax.core.recurrence.newton.settings import Newton
from lstm_jax.core.sharding import vary_alike


class Facts(NamedTuple):
    """What is known while tracing."""

    settings: Newton
    cell: Cell
    params_type: type
    rows: int
    """Number of batch axes."""


def steps(
    facts: Facts, inputs: Inputs, x: Float[Array, "T *B n"]
) -> tuple[Float[Array, "T *B n"], Array]:
    """All steps from the states ``x`` before them: the states after, and outputs."""
    states = unpack(facts, inputs, x)
    after, hs = all_steps(facts.cell, facts.params_type, inputs, states)
    return pack(facts, after, time=1), hs


def jacobian(facts: Facts, inputs: Inputs, x: Float[Array, "T *B n"]) -> Array:
    """The Jacobians of the steps from the states ``x``, ``[T, *B, n, n]``, or their
    diagonals.
    """
    _, linear = jax.linearize(lambda x: steps(facts, inputs, x)[0], x)
    units = jnp.eye(x.shape[-1], dtype=x.dtype)
    spread = lambda unit: vary_alike(jnp.broadcast_to(unit, x.shape), x)
    if facts.settings.full:
        return jax.vmap(lambda unit: linear(spread(unit)), out_axes=-1)(units)
    # One column after the other, so that the matrices never exist.
    own = lambda unit: (linear(spread(unit)) * spread(unit)).sum(-1)
    return jnp.moveaxis(lax.map(own, units), 0, -1)


def pack(facts: Facts, carry: Any, time: int = 0) -> Float[Array, "*TB n"]:
    """A carry as one array, with an axis of time in front if ``time`` is 1."""
    lead = facts.rows + time
    flat = lambda a: a.reshape(*a.shape[:lead], -1)
    return jnp.concatenate([flat(a) for a in jax.tree.leaves(carry)], axis=-1)


def unpack(facts: Facts, inputs: Inputs, x: Float[Array, "*TB n"]) -> Any:
    """The carry again, with the axes in front that ``x`` has."""
    leaves, tree = jax.tree.flatten(inputs.carry)
    own = [a.shape[facts.rows :] for a in leaves]
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in own])
    parts = jnp.split(x, ends[:-1], axis=-1)
    pairs = zip(parts, own, strict=True)
    return tree.unflatten([p.reshape(*x.shape[:-1], *shape) for p, shape in pairs])


def at_step(inputs: Inputs, t: Any) -> Inputs:
    """The inputs of step ``t`` alone."""
    return by_step(lambda a: lax.dynamic_slice_in_dim(a, t, 1), inputs)


def backwards(inputs: Inputs) -> Inputs:
    """The inputs from the last step to the first."""
    return by_step(lambda a: jnp.flip(a, 0), inputs)


def by_step(f, inputs):
    """``f`` of every array that has an axis of time."""
    f, noise = functools.partial(jax.tree.map, f), inputs.noise
    return inputs._replace(
        gx=f(inputs.gx),
        mask=f(inputs.mask),
        resets=f(inputs.resets),
        noise=noise and noise._replace(stepwise=f(noise.stepwise)),
    )
