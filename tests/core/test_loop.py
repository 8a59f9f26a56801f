"""The gradient of a weight is no longer made in the backward loop."""

import jax
import pytest

from tests import cells


def subjaxprs(value):
    if isinstance(value, tuple | list):
        for part in value:
            yield from subjaxprs(part)
    elif hasattr(value, "eqns"):
        yield value
    elif hasattr(value, "jaxpr"):
        yield value.jaxpr


def scan_outputs(jaxpr):
    """Shapes of the outputs of the bodies of all scans, however deep."""
    shapes = set()
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan":
            shapes |= {aval.shape for aval in eqn.params["jaxpr"].out_avals}
        for inner in subjaxprs(list(eqn.params.values())):
            shapes |= scan_outputs(inner)
    return shapes


TRANSFORMS = {
    "grad": jax.grad,
    "grad of checkpoint": lambda f: jax.grad(jax.checkpoint(f)),
    "jit of grad": lambda f: jax.jit(jax.grad(f)),
}


@pytest.mark.parametrize("plain", [False, True], ids=["rule", "plain"])
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("name", [n for n, c in cells.CELLS.items() if c.products])
def test_weight_gradients_left_the_loop(name, transform, plain):
    """With the rule no scan outputs a weight's shape; the plain scan has them all."""
    cell = cells.CELLS[name]
    at = cells.make_case(cell, "float32")
    f = transform(lambda at: cells.loss(cell, at, cells.make_flags(), plain=plain))
    shapes = scan_outputs(jax.make_jaxpr(f)(at).jaxpr)
    weights = {w.shape for w in cell.weights(at.params).values()}
    assert at.carry.h.shape in shapes
    assert shapes & weights == (weights if plain else set())


@pytest.mark.parametrize("name", cells.CELLS)
def test_nothing_wider_than_needed_is_stored(name):
    """Forward evaluation alone stacks the outputs and nothing else."""
    cell = cells.CELLS[name]
    at = cells.make_case(cell, "float32")
    jaxpr = jax.make_jaxpr(lambda at: cells.unroll(cell, at.params, at.carry, at.xs))(
        at
    )
    hs = (cells.T, *at.carry.h.shape)
    carries = {part.shape for part in at.carry}
    assert scan_outputs(jaxpr.jaxpr) <= {hs, hs[1:], *carries}
