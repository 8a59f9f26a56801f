"""Penalties on activations, against loops over steps and rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import activation_penalty, temporal_activation_penalty
from tests import cells
from tests.shapes import B, H, T

FLAGS = cells.make_flags()
HS = cells.draw(jax.ShapeDtypeStruct((T, B, H), jnp.float32), 0, scale=1.0)
PENALTIES = [activation_penalty, temporal_activation_penalty]


def mean_square(vectors):
    return np.mean(np.square(vectors)) if vectors else 0.0


def activation(hs, mask):
    steps, rows, _ = hs.shape
    real = [hs[t, b] for b in range(rows) for t in range(steps) if mask[t, b]]
    return mean_square(real)


def temporal_activation(hs, mask, resets):
    changes = []
    for b in range(hs.shape[1]):
        for t in range(1, hs.shape[0]):
            if mask[t, b] and mask[t - 1, b] and not resets[t, b]:
                changes.append(hs[t, b] - hs[t - 1, b])
    return mean_square(changes)


@pytest.mark.parametrize("resets", [False, True], ids=["one episode", "resets"])
@pytest.mark.parametrize("mask", [False, True], ids=["all", "mask"])
@pytest.mark.parametrize("steps", [0, 1, 2, T])
def test_against_loops(steps, mask, resets, x64):
    hs = HS[:steps].astype(jnp.float64)
    mask = FLAGS.mask[:steps] if mask else None
    resets = FLAGS.resets[:steps] if resets else None
    every, none = np.ones((steps, B), bool), np.zeros((steps, B), bool)
    real = every if mask is None else mask
    starts = none if resets is None else resets
    got = jax.jit(activation_penalty)(hs, mask=mask)
    np.testing.assert_allclose(got, activation(np.asarray(hs), real), rtol=1e-13)
    got = jax.jit(temporal_activation_penalty)(hs, mask=mask, resets=resets)
    want = temporal_activation(np.asarray(hs), real, starts)
    np.testing.assert_allclose(got, want, rtol=1e-13)
    assert got.shape == ()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_batch_axes(penalty):
    """None, or several: the mean is over all rows alike."""
    rows = [penalty(HS[:, row]) for row in range(B)]
    np.testing.assert_allclose(penalty(HS), np.mean(rows), rtol=1e-6)
    np.testing.assert_array_equal(penalty(HS[:, :, None]), penalty(HS))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_rubbish_in_the_padding(penalty, bad):
    """Values, gradients and tangents are finite, and those of clean padding."""
    mask = FLAGS.mask

    @jax.jit
    def figures(hs):
        f = lambda hs: penalty(hs, mask=mask)
        return *jax.value_and_grad(f)(hs), jax.jvp(f, (hs,), (jnp.cos(HS),))[1]

    fill = lambda value: jnp.where(mask[..., None], HS, value)
    for got, want in zip(figures(fill(bad)), figures(fill(0.0)), strict=True):
        assert np.isfinite(got).all()
        np.testing.assert_array_equal(got, want)
    assert np.any(figures(HS)[1][mask])
    assert not np.any(figures(fill(bad))[1][~mask])


@pytest.mark.parametrize("penalty", PENALTIES)
def test_nothing_to_count(penalty):
    """No step, no row, or all masked: 0, with gradients of 0."""
    nothing = jnp.zeros((T, B), bool)
    value, d = jax.value_and_grad(penalty)(HS, mask=nothing)
    assert value == 0
    assert not np.any(d)
    for empty in (HS[:0], HS[:, :0]):
        assert penalty(empty) == 0


@pytest.mark.parametrize("penalty", PENALTIES)
def test_sixteen_bits_are_summed_in_float32(penalty):
    hs = jnp.tile(HS.astype(jnp.bfloat16), (1, 500, 1))
    got = penalty(hs)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, penalty(hs.astype(jnp.float32)), rtol=1e-6)
    assert jax.grad(penalty)(hs).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (dict(hs=HS.astype(int)), TypeError, "hs has dtype int32, expected a floating"),
        (dict(hs=HS[0, 0]), ValueError, r"hs has shape \(5,\), expected time-major"),
        (dict(mask=FLAGS.mask.T), ValueError, r"mask has shape \(3, 6\).* axes of hs"),
        (dict(mask=HS[..., 0]), TypeError, "mask has dtype float32, expected bool"),
    ],
)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_errors(penalty, wrong, error, message):
    with pytest.raises(error, match=message):
        penalty(**{"hs": HS} | wrong)


def test_resets_of_another_shape():
    with pytest.raises(ValueError, match=r"resets has shape \(6,\), expected \(6, 3\)"):
        temporal_activation_penalty(HS, resets=FLAGS.resets[:, 0])
