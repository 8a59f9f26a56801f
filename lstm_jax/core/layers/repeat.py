"""Runs layer after layer, and compiles equal neighbours once."""

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.core.sharding import vary_alike

LOOP_FROM = 9
"""With this many equal layers or more, a loop runs the layers. Fewer layers are written
out, because a loop copies what it stores for the gradient into arrays of all layers.
With three and eight layers on two cores, the loop took 1.05 to 1.4 times as long and
compiled no faster."""


def run_layers(layer, groups, entries, xs, stacked: bool):
    """Runs ``carry, xs = layer(n, cell, *entry, xs)`` from the bottom layer to the top.

    A group ``(cell, count)`` of equal layers runs as a loop, with a traced ``n``, if it
    has `LOOP_FROM` layers or more. It also does if its entries are ``stacked``: one
    entry for the group, with a leading axis of layers. Then a deep stack compiles as
    fast as a shallow one. Returns the carries in the form of the entries, and the last
    outputs.
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
    """Stacks equal trees into one tree with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _alike(trees):
    """Whether the trees can be stacked: same structure, shapes and dtypes."""
    facts = lambda a: (jnp.shape(a), jnp.result_type(a))
    first, *others = (jax.tree.map(facts, tree) for tree in trees)
    return all(other == first for other in others)
