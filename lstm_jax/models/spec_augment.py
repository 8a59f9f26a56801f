"""Bands of time and of frequency that training hides from the model.

    width ~ uniform{0, ..., widest}        start ~ uniform{0, ..., size - width}
    x[start : start + width] = 0

Every row has masks of its own, and a mask of time hides at most a fifth of a row. Of
standardised features 0 is the mean. Park et al., "SpecAugment: A Simple Data
Augmentation Method for Automatic Speech Recognition", Interspeech 2019.
"""

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float, Int, Key

FRACTION = 5
"""A mask of time hides one part in so many of a row at the most."""


def spec_augment(
    xs: Float[Array, "T B F"],
    lengths: Int[Array, "B"],
    key: Key[Array, ""],
    *,
    time_masks: int = 0,
    time_width: int = 0,
    band_masks: int = 0,
    band_width: int = 0,
) -> Float[Array, "T B F"]:
    """Features with some bands of 0.

    Args:
        xs: standardised features.
        lengths: real frames of every row.
        key: random numbers.
        time_masks, time_width: masks of time, and frames that one hides at the most.
        band_masks, band_width: masks of features, and features that one hides at the
            most.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax.models.spec_augment import spec_augment
    >>> xs, lengths = jnp.ones((50, 1, 8)), jnp.array([50], jnp.int32)
    >>> masks = dict(time_masks=1, time_width=10)
    >>> hidden = (spec_augment(xs, lengths, jax.random.key(1), **masks) == 0).all(-1)
    >>> 0 <= int(hidden.sum()) <= 10
    True
    """
    steps, rows, features = xs.shape
    in_time, in_bands = jax.random.split(key)
    widest = jnp.minimum(lengths // FRACTION, time_width)
    hidden = _hidden(in_time, time_masks, widest, lengths, steps)[..., None]
    everywhere = jnp.full(rows, features, jnp.int32)
    widest = jnp.full(rows, min(band_width, features), jnp.int32)
    bands = _hidden(in_bands, band_masks, widest, everywhere, features)
    return jnp.where(hidden | bands.T[None], 0, xs)


def _hidden(key, count, widest, sizes, most):
    """What ``count`` masks of every row hide, ``[most, B]``."""
    found = jnp.zeros((most, len(sizes)), bool)
    at = jnp.arange(most, dtype=jnp.int32)[:, None]
    for one in jax.random.split(key, count) if count else ():
        of_width, of_start = jax.random.split(one)
        width = jax.random.randint(of_width, sizes.shape, 0, widest + 1)
        start = jax.random.randint(of_start, sizes.shape, 0, sizes - width + 1)
        found |= (at >= start[None]) & (at < (start + width)[None])
    return found
