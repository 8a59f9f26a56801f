"""Every way to differentiate agrees with the plain scan, for every cell, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from tests import cells
from tests.shapes import LENGTHS, B, D, T

pytestmark = pytest.mark.usefixtures("x64")

FLAGS = cells.make_flags()


def inner(a, b):
    return sum(jnp.vdot(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b))))


def hessian(f, at, v):
    flat, unflatten = ravel_pytree(at)
    return jax.hessian(lambda flat: f(unflatten(flat)))(flat)


def slope(f, at, v):
    return jax.jvp(f, (at,), (v,))[1]


MODES = {
    "grad": lambda f, at, v: jax.grad(f)(at),
    "jvp": lambda f, at, v: jax.jvp(f, (at,), (v,)),
    "linearize": lambda f, at, v: jax.linearize(f, at)[1](v),
    "hessian": hessian,
    "forward over reverse": lambda f, at, v: jax.jvp(jax.grad(f), (at,), (v,)),
    "reverse over reverse": lambda f, at, v: jax.grad(
        lambda at: inner(jax.grad(f)(at), v)
    )(at),
    "reverse over forward": lambda f, at, v: jax.grad(lambda at: slope(f, at, v))(at),
    "forward over forward": lambda f, at, v: jax.jvp(
        lambda at: slope(f, at, v), (at,), (v,)
    ),
    "checkpoint": lambda f, at, v: jax.grad(jax.checkpoint(f))(at),
    "checkpoint, twice": lambda f, at, v: jax.jvp(
        jax.grad(jax.checkpoint(f)), (at,), (v,)
    ),
    "grad by carries and inputs": lambda f, at, v: jax.grad(
        lambda rest: f(rest._replace(params=at.params))
    )(at),
    "grad by recurrent weights": lambda f, at, v: jax.grad(
        lambda w: f(at._replace(params=at.params._replace(w_h=w)))
    )(at.params.w_h),
}


def both(mode, loss, at, *args):
    """``mode`` of the rule's loss and of the plain loss, jitted."""
    v = cells.draw(at, seed=5)
    for plain in (False, True):
        f = functools.partial(loss, plain=plain)
        yield jax.jit(lambda at, v, *args, f=f: mode(lambda at: f(at, *args), at, v))(
            at, v, *args
        )


def check_mode(mode, name, flags=FLAGS, **options):
    cell = cells.CELLS[name]
    loss = functools.partial(cells.loss, cell, **options)
    got, want = both(MODES[mode], loss, cells.make_case(cell), flags)
    cells.assert_close(got, want, cells.DERIVATIVES)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", cells.CELLS)
def test_with_mask_and_resets(name, mode):
    check_mode(mode, name)


@pytest.mark.parametrize("mode", ["grad", "forward over reverse"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize(
    "options", [{}, {"lengths": LENGTHS}, {"reverse": True, "lengths": LENGTHS}]
)
def test_with_lengths_or_nothing(name, mode, options):
    check_mode(mode, name, cells.Flags(), **options)


@pytest.mark.parametrize("mode", ["grad", "reverse over reverse"])
@pytest.mark.parametrize("name", cells.CELLS)
def test_backwards_in_time(name, mode):
    check_mode(mode, name, reverse=True)


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


@pytest.mark.parametrize("mode", ["grad", "forward over reverse", "hessian"])
def test_outer_scan_with_remat(mode):
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
    got, want = both(MODES[mode], loss, cells.make_case(cell), flags)
    cells.assert_close(got, want, cells.DERIVATIVES)


@pytest.mark.parametrize("policy", ["dots_saveable", "nothing_saveable"])
def test_checkpoint_policies(policy):
    cell = cells.CELLS["lstm"]
    policy = getattr(jax.checkpoint_policies, policy)

    def loss(at, flags, plain):
        f = lambda at: cells.loss(cell, at, flags, plain=plain)
        return jax.checkpoint(f, policy=policy)(at)

    got, want = both(MODES["grad"], loss, cells.make_case(cell), FLAGS)
    cells.assert_close(got, want, cells.DERIVATIVES)


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
    """The same numbers when every operation is dispatched on its own."""
    cell = cells.CELLS["lstm"]
    at = cells.make_case(cell)
    with jax.disable_jit():
        got = jax.grad(lambda at: cells.loss(cell, at, FLAGS))(at)
    want = jax.grad(lambda at: cells.loss(cell, at, FLAGS, plain=True))(at)
    cells.assert_close(got, want, cells.DERIVATIVES)


def test_a_product_may_be_taken_once():
    """A second product by one weight in a step would lose a gradient: it raises."""

    class Twice(cells.GRU):
        def step(self, params, carry, gx, dot):
            dot("w_n", carry.h)
            return super().step(params, carry, gx, dot)

    cell = Twice(cells.H)
    at = cells.make_case(cell)
    with pytest.raises(ValueError, match=r"dot\('w_n'\) is called twice"):
        jax.grad(lambda at: cells.loss(cell, at))(at)


def test_an_undeclared_parameter_is_unseen():
    """A step that reads what it did not declare fails at once."""

    class Undeclared(cells.PeepholeLSTM):
        elementwise = ("p_i", "p_f")

    cell = Undeclared(cells.H)
    with pytest.raises((TypeError, AttributeError)):
        cells.run(cell, cells.make_case(cell))


def test_constants_stay_out():
    """A gradient by the inputs alone leaves no trace of the weights' gradient."""
    cell = cells.CELLS["lstm"]
    at = cells.make_case(cell)
    d = jax.grad(lambda xs: cells.loss(cell, at._replace(xs=xs)))(at.xs)
    assert d.shape == (T, B, D)
    assert np.isfinite(d).all()
