"""Instance normalisation: every window is read on a scale of its own.

    y' = (y - loc) / scale        a forecast goes back by  y = y' scale + loc

    none        loc = 0                scale = 1
    last        loc = the last value   scale = 1
    mean        loc = the mean         scale = 1
    standard    loc = the mean         scale = the standard deviation
    magnitude   loc = 0                scale = the mean of |y|

This takes out levels and spreads that drift between training and use. "standard" is
reversible instance normalisation without its learned factors (Kim et al., "Reversible
Instance Normalization for Accurate Time-Series Forecasting against Distribution Shift",
ICLR 2022). Subtracting the last value follows Zeng et al., "Are Transformers
Effective for Time Series Forecasting?", AAAI 2023. "magnitude" keeps zero where it is,
as counts need it (Salinas et al., "DeepAR", 2020).

Only observed values count. A window without any has ``loc`` 0 and ``scale`` 1.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp

from lstm_jax._types import Array, Bool, Float

Normalise = Literal["none", "last", "mean", "standard", "magnitude"]
FLAT = 1e-3
"""A smaller scale would only make noise of a constant window larger."""


class Scale(NamedTuple):
    """The level and the spread of every window, ``[B]``."""

    loc: Float[Array, "B"]
    scale: Float[Array, "B"]

    def apply(self, y: Float[Array, "T B"]) -> Float[Array, "T B"]:
        """From the scale of the data to that of the window."""
        return (y - self.loc[None]) / self.scale[None]

    def undo(self, y: Float[Array, "T B Q"]) -> Float[Array, "T B Q"]:
        """From the scale of the window to that of the data."""
        return y * self.scale[None, :, None] + self.loc[None, :, None]

    def repeated(self, n: int) -> "Scale":
        """Every window ``n`` times, the copies next to each other."""
        return Scale(jnp.repeat(self.loc, n), jnp.repeat(self.scale, n))


def scale_of(
    y: Float[Array, "T B"], observed: Bool[Array, "T B"], how: Normalise
) -> Scale:
    """The level and the spread of the observed values of every window.

    Args:
        y: values; those that are not observed are not read.
        observed: which values there are.
        how: see the table above.

    >>> import jax.numpy as jnp
    >>> y = jnp.array([[1.0], [3.0], [9.0]])
    >>> scale_of(y, jnp.array([[True], [True], [False]]), "last").loc.tolist()
    [3.0]
    """
    zero = jnp.zeros(y.shape[1:], y.dtype)
    if how == "none":
        return Scale(zero, zero + 1)
    y = jnp.where(observed, y, jnp.zeros_like(y))
    if how == "last":
        steps = jnp.arange(len(y))[:, None]
        last = jnp.where(observed, steps, jnp.full_like(steps, -1)).max(axis=0)
        picked = jnp.take_along_axis(y, jnp.maximum(last, 0)[None], axis=0)[0]
        return Scale(picked, zero + 1)
    count = jnp.maximum(observed.sum(axis=0), 1).astype(y.dtype)
    if how == "magnitude":
        size = jnp.abs(y).sum(axis=0) / count
        return Scale(zero, jnp.where(size > FLAT, size, jnp.ones_like(size)))
    mean = y.sum(axis=0) / count
    if how == "mean":
        return Scale(mean, zero + 1)
    deviation = jnp.where(observed, y - mean[None], jnp.zeros_like(y))
    std = jnp.sqrt((deviation**2).sum(axis=0) / count)
    return Scale(mean, jnp.where(std > FLAT, std, jnp.ones_like(std)))
