"""A test for your own cell: does the derivative rule hold for it?"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Key
from lstm_jax.core.arguments import check_key, check_size
from lstm_jax.core.cells.cell import Cell, require_cell
from lstm_jax.core.recurrence.unroll import unroll

T, B = 6, 3
TOLERANCE = 1e-3
"""Relative to the largest number. The two computations add in different orders. A wrong
rule has a far larger error."""


def check_cell(
    cell: Cell, in_size: int = 3, *, key: Key[Array, ""] | None = None
) -> None:
    """Compares a cell under the derivative rule with the plain loop of its step.

    `lstm_jax.unroll` checks shapes and names before the first use of a cell. It cannot
    see whether a parameter in ``Cell.added`` is simply added to ``gx``. If it is not,
    gradients are wrong and nothing says so. Call this function once, in a test.

    It compares values, ``jvp``, ``vjp`` and ``vmap`` over rows on random numbers, with
    and without padding and resets.

    Args:
        cell: the cell.
        in_size: ``D``, features of the inputs.
        key: key for random parameters and inputs; by default always the same.

    Raises:
        TypeError: ``cell`` breaks a rule that `lstm_jax.Cell` lists.
        ValueError: the two computations differ; the message says where.

    >>> from lstm_jax import GRUCell
    >>> from lstm_jax.diagnostics import check_cell
    >>> check_cell(GRUCell(5))
    """
    require_cell("cell", cell)
    check_size("in_size", in_size)
    keys = jax.random.split(jax.random.key(0) if key is None else check_key(key), 4)
    space = (2,) * (cell.feature_axes - 1)
    at = (
        _near(keys[0], cell.init(keys[1], in_size)),
        jax.random.normal(keys[2], (T, B, *space, in_size)),
    )
    direction = _near(keys[3], jax.tree.map(jnp.zeros_like, at))
    mask = np.arange(T)[:, None] < np.array([T, 2, 0])
    resets = np.arange(T)[:, None] == np.array([3, 1, 0])
    flags: dict[str, dict[str, Any]] = {
        "": {},
        ", backwards with padding and resets": dict(
            mask=mask, resets=resets, reverse=True
        ),
    }
    for where, options in flags.items():
        run = functools.partial(unroll, cell, **options)
        ours, plain = (
            _compared(functools.partial(run, implementation=name), at, direction)
            for name in ("scan", "plain")
        )
        for what, got in ours.items():
            _compare(cell, f"{what}{where}", got, plain[what])
    params, xs = at
    run = lambda xs: unroll(cell, params, None, xs, implementation="scan")[1]
    of_rows = jax.jit(jax.vmap(run, 1, 1))
    _compare(cell, "vmap over rows", of_rows(xs), run(xs))


def _compared(run, at, direction):
    """The compared values, by their names in error messages."""

    def smooth(params, xs):
        out = jax.tree.leaves(run(params, None, xs))
        return [a for a in out if jnp.issubdtype(a.dtype, jnp.floating)]

    @jax.jit
    def values_of(at):
        out, d_out = jax.jvp(smooth, at, direction)
        params, xs = jax.vjp(smooth, *at)[1]([jnp.cos(a) for a in out])
        return out, d_out, xs, params

    out, d_out, xs, params = values_of(at)
    return {
        "the values": out,
        "jvp": d_out,
        "the gradient of the inputs": xs,
    } | {
        f"the gradient of params{jax.tree_util.keystr(path)}": leaf
        for path, leaf in jax.tree.leaves_with_path(params)
    }


def _compare(cell, what, got, want):
    for g, w in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        g, w = np.asarray(g, float), np.asarray(w, float)
        error = np.abs(g - w).max(initial=0.0)
        if not error <= TOLERANCE * np.abs(w).max(initial=1e-6):
            raise ValueError(
                f"{type(cell).__name__}: {what} differs from the plain loop by "
                f"{error:.3g}, of {np.abs(w).max():.3g}. A name in `added` that is not "
                f"simply added to gx does this; so does state that the step keeps "
                f"outside of its carry."
            )


def _near(key, tree):
    """Adds random numbers to the tree, so that no bias is 0."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    draw = lambda k, a: a + jax.random.normal(k, a.shape, a.dtype) / 2
    return structure.unflatten(map(draw, keys, leaves))
