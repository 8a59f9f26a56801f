"""Products of 16-bit matrices: their values, their gradients, and what XLA is given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from lstm_jax.core.primitives.dot import dot
from lstm_jax.core.primitives.matmul import matmul

NARROW = [jnp.bfloat16, jnp.float16]


def example(*shapes, dtype=jnp.bfloat16):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    drawn = map(jax.random.normal, keys, shapes)
    return [a.astype(dtype) for a in drawn]


def wide(a):
    return np.asarray(a.astype(jnp.float32), np.float64)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("axes", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_sums_are_those_of_float32(dtype, axes):
    shapes = [(7, 5) if axis == 0 else (5, 7) for axis in axes]
    a, b = example(*shapes, dtype=dtype)
    expected = np.tensordot(wide(a), wide(b), axes)
    found = jax.jit(dot, static_argnums=2)(a, b, axes)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    # XLA for CPUs cannot run a product that is read transposed.
    turned = jax.jit(lambda a, b: dot(a, b, axes).T)(a, b)
    np.testing.assert_allclose(turned, expected.T, rtol=1e-5, atol=1e-5)


def test_batches():
    a, b = example((4, 6, 8), (4, 6, 7))
    each = np.einsum("nij,nik->njk", wide(a), wide(b))
    found = jax.jit(jax.vmap(lambda a, b: dot(a, b, (0, 0))))(a, b)
    np.testing.assert_allclose(found, each, rtol=1e-5, atol=1e-5)
    last = jax.vmap(lambda a, b: dot(a, b, (0, 0)), in_axes=(2, None), out_axes=2)
    expected = np.einsum("nij,ik->jkn", wide(a), wide(b[0]))
    found = last(jnp.moveaxis(a, 0, 2), b[0])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def operands(dtype):
    """The dtypes that the products of a gradient multiply."""
    a, w = example((6, 5), (5, 4), dtype=dtype)
    loss = lambda a, w: jnp.sin(matmul(a, w.astype(jnp.float32))).sum()
    text = jax.jit(jax.grad(loss, (0, 1))).lower(a, w).as_text()
    lines = [line for line in text.splitlines() if "dot_general" in line]
    return [line.rsplit(": ", 1)[1] for line in lines]


def test_gradients_in_bfloat16_are_products_of_bfloat16():
    found = operands(jnp.bfloat16)
    assert len(found) == 3
    for line in found:
        taken, made = line.split("->")
        assert taken.count("xbf16>") == 2
        assert "xf32>" in made


def test_gradients_in_float16_stay_wide():
    """Their range is too small for gradients."""
    forward, *backward = operands(jnp.float16)
    assert forward.split("->")[0].count("xf16>") == 2
    assert len(backward) == 2
    for line in backward:
        assert line.split("->")[0].count("xf32>") == 2


def test_gradients_are_near_those_of_float32():
    a, w = example((40, 30), (30, 20))
    loss = lambda a, w: jnp.sin(matmul(a, w) / 5).sum()
    second = lambda a, w: jnp.square(jax.grad(loss, 1)(a, w)).sum()
    for f in (loss, second):
        found = jax.jit(jax.grad(f, (0, 1)))(a, w)
        expected = jax.grad(f, (0, 1))(a.astype(jnp.float32), w.astype(jnp.float32))
        for x, y in zip(found, expected, strict=True):
            error = np.abs(wide(x) - wide(y)).max() / np.abs(wide(y)).max()
            assert error < 2e-2


def test_an_exported_program_needs_no_custom_call():
    a, w = example((6, 5), (5, 4))
    f = jax.jit(jax.grad(lambda a, w: matmul(a, w).sum(), (0, 1)))
    found = export.deserialize(export.export(f)(a, w).serialize()).call(a, w)
    for x, y in zip(found, f(a, w), strict=True):
        np.testing.assert_array_equal(x, y)
