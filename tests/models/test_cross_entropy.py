"""The output layer and its loss in one: the numbers of optax, in every derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lstm_jax.models import cross_entropy
from lstm_jax.models.cross_entropy import linear_cross_entropy
from tests.lowered import full_products

T, B, H, V = 5, 3, 4, 6


@pytest.fixture(params=[V, 4 * V, 1000], ids=["rows", "pieces", "whole"])
def cut(request, monkeypatch):
    """One position at a time, four of them with one to fill up, all of them."""
    monkeypatch.setattr(cross_entropy, "LOGITS", request.param)


def example(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 4)
    hs = jax.random.normal(keys[0], (T, B, H), dtype)
    kernel = jax.random.normal(keys[1], (H, V))
    bias = jax.random.normal(keys[2], (V,))
    return (hs, kernel, bias), jax.random.randint(keys[3], (T, B), 0, V)


def by_optax(hs, kernel, bias, targets):
    logits = hs.astype(kernel.dtype) @ kernel + bias[None, None]
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return nats.mean()


def close(got, want, rtol):
    for a, b in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        assert a.dtype == b.dtype
        b = np.asarray(b, np.float32)
        np.testing.assert_allclose(
            np.asarray(a, np.float32), b, rtol=0, atol=rtol * np.abs(b).max()
        )


@pytest.mark.usefixtures("cut", "optax_promotion")
def test_loss_and_gradients():
    weights, targets = example()
    both = (jax.value_and_grad(f, (0, 1, 2)) for f in (linear_cross_entropy, by_optax))
    close(*(f(*weights, targets) for f in both), rtol=2e-6)


@pytest.mark.usefixtures("cut", "optax_promotion")
def test_forward_mode_and_second_derivatives():
    weights, targets = example()
    directions = jax.tree.map(
        lambda a: jnp.cos(jnp.arange(a.size)).reshape(a.shape), weights
    )
    hvps = []
    for f in (linear_cross_entropy, by_optax):
        loss = lambda w, f=f: f(*w, targets)
        hvps.append(jax.jvp(jax.grad(loss), (weights,), (directions,)))
        hvps.append(jax.jvp(loss, (weights,), (directions,)))
    close(hvps[:2], hvps[2:], rtol=5e-6)


@pytest.mark.usefixtures("optax_promotion")
def test_bfloat16_operands():
    weights, targets = example(jnp.bfloat16)
    both = (jax.value_and_grad(f, (0, 1, 2)) for f in (linear_cross_entropy, by_optax))
    close(*(f(*weights, targets) for f in both), rtol=2e-2)


def test_logits_are_never_whole(monkeypatch):
    monkeypatch.setattr(cross_entropy, "LOGITS", 4 * V)
    weights, targets = example()
    gradient = jax.grad(linear_cross_entropy, (0, 1, 2))
    text = str(jax.make_jaxpr(gradient)(*weights, targets))
    assert f"f32[4,{V}]" in text
    assert f"[{T * B},{V}]" not in text
    assert f"[4,4,{V}]" not in text


@pytest.mark.usefixtures("x64", "optax_promotion")
def test_float64_stays_float64(monkeypatch):
    monkeypatch.setattr(cross_entropy, "LOGITS", 4 * V)
    weights, targets = example(jnp.float64)
    weights = jax.tree.map(lambda a: a.astype(jnp.float64), weights)
    both = (jax.value_and_grad(f, (0, 1, 2)) for f in (linear_cross_entropy, by_optax))
    (got, d_got), (want, d_want) = (f(*weights, targets) for f in both)
    assert got.dtype == jnp.float64
    for a, b in zip((got, *d_got), (want, *d_want), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


@pytest.mark.usefixtures("optax_promotion")
def test_rows_spread_over_devices():
    """Under ``shard_map`` every device takes the mean of its own rows."""
    weights, targets = example()
    hs, kernel, bias = (
        jnp.concatenate([a, a], 1) if a.ndim == 3 else a for a in weights
    )
    targets = jnp.concatenate([targets, targets], 1)
    mesh = jax.sharding.Mesh(jax.devices("cpu")[:2], ("rows",))

    def loss(hs, kernel, bias, targets):
        return jax.lax.pmean(linear_cross_entropy(hs, kernel, bias, targets), "rows")

    spec = jax.sharding.PartitionSpec
    rows, whole = spec(None, "rows"), spec()
    spread = jax.shard_map(
        loss, mesh=mesh, in_specs=(rows, whole, whole, rows), out_specs=whole
    )
    both = (jax.jit(jax.value_and_grad(f, (0, 1, 2))) for f in (spread, by_optax))
    close(*(f(hs, kernel, bias, targets) for f in both), rtol=2e-6)


@pytest.mark.parametrize("shape", [(T, 1), (T * B,), (0, B)])
def test_axes_that_do_not_fit(shape):
    (hs, kernel, bias), _ = example()
    hs = hs[: shape[0]] if shape[0] < T else hs
    with pytest.raises(ValueError, match="of the same, not empty, leading axes"):
        linear_cross_entropy(hs, kernel, bias, jnp.zeros(shape, jnp.int32))


@pytest.mark.usefixtures("cut", "optax_promotion")
def test_weights_and_smoothing():
    """Padding of weight 0 counts for nothing, and targets are smoothed."""
    weights, targets = example()
    counts = jnp.asarray(np.random.default_rng(0).integers(0, 3, (T, B)), jnp.float32)

    def by_definition(hs, kernel, bias, targets):
        log_p = jax.nn.log_softmax(hs @ kernel + bias[None, None])
        q = optax.smooth_labels(jax.nn.one_hot(targets, V), 0.2)
        return -(counts * (q * log_p).sum(-1)).sum() / counts.sum()

    def found(*args):
        return linear_cross_entropy(*args, weights=counts, smoothing=0.2)

    both = (jax.value_and_grad(f, (0, 1, 2)) for f in (found, by_definition))
    close(*(f(*weights, targets) for f in both), rtol=2e-6)
    nothing = linear_cross_entropy(*weights, targets, weights=jnp.zeros((T, B)))
    assert nothing == 0
    with pytest.raises(ValueError, match="one weight for every target"):
        linear_cross_entropy(*weights, targets, weights=counts.T)


@pytest.mark.parametrize("around", [None, "tensorfloat32"])
@pytest.mark.parametrize("traced_first", [False, True])
def test_precision_of_the_call_holds_for_its_gradient(traced_first, around):
    inside = None if around else "tensorfloat32"
    (hs, kernel, bias), targets = example()
    loss = lambda hs: linear_cross_entropy(hs, kernel, bias, targets)
    full, products = full_products(
        loss, (hs,), inside=inside, around=around, traced_first=traced_first
    )
    assert products
    assert full == (products if inside is None else 0)
