"""The output layer of a language model and its loss, computed together in chunks.

    z = h kernel + bias          q = (1 - s) onehot(target) + s / V
    nats = log(sum(exp(z))) - sum(q z)          d nats / dz = softmax(z) - q

With a large vocabulary, the logits of all positions are the largest array of a training
step. They are written and read several times, and the products themselves take a third
of the time. Here each chunk of positions runs to the end, with its gradient by the
logits, while it is in the caches. So the logits are never in memory as a whole. With
10,000 words, 700 positions and 200 units this takes 0.75 of the time, hardly more than
the three products (two cores, float32).

Chunks are cut along the axes before the last batch axis, so each has all rows of a
batch. On a mesh that splits the batch, every device then computes its own rows.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float, Int
from lstm_jax.core.arguments import check_rate
from lstm_jax.core.precision import accumulation_dtype, as_asked, asked_precision
from lstm_jax.core.primitives.dot import dot
from lstm_jax.core.sharding import vary_alike

LOGITS = 2**21
"""Logits per chunk: few enough for the caches, and enough for large products. A chunk
has at least one step of all rows, which may be more."""

POSITIONS = (0, 1)
"""The axes of the steps and of the rows in a chunk."""


def linear_cross_entropy(
    hs: Float[Array, "*B H"],
    kernel: Float[Array, "H V"],
    bias: Float[Array, "V"],
    targets: Int[Array, "*B"],
    *,
    weights: Float[Array, "*B"] | None = None,
    smoothing: float = 0.0,
    dtype: Any = None,
) -> Float[Array, ""]:
    """Mean cross-entropy in nats of ``targets`` under ``softmax(hs @ kernel + bias)``.

    Args:
        hs: hidden states, the input of the output layer.
        kernel, bias: the weights of the output layer.
        targets: the correct classes, in ``[0, V)``.
        weights: the weight of every target in the mean, 0 for padding; ``None`` is 1
            for all. The mean of weights that are all 0 is 0. They have no gradient.
        smoothing: ``s``, the fraction of a target that is spread over all classes
            (Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016).
        dtype: dtype of the operands of products, by default the dtype of ``hs``. Sums
            and the softmax are in float32 or wider.

    Raises:
        ValueError: ``hs``, ``targets`` and ``weights`` differ in their leading axes, or
            are empty; or ``smoothing`` is not in ``[0, 1)``.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.models.cross_entropy import linear_cross_entropy
    >>> hs, targets = jnp.ones((7, 2, 3)), jnp.zeros((7, 2), jnp.int32)
    >>> print(f"{linear_cross_entropy(hs, jnp.ones((3, 4)), jnp.ones(4), targets):.4f}")
    1.3863
    """
    if hs.shape[:-1] != targets.shape or not targets.size:
        raise ValueError(
            f"hs has shape {hs.shape} and targets {targets.shape}, expected [..., H] "
            f"and [...] of the same, not empty, leading axes."
        )
    if weights is not None and weights.shape != targets.shape:
        raise ValueError(
            f"weights has shape {weights.shape} and targets {targets.shape}, expected "
            f"one weight for every target."
        )
    dtype = hs.dtype if dtype is None else dtype
    batch = targets.shape[-1] if targets.ndim > 1 else 1
    steps = targets.size // batch
    hs = hs.reshape(steps, batch, hs.shape[-1])
    piece = max(LOGITS // (kernel.shape[1] * batch), 1)
    pieces = -(-steps // piece)
    # Make the chunks as even as possible, so that the last is not mostly padding.
    piece = -(-steps // pieces)
    wide = accumulation_dtype(dtype)
    if weights is None:
        weights = jnp.full(targets.shape, 1 / targets.size, wide)
    else:
        weights = jax.lax.stop_gradient(weights).astype(wide)
        total = weights.sum()
        weights = weights / jnp.where(total > 0, total, 1)
    check_rate("smoothing", smoothing)
    static = piece, smoothing, jnp.dtype(dtype)
    by_step = (a.reshape(steps, batch) for a in (targets, weights))
    return _mean(static, asked_precision(), hs, kernel, bias, *by_step)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _mean(static, asked, hs, kernel, bias, targets, weights):
    arrays = hs, kernel, bias, targets, weights
    return as_asked(_nats)(static, *arrays, asked=asked)


def _nats(static, hs, kernel, bias, targets, weights):
    steps, smoothing, dtype = static
    narrow = kernel.astype(dtype)

    def piece(total, at):
        nats, _ = _nats_and_softmax(smoothing, narrow, bias, *at)
        return total + nats, None

    zero = jnp.zeros((), accumulation_dtype(dtype))
    start = vary_alike(zero, (hs, kernel, bias, targets))
    pieces = _pieces(steps, hs.astype(dtype), targets, weights)
    return jax.lax.scan(piece, start, pieces)[0]


@_mean.defjvp
def _derivative(static, asked, primals, tangents):
    """The derivative is a product with gradients that are already computed. So the
    backward pass costs nothing more, and forward mode and second derivatives work too.
    """
    nats, gradients = as_asked(_gradients)(static, *primals, asked=asked)
    wide = lambda a: a.astype(nats.dtype)
    products = (
        jnp.sum(wide(d) * wide(t)) for d, t in zip(gradients, tangents[:3], strict=True)
    )
    return nats, sum(products, jnp.zeros_like(nats))


def _gradients(static, hs, kernel, bias, targets, weights):
    """The loss, and its gradients by ``hs``, ``kernel`` and ``bias``."""
    steps, smoothing, dtype = static
    narrow = kernel.astype(dtype)

    def piece(sums, at):
        h, target, weight = at
        nats, softmax = _nats_and_softmax(smoothing, narrow, bias, *at)
        hit = jnp.arange(len(bias))[None, None] == target[..., None]
        weight = weight[..., None]
        d_z = softmax
        if smoothing:
            d_z = d_z - (smoothing / len(bias)) * weight
        d_z = jnp.where(hit, d_z - (1 - smoothing) * weight, d_z)
        d_bias = d_z.sum(POSITIONS)
        d_z = d_z.astype(h.dtype)
        d_h, d_kernel = dot(d_z, narrow, (2, 1)), dot(h, d_z, (POSITIONS, POSITIONS))
        sums = jax.tree.map(jnp.add, sums, (nats, d_kernel, d_bias))
        return sums, d_h.astype(hs.dtype)

    zeros = lambda *shape: jnp.zeros(shape, accumulation_dtype(dtype))
    start = (zeros(), zeros(*kernel.shape), zeros(*bias.shape))
    start = vary_alike(start, (hs, kernel, bias, targets))
    pieces = _pieces(steps, hs.astype(dtype), targets, weights)
    (nats, *by), d_hs = jax.lax.scan(piece, start, pieces)
    d_hs = d_hs.reshape(-1, *hs.shape[1:])[: len(hs)]
    return nats, (d_hs, *by)


def _nats_and_softmax(smoothing, kernel, bias, h, target, weight):
    """For one chunk: the weighted sum of the nats, and the weighted softmax of every
    row.
    """
    z = dot(h, kernel, (2, 0)) + bias[None, None].astype(weight.dtype)
    top = jax.lax.stop_gradient(z.max(axis=-1, keepdims=True))
    e = jnp.exp(z - top)
    total = e.sum(axis=-1)
    picked = jnp.take_along_axis(z, target[..., None], axis=-1)[..., 0]
    if smoothing:
        picked = (1 - smoothing) * picked + smoothing * z.mean(axis=-1)
    nats = jnp.log(total) + top[..., 0] - picked
    return (weight * nats).sum(), e * (weight / total)[..., None]


def _pieces(steps, hs, targets, weights):
    """Chunks ``[steps, rows, ...]``, and the weights in the mean: 0 for steps of
    padding."""
    more = -len(hs) % steps

    def cut(a):
        filled = jnp.pad(a, [(0, more), *[(0, 0)] * (a.ndim - 1)])
        return filled.reshape(-1, steps, *a.shape[1:])

    return cut(hs), cut(targets), cut(weights)
