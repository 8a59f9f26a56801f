"""Layer after layer, with equal layers in a row compiled as one."""

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.core.sharding import vary_alike

LOOP_FROM = 9
"""From this many equal layers on, a loop over the layers runs them. Fewer are written
out: what a loop keeps for the gradient it copies into arrays of all layers, which took
1.05 to 1.4 times as long (three and eight layers, two cores) and compiled no faster."""


def run_layers(layer, groups, entries, xs, stacked: bool):
    """``carry, xs = layer(n, cell, *entry, xs)`` from the bottom up.

    A group ``(cell, count)`` of equal layers is a loop over the layers, with a traced
    ``n``, if there are `LOOP_FROM` or more, or if their entries come ``stacked``: one
    for the group, with a leading axis of layers. A deep stack then compiles like a
    shallow one. Returns the carries in the form of the entries, and the last outputs.
    """
    entries, final, n = iter(entries), [], 0
    for cell, count in groups:
        if stacked and count > 1:
            carry, xs = _loop(layer, n, cell, next(entries), xs, count)
            final.append(carry)
        else:
            group = [next(entries) for _ in range(count)]
            carries, xs = _group(layer, n, cell, group, xs)
            final += carries
        n += count
    return tuple(final), xs


def _group(layer, n, cell, group, xs):
    if len(group) >= LOOP_FROM and _alike(group):
        carries, xs = _loop(layer, n, cell, stack_trees(group), xs, len(group))
        pick = lambda i: jax.tree.map(lambda a: a[i], carries)
        return [pick(i) for i in range(len(group))], xs
    carries = []
    for i, entry in enumerate(group):
        carry, xs = layer(n + i, cell, *entry, xs)
        carries.append(carry)
    return carries, xs


def _loop(layer, n, cell, stacked, xs, count):
    def step(xs, at):
        n, entry = at
        carry, xs = layer(n, cell, *entry, xs)
        return xs, carry

    xs = vary_alike(xs, stacked)
    xs, carries = lax.scan(step, xs, (jnp.arange(n, n + count), stacked))
    return carries, xs


def stack_trees(trees):
    """One tree whose arrays have a leading axis, from equal ones without it."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _alike(trees):
    """Whether they can be stacked: the same structure, shapes and dtypes."""
    facts = lambda a: (jnp.shape(a), jnp.result_type(a))
    first, *others = (jax.tree.map(facts, tree) for tree in trees)
    return all(other == first for other in others)
