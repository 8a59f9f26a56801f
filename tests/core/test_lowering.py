"""The gradient of a layer lowers for machines that this one is not."""

import functools

import jax
import jax.numpy as jnp
import pytest

from lstm_jax import init_lstm, lstm
from tests import cells
from tests.lowered import full_products, products_of

T, B, D, H = 5, 2, 3, 4


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_lowers(platform, dtype):
    """The implementation chosen here is one that lowers there."""
    params = init_lstm(jax.random.key(0), D, H)
    xs = jnp.ones((T, B, D))

    def loss(params, xs, lengths):
        return (lstm(params, None, xs, lengths=lengths, dtype=dtype)[1] ** 2).sum()

    traced = jax.jit(jax.grad(loss)).trace(params, xs, jnp.array([5, 2]))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    native = platform == "cpu"
    assert ("lstm_jax_backward" in text) == native
    assert ("stablehlo.while" in text) == (not native)
    # The kernel takes all the products, forwards and backwards.
    assert ("stablehlo.dot_general" in text) == (not native)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("name", cells.CELLS)
def test_every_cell_lowers(platform, name):
    assert lowered(cells.CELLS[name], platform)


def lowered(cell, platform, dtype=jnp.float32):
    at = cells.make_case(cell, dtype)
    loss = lambda at: cells.loss(cell, at, cells.make_flags(), remat=True)
    traced = jax.jit(jax.grad(loss)).trace(at)
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("name", cells.CELLS)
def test_products_keep_all_bits(name):
    """Other devices would round float32 by default. What the user sets decides."""
    every = {}
    for setting in (None, "tensorfloat32"):
        with jax.default_matmul_precision(setting):
            products = products_of(lowered(cells.CELLS[name], "cuda"))
        every[setting] = {("HIGHEST" in product) for product in products}
    assert every == {None: {True}, "tensorfloat32": {False}}


@pytest.mark.parametrize("around", [None, "tensorfloat32"])
@pytest.mark.parametrize("traced_first", [False, True])
@pytest.mark.parametrize("implementation", ["scan", "native", "newton"])
def test_precision_of_a_part_of_a_program(implementation, traced_first, around):
    """The setting where a function is called also holds for its gradient."""
    inside = None if around else "tensorfloat32"
    args = init_lstm(jax.random.key(0), D, H), jnp.ones((T, B, D))

    def loss(params, xs):
        return (lstm(params, None, xs, implementation=implementation)[1] ** 2).sum()

    of = functools.partial(full_products, loss, args)
    everywhere = of(inside=inside, around=inside)
    assert of(inside=inside, around=around, traced_first=traced_first) == everywhere
    assert of(inside=around, around=around) != everywhere
    if implementation != "newton":  # it keeps all bits of Jacobians
        full, products = everywhere
        assert full == (products if inside is None else 0)
