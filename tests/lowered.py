"""What stands in a lowered program."""

import re

import jax

PRODUCTS = re.compile(r"stablehlo\.(?:dot_general|convolution)\b.*")


def products_of(text: str) -> list[str]:
    """The lines of products, each with its precision."""
    return PRODUCTS.findall(text)


def full_products(loss, args, *, inside, around, traced_first=False):
    """How many products of the gradient keep all bits, and how many there are.

    ``inside`` is the precision that is set where ``loss`` is called, and ``around`` the
    one where its gradient is taken.
    """

    def called(*args):
        with jax.default_matmul_precision(inside):
            return loss(*args)

    # A derivative that was traced under another setting could hide a failure.
    jax.clear_caches()
    gradient = jax.grad(jax.jit(called) if traced_first else called)
    with jax.default_matmul_precision(around):
        traced = jax.jit(gradient).trace(*args)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    products = products_of(text)
    return sum("HIGHEST" in product for product in products), len(products)
