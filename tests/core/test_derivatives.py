"""Every way to differentiate agrees with the plain scan, for every cell, in float64."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.flatten_util import ravel_pytree

from tests import cells
from tests.shapes import LENGTHS, D, T

pytestmark = pytest.mark.usefixtures("x64")

FLAGS = cells.make_flags()


def inner(a, b):
    return sum(
        jnp.vdot(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )


def slope(f, at, v):
    return jax.jvp(f, (at,), (v,))[1]


def grad_and_hvp(f, at, v):
    return jax.jvp(jax.grad(f), (at,), (v,))


def hvp(f, at, v):
    return grad_and_hvp(f, at, v)[1]


def hessian(f, at, v):
    flat, unflatten = ravel_pytree(at)
    return jax.hessian(lambda flat: f(unflatten(flat)))(flat)


FIGURES = {"value": lambda f, at, v: f(at), "grad": lambda f, at, v: jax.grad(f)(at)}
FIGURES |= {"slope": slope, "hvp": hvp, "hessian": hessian}
"""What is to be computed; the plain scan computes each in one way."""

MODES = {
    "grad": ("grad", lambda f, at, v: jax.grad(f)(at)),
    "jvp": ("slope", slope),
    "linearize": ("slope", lambda f, at, v: jax.linearize(f, at)[1](v)),
    "hessian": ("hessian", hessian),
    "forward over reverse": ("hvp", hvp),
    "reverse over reverse": (
        "hvp",
        lambda f, at, v: jax.grad(lambda at: inner(jax.grad(f)(at), v))(at),
    ),
    "reverse over forward": (
        "hvp",
        lambda f, at, v: jax.grad(lambda at: slope(f, at, v))(at),
    ),
    "checkpoint": ("grad", lambda f, at, v: jax.grad(jax.checkpoint(f))(at)),
    "checkpoint, twice": ("hvp", lambda f, at, v: hvp(jax.checkpoint(f), at, v)),
}
"""Ways to compute it with the rule."""


def evaluate(mode, loss, at, *args):
    v = cells.draw(at, seed=5)
    f = lambda at, v, *args: mode(lambda at: loss(at, *args), at, v)
    return jax.jit(f, compiler_options=cells.QUICK)(at, v, *args)


@functools.cache
def plain_figures(name):
    """All of `FIGURES` in one compilation."""
    cell = cells.CELLS[name]
    every = lambda f, at, v: {k: figure(f, at, v) for k, figure in FIGURES.items()}
    loss = functools.partial(cells.loss, cell, plain=True)
    return evaluate(every, loss, cells.make_case(cell), FLAGS)


def check_mode(mode, name):
    figure, way = MODES[mode]
    cell = cells.CELLS[name]
    loss = functools.partial(cells.loss, cell)
    got = evaluate(way, loss, cells.make_case(cell), FLAGS)
    cells.assert_close(got, plain_figures(name)[figure], cells.DERIVATIVES)


FOR_TWO = {"reverse over forward", "checkpoint, twice"}
"""Modes that two cells are enough for."""


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        (name, mode)
        for name in cells.MECHANISMS
        for mode in MODES
        if mode not in FOR_TWO or name in ("lstm", "gru")
    ],
)
def test_with_mask_and_resets(name, mode):
    check_mode(mode, name)


def check_both(loss, at, *args, mode=grad_and_hvp):
    """A loss that takes ``plain=`` has the same derivatives either way."""
    got, want = (
        evaluate(mode, functools.partial(loss, plain=plain), at, *args)
        for plain in (False, True)
    )
    cells.assert_close(got, want, cells.DERIVATIVES)


@pytest.mark.parametrize("name", [n for n in cells.CELLS if n not in cells.MECHANISMS])
def test_other_cells_with_mask_and_resets(name):
    cell = cells.CELLS[name]
    check_both(functools.partial(cells.loss, cell), cells.make_case(cell), FLAGS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm", {}),
        ("lstm", {"lengths": LENGTHS}),
        ("gru", {"lengths": LENGTHS, "reverse": True}),
    ],
)
def test_with_lengths_or_nothing(name, options):
    cell = cells.CELLS[name]
    loss = lambda at, plain: cells.loss(cell, at, plain=plain, **options)
    check_both(loss, cells.make_case(cell))


@pytest.mark.parametrize("name", cells.CELLS)
def test_backwards_in_time(name):
    cell = cells.CELLS[name]
    loss = functools.partial(cells.loss, cell, reverse=True)
    check_both(loss, cells.make_case(cell), FLAGS, mode=FIGURES["grad"])


@pytest.mark.parametrize("part", ["recurrent weights", "all but parameters"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_by_a_part_of_the_arguments(name, part):
    """Arguments held constant have symbolic zeros for tangents, a path of its own."""
    cell = cells.CELLS[name]
    at = cells.make_case(cell)

    def loss(active, flags, plain):
        if part == "recurrent weights":
            active = at._replace(params=at.params._replace(w_h=active))
        else:
            active = active._replace(params=at.params)
        return cells.loss(cell, active, flags, plain=plain)

    active = at.params.w_h if part == "recurrent weights" else at
    check_both(loss, active, FLAGS)


@pytest.mark.parametrize("name", cells.CELLS)
def test_forward_and_reverse_agree(name):
    """``<u, J v> = <J^T u, v>`` for the rule alone, whatever the plain scan says."""
    cell = cells.CELLS[name]
    at = cells.make_case(cell)
    v = cells.draw(at, seed=5)

    @jax.jit
    def products(at, v, flags):
        f = lambda at: cells.run(cell, at, flags)
        out, pushed = jax.jvp(f, (at,), (v,))
        u = jax.tree.map(jnp.cos, out)
        return inner(u, pushed), inner(jax.vjp(f, at)[1](u)[0], v)

    cells.assert_close(*products(at, v, FLAGS), cells.DERIVATIVES)


def test_outer_scan_with_remat():
    """Windows of a sequence, rematerialised, inside a scan that carries the state."""
    cell = cells.CELLS["lstm"]

    def loss(at, flags, plain):
        def window(carry, part):
            xs, flags = part
            return cells.run(cell, at._replace(carry=carry, xs=xs), flags, plain=plain)

        cut = lambda x: x.reshape(2, T // 2, *x.shape[1:])
        parts = jax.tree.map(cut, (at.xs, flags))
        return cells.scalar(jax.lax.scan(jax.checkpoint(window), at.carry, parts))

    flags = jax.tree.map(jnp.asarray, FLAGS)
    check_both(loss, cells.make_case(cell), flags)


@pytest.mark.parametrize("policy", ["dots_saveable", "nothing_saveable"])
def test_checkpoint_policies(policy):
    cell = cells.CELLS["lstm"]
    policy = getattr(jax.checkpoint_policies, policy)

    def loss(at, flags):
        return jax.checkpoint(lambda at: cells.loss(cell, at, flags), policy=policy)(at)

    got = evaluate(FIGURES["grad"], loss, cells.make_case(cell), FLAGS)
    cells.assert_close(got, plain_figures("lstm")["grad"], cells.DERIVATIVES)


@pytest.mark.parametrize("name", cells.CELLS)
def test_eval_shape(name):
    """Shapes of outputs and gradients are known without computing."""
    cell = cells.CELLS[name]
    at = cells.make_case(cell)
    carry, hs = jax.eval_shape(lambda at: cells.run(cell, at, FLAGS), at)
    assert jax.tree.map(jnp.shape, carry) == jax.tree.map(jnp.shape, at.carry)
    assert hs.shape == (T, *carry.h.shape)
    d = jax.eval_shape(jax.grad(lambda at: cells.loss(cell, at, FLAGS)), at)
    facts = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert facts(d) == facts(at)
    params = jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, at.params)


def test_without_jit():
    """The same numbers when the transformations are run one operation at a time."""
    cell = cells.CELLS["lstm"]
    at = cells.make_case(cell)
    got = jax.grad(lambda at: cells.loss(cell, at, FLAGS))(at)
    cells.assert_close(got, plain_figures("lstm")["grad"], cells.DERIVATIVES)


def test_a_product_may_be_taken_once():
    """A second product by one weight in a step would lose a gradient: it raises."""

    class Twice(cells.ResetBeforeGRUCell):
        def step(self, params, carry, gx, dot, *gates):
            dot("w_hn", carry.h)
            return super().step(params, carry, gx, dot, *gates)

    cell = Twice(cells.H)
    at = cells.make_case(cell)
    with pytest.raises(TypeError, match=r"step calls dot\('w_hn', a\) twice"):
        jax.grad(lambda at: cells.loss(cell, at))(at)


def test_an_undeclared_parameter_is_unseen():
    """A step that reads what it did not declare fails at once."""

    class Undeclared(cells.PeepholeLSTMCell):
        elementwise = ("b", "p_i", "p_f")

    cell = Undeclared(cells.H)
    with pytest.raises((TypeError, AttributeError)):
        cells.run(cell, cells.make_case(cell))
