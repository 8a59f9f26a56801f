"""vmap over sequences, over parameters and over both equals a Python loop."""

import functools

import jax
import jax.numpy as jnp
import pytest

import lstm_jax
from tests import cells
from tests.core.test_derivatives import FLAGS, check_both
from tests.shapes import B

pytestmark = pytest.mark.usefixtures("x64")

AXES = {
    "sequences": cells.Case(None, 0, 0, 1),
    "inputs alone": cells.Case(None, None, None, 1),
    "params": cells.Case(0, None, None, None),
    "both": cells.Case(0, 0, 0, 1),
}


def stacked_case(cell, axes):
    """``B`` cases of one sequence each, stacked along ``axes``."""
    members = [cells.make_case(cell, seed=10 * n, batch=()) for n in range(B)]
    stack = lambda axis, parts: (
        parts[0]
        if axis is None
        else jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *parts)
    )
    return cells.Case(*map(stack, axes, zip(*members, strict=True)))


def take(at, axes, n):
    part = lambda tree, axis: (
        tree if axis is None else jax.tree.map(lambda x: jnp.take(x, n, axis), tree)
    )
    return cells.Case(*map(part, at, axes))


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        *(("lstm", axes) for axes in AXES),
        *((name, axes) for name in ("gru", "slstm") for axes in ("params", "both")),
        *(("convolution", axes) for axes in ("sequences", "params", "both")),
        ("min lstm", "both"),
    ],
)
def test_vmap_is_a_loop(name, axes):
    cell, axes = cells.CELLS[name], AXES[axes]

    def loss(at, flags, plain):
        if plain:
            outs = [
                cells.run(
                    cell,
                    take(at, axes, n),
                    jax.tree.map(lambda f, n=n: f[:, n], flags),
                    plain=True,
                )
                for n in range(B)
            ]
            return cells.scalar(jax.tree.map(lambda *x: jnp.stack(x), *outs))
        run = lambda at, flags: cells.run(cell, at, flags)
        return cells.scalar(jax.vmap(run, in_axes=(axes, 1))(at, flags))

    check_both(loss, stacked_case(cell, axes), FLAGS)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_any_axis(axis):
    """The mapped axis may stand anywhere in the inputs, and in the outputs."""
    cell = cells.CELLS["lstm"]
    at = cells.make_case(cell)
    want = cells.run(cell, at, FLAGS)
    axes = cells.Case(None, 0, 0, axis)
    run = jax.vmap(
        lambda at, flags: cells.run(cell, at, flags),
        in_axes=(axes, 1),
        out_axes=(0, axis),
    )
    carry, hs = run(at._replace(xs=jnp.moveaxis(at.xs, 1, axis)), FLAGS)
    cells.assert_close((carry, jnp.moveaxis(hs, axis, 1)), want, 1e-14)


@pytest.mark.parametrize("name", cells.CELLS)
def test_every_cell_maps_over_its_rows(name):
    """Values, and the gradient of all rows by the parameters they share."""
    cell = cells.CELLS[name]
    at, axes = cells.make_case(cell), AXES["sequences"]
    rows = lambda at: jax.vmap(functools.partial(cells.run, cell), (axes, 1))(at, FLAGS)
    batched = lambda at: cells.run(cell, at, FLAGS)
    want, hs = batched(at)
    cells.assert_close(rows(at), (want, jnp.moveaxis(hs, 1, 0)), 1e-13)
    grad = lambda run: jax.jit(jax.grad(lambda at: (run(at)[1] ** 2).sum()))(at)
    cells.assert_close(grad(rows), grad(batched), cells.DERIVATIVES)


def test_gradients_of_each_row():
    """vmap of grad: one gradient of the weights for every sequence."""
    cell, axes = cells.CELLS["lstm"], AXES["sequences"]
    at = stacked_case(cell, axes)
    grad = jax.grad(lambda at, flags: cells.loss(cell, at, flags))
    got = jax.jit(jax.vmap(grad, in_axes=(axes, 1)))(at, FLAGS)
    plain = jax.jit(jax.grad(lambda at, flags: cells.loss(cell, at, flags, plain=True)))
    members = [
        plain(take(at, axes, n), cells.Flags(*(f[:, n] for f in FLAGS)))
        for n in range(B)
    ]
    want = jax.tree.map(lambda *x: jnp.stack(x), *members)
    cells.assert_close(got, want, cells.DERIVATIVES)


def test_vmap_of_vmap():
    """Ensembles of parameters, each over many sequences, with one set of inputs."""
    cell = cells.CELLS["lstm"]
    axes = AXES["params"]
    at = stacked_case(cell, axes)._replace(carry=None, xs=cells.make_case(cell).xs)
    each = jax.vmap(lambda p, x: cells.unroll(cell, p, None, x)[1], (None, 1), 1)
    got = jax.jit(jax.vmap(each, (0, None)))(at.params, at.xs)
    for n in range(B):
        params = jax.tree.map(lambda p, n=n: p[n], at.params)
        want = cells.unroll(cell, params, None, at.xs)[1]
        cells.assert_close(got[n], want, 1e-14)


def test_shared_weights_stay_one_matrix():
    """Mapped over sequences, no product is made with a matrix for every sequence."""
    rows, params = 7, lstm_jax.init_lstm(jax.random.key(0), 3, 4)
    xs = jnp.ones((rows, 5, 3))

    def loss(params, xs):
        each = jax.vmap(lambda x: lstm_jax.lstm(params, None, x)[1])
        return jnp.sum(each(xs) ** 2)

    text = str(jax.make_jaxpr(jax.grad(loss))(params, xs))
    assert "[4,16]" in text
    assert f"[{rows},4,16]" not in text
