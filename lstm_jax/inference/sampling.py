"""Samples the next token from logits.

    temperature T    z_v = (l_v - max l) / T; T = 0 takes the most likely token
    top-k            the k largest z
    top-p            of those, the smallest set of the likeliest whose mass is p or more
    a token          v with probability exp(z_v) / sum over those left

Ackley, Hinton & Sejnowski, "A Learning Algorithm for Boltzmann Machines", 1985; Fan,
Lewis & Dauphin, "Hierarchical Neural Story Generation", ACL 2018; Holtzman et al., "The
Curious Case of Neural Text Degeneration", ICLR 2020.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Float, Int, Key
from lstm_jax.core.arguments import check_floating, check_key

_TINY = float(np.finfo(np.float32).tiny)
"""Replaces smaller temperatures, which would become 0 in float32. The inverse of a
temperature above ``1 / _TINY`` would become 0 too."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How to draw a token. The default uses the model's distribution. A static argument
    of ``jit``.

    Raises:
        ValueError: a value is out of its range.

    >>> from lstm_jax.inference import Sampling
    >>> Sampling(temperature=0.7, top_p=0.9)
    Sampling(temperature=0.7, top_k=0, top_p=0.9)
    """

    temperature: float = 1.0
    """Divides the logits; 0 takes the most likely token."""
    top_k: int = 0
    """The number of most likely tokens to choose from; 0 for all."""
    top_p: float = 1.0
    """The least total probability of the tokens to choose from. Below 1, all tokens are
    sorted, or only ``top_k`` tokens, which is faster."""

    def __post_init__(self):
        if not _is_number(self.temperature) or not 0 <= self.temperature < math.inf:
            raise ValueError(
                f"temperature is {self.temperature!r}, expected a number, 0 or more; "
                f"0 takes the most likely token."
            )
        whole = isinstance(self.top_k, int | np.integer)
        if isinstance(self.top_k, bool) or not whole or self.top_k < 0:
            raise ValueError(
                f"top_k is {self.top_k!r}, expected an integer, 0 or more; "
                f"0 leaves all tokens."
            )
        if not _is_number(self.top_p) or not 0 < self.top_p <= 1:
            raise ValueError(
                f"top_p is {self.top_p!r}, expected a number in (0, 1]; "
                f"1 leaves all tokens."
            )


def _is_number(value):
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool)


def filter_logits(
    logits: Float[Array, "*B V"], sampling: Sampling
) -> Float[Array, "*B V"]:
    """Logits of the distribution that ``sampling`` draws from, in float32.

        temperature T    z_v = (l_v - max l) / T; T = 0 takes the most likely token
        top-k            the k largest z
        top-p            of those, the smallest set of the likeliest whose mass is p
                         or more

    Among equal logits, lower indices count as more likely. So top-k keeps exactly ``k``
    tokens (or all, if there are fewer), and at least one token is always kept. The
    largest logit is 0, and excluded tokens have ``-inf``.

    Raises:
        TypeError: ``logits`` is not floating point.
        ValueError: ``logits`` has no last axis, or an empty one.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.inference import Sampling, filter_logits
    >>> logits = jnp.array([1.0, 3.0, 2.0, 3.0])
    >>> filter_logits(logits, Sampling(temperature=0.5, top_k=3)).tolist()
    [-inf, 0.0, -2.0, 0.0]
    """
    logits = _check_logits(logits).astype(jnp.float32)
    z = logits - logits.max(axis=-1, keepdims=True)
    if sampling.temperature == 0:
        return _keep_top(z, 1, 1.0)
    z = z / min(max(float(sampling.temperature), _TINY), 1 / _TINY)
    if not sampling.top_k and sampling.top_p == 1:
        return z
    return _keep_top(z, sampling.top_k or z.shape[-1], float(sampling.top_p))


def _check_logits(logits):
    logits = check_floating("logits", logits)
    if logits.ndim < 1 or logits.shape[-1] == 0:
        raise ValueError(f"logits has shape {logits.shape}, expected [..., V], V > 0.")
    return logits


def _keep_top(z, k, p):
    """Keeps the ``k`` largest, and of these only the first that reach a mass of ``p``;
    the rest become ``-inf``.
    """
    top, order = jax.lax.top_k(z, min(k, z.shape[-1]))
    if p < 1:
        mass = jnp.cumsum(jax.nn.softmax(top), axis=-1)
        before = jnp.concatenate([jnp.zeros_like(mass[..., :1]), mass[..., :-1]], -1)
        top = jnp.where(before < max(p, _TINY), top, -jnp.inf)
    nothing = jnp.full_like(z, -jnp.inf)
    return jnp.put_along_axis(nothing, order, top, axis=-1, inplace=False)


def draw(
    logits: Float[Array, "*B V"], keys: Key[Array, "*B"], sampling: Sampling
) -> Int[Array, "*B"]:
    """Draws a token for every row, int32. It depends only on the row and its key.

    Args:
        logits: ``[..., V]``.
        keys: one key for every row.
        sampling: which tokens may be drawn, and how likely each is.

    Raises:
        TypeError: ``keys`` are not JAX keys; or as in `filter_logits`.
        ValueError: there is not one key for every row; or as in `filter_logits`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax.inference import Sampling, draw
    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> logits = jnp.array([[0.0, 9.0, 8.0], [9.0, 8.0, 0.0]])
    >>> draw(logits, keys, Sampling(top_k=1)).tolist()
    [1, 0]
    """
    logits = _check_logits(logits)
    keys = check_key(keys)
    shape = getattr(keys, "shape", None)
    if shape != logits.shape[:-1]:
        raise ValueError(
            f"keys has shape {shape}, expected {logits.shape[:-1]}, a key for "
            f"every row of logits {logits.shape}; use jax.random.split."
        )
    if sampling.temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    one = jax.random.categorical
    for _ in keys.shape:
        one = jax.vmap(one)
    return one(keys, filter_logits(logits, sampling)).astype(jnp.int32)
