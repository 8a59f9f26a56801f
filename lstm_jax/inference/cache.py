"""The continuous cache: recent words, found by the hidden states that they followed.

    p(w) = (1 - share) p_model(w) + share p_cache(w)
    p_cache(w)  ~  sum over t - size <= i < t of  [w = x_{i+1}] exp(theta h_t . h_i)

``h_t`` is what the output layer reads when it predicts ``x_{t+1}``. The cache needs no
training and changes no parameter. An empty cache gives ``p = p_model``.

Grave, Joulin & Usunier, "Improving Neural Language Models with a Continuous Cache",
ICLR 2017.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float, Int
from lstm_jax.core.arguments import check_floating, check_rate
from lstm_jax.core.primitives.matmul import matmul
from lstm_jax.data.checks import check_count

NONE = -1
"""The target of an empty place of the cache."""


class Cache(NamedTuple):
    """The last ``size`` states and the token that followed each, oldest first."""

    hs: Float[Array, "S H"]
    targets: Int[Array, "S"]

    @classmethod
    def empty(cls, size: int, hidden_size: int, dtype=jnp.float32) -> "Cache":
        """A cache of ``size`` empty places."""
        size = check_count("size", size)
        hidden_size = check_count("hidden_size", hidden_size)
        hs = jnp.zeros((size, hidden_size), dtype)
        return cls(hs, jnp.full((size,), NONE, jnp.int32))


def cache_nats(
    cache: Cache,
    hs: Float[Array, "T H"],
    targets: Int[Array, "T"],
    model_nats: Float[Array, "T"],
    *,
    theta: float,
    share: float,
    chunk: int = 256,
) -> tuple[Cache, Float[Array, "T"]]:
    """``-log p(target)`` of the model with a cache, and the updated cache.

    A stream may come in pieces of any length: pass the cache on to the next piece. The
    scores are computed ``chunk`` steps at a time. Each chunk looks back over
    ``size + chunk`` states, which limits the memory.

    Args:
        cache: the cache so far; `Cache.empty` at the start.
        hs: states ``[T, H]`` of one stream, as the output layer reads them.
        targets: the tokens that follow them, 0 or more.
        model_nats: ``-log p_model(target)``.
        theta: weight of similar states: a token counts more if it followed a similar
            state. 0 counts the last ``size`` tokens equally.
        share: fraction of the cache in the prediction, in ``[0, 1)``. 0 is the model
            alone.
        chunk: steps computed at a time.

    Raises:
        TypeError: ``hs`` or ``model_nats`` is not floating point, or ``targets`` are
            not integers.
        ValueError: shapes do not match, ``hs`` has another dtype than the cache, or
            ``share`` is out of range.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.inference import Cache, cache_nats
    >>> hs = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> targets = jnp.array([7, 8, 7])  # the third state is the first again
    >>> half = jnp.full(3, 0.6931)
    >>> cache = Cache.empty(size=10, hidden_size=2)
    >>> cache, nats = cache_nats(cache, hs, targets, half, theta=2.0, share=0.5)
    >>> jnp.exp(-nats).round(2).tolist()
    [0.5, 0.25, 0.6899999976158142]
    """
    hs, targets = check_floating("hs", hs), jnp.asarray(targets)
    model_nats = check_floating("model_nats", model_nats)
    _check(cache, hs, targets, model_nats)
    check_rate("share", share)
    chunk = min(check_count("chunk", chunk), len(hs))
    if not len(hs):
        return cache, model_nats
    return _cache_nats(chunk, cache, hs, targets, model_nats, theta, share)


def _check(cache, hs, targets, model_nats):
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise TypeError(
            f"targets has dtype {targets.dtype.name}, expected integers, one per state."
        )
    if hs.ndim != 2 or not targets.shape == hs.shape[:1] == model_nats.shape:
        raise ValueError(
            f"hs, targets and model_nats have shapes {hs.shape}, {targets.shape} and "
            f"{model_nats.shape}, expected [T, H], [T] and [T]; pass one stream, and "
            f"use jax.vmap for several."
        )
    if cache.hs.shape[1:] != hs.shape[1:] or cache.hs.dtype != hs.dtype:
        raise ValueError(
            f"hs has {hs.shape[1]} units in {hs.dtype.name}, but the cache holds "
            f"{cache.hs.shape[1]} in {cache.hs.dtype.name}; make it with "
            f"Cache.empty(size, {hs.shape[1]}, jnp.{hs.dtype.name})."
        )


@functools.partial(jax.jit, static_argnums=0)
def _cache_nats(chunk, cache, hs, targets, model_nats, theta, share):
    steps, size = len(hs), len(cache.targets)
    # Step t of this piece looks back over entries t to t + size - 1 of this array.
    hs = jnp.concatenate([cache.hs, hs])
    targets = jnp.concatenate([cache.targets, targets.astype(jnp.int32)])
    cache = Cache(hs[steps:], targets[steps:])
    chunks = -(-steps // chunk)
    fill = chunks * chunk - steps
    hs = jnp.pad(hs, ((0, fill), (0, 0)))
    targets = jnp.pad(targets, (0, fill), constant_values=NONE)
    place = jnp.arange(size + chunk)[None] - jnp.arange(chunk)[:, None]
    band = (place >= 0) & (place < size)

    def look_back(first):
        h = jax.lax.dynamic_slice_in_dim(hs, first, size + chunk)
        x = jax.lax.dynamic_slice_in_dim(targets, first, size + chunk)
        scores = theta * matmul(h[size:], h, transpose_w=True)
        scores = jnp.where(band & (x != NONE)[None], scores, -jnp.inf)
        found = jnp.where(x[size:, None] == x[None], scores, -jnp.inf)
        return jax.nn.logsumexp(found, axis=-1), jax.nn.logsumexp(scores, axis=-1)

    sums = jax.lax.map(look_back, jnp.arange(chunks) * chunk)
    found, total = (s.reshape(-1)[:steps].astype(model_nats.dtype) for s in sums)
    empty = jnp.isneginf(total)
    log_p_cache = found - jnp.where(empty, 0, total)
    mixed = jnp.logaddexp(jnp.log1p(-share) - model_nats, jnp.log(share) + log_p_cache)
    return cache, jnp.where(empty, model_nats, -mixed)
