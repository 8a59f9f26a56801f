"""What is forecast, and the loss that it is trained by.

    point       one number, by the absolute or the squared error
    quantiles   a number for every level, by the pinball loss

The pinball loss of level ``q`` is ``max(q (y - f), (q - 1)(y - f))`` (Koenker &
Bassett, "Regression Quantiles", 1978); its minimum is the ``q``-quantile of ``y``.
"""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from pydantic import Field, field_validator

from lstm_jax._types import Array, Float, Key
from lstm_jax.config import config
from lstm_jax.models.forecast.instance import Scale

Level = Annotated[float, Field(gt=0, lt=1)]
DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@config
class Point:
    """One number for every step."""

    kind: Literal["point"] = "point"
    """This kind of forecast."""
    loss: Literal["mae", "mse"] = "mae"
    """The absolute error: the best forecast is the median. The squared error: the best
    forecast is the mean."""

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels that are forecast; none."""
        return ()

    @property
    def size(self) -> int:
        """Numbers that are forecast for a step."""
        return 1

    def on_scale(self, raw: Float[Array, "H B 1"], scale: Scale) -> Array:
        """The forecast on the scale of the data."""
        return scale.undo(raw)

    def errors(
        self, forecast: Float[Array, "*S 1"], y: Float[Array, "*S"]
    ) -> Float[Array, "*S"]:
        """The loss of every step."""
        error = y - forecast[..., 0]
        return jnp.abs(error) if self.loss == "mae" else error**2

    def point(self, forecast: Float[Array, "*S 1"]) -> Float[Array, "*S"]:
        """The forecast as one number."""
        return forecast[..., 0]

    def ordered(self, forecast: Float[Array, "*S 1"]) -> Float[Array, "*S 1"]:
        """The forecast as it is."""
        return forecast


@config
class Quantiles:
    """Quantiles of every step. They never cross: they are put in order."""

    kind: Literal["quantiles"] = "quantiles"
    """This kind of forecast."""
    levels: tuple[Level, ...] = DECILES
    """The levels of the quantiles, in increasing order, with 0.5 among them."""

    @field_validator("levels")
    @classmethod
    def _in_order(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        return check_levels(levels)

    @property
    def size(self) -> int:
        """Numbers that are forecast for a step."""
        return len(self.levels)

    def on_scale(self, raw: Float[Array, "H B Q"], scale: Scale) -> Array:
        """The forecast on the scale of the data."""
        return scale.undo(raw)

    def errors(
        self, forecast: Float[Array, "*S Q"], y: Float[Array, "*S"]
    ) -> Float[Array, "*S"]:
        """The pinball loss of every step, twice the mean over the levels: of the level
        0.5 alone that is the absolute error."""
        levels = jnp.array(self.levels, forecast.dtype)
        levels = jnp.broadcast_to(levels, forecast.shape)
        error = y[..., None] - forecast
        return 2 * jnp.maximum(levels * error, (levels - 1) * error).mean(axis=-1)

    def point(self, forecast: Float[Array, "*S Q"]) -> Float[Array, "*S"]:
        """The median."""
        return forecast[..., self.levels.index(0.5)]

    def ordered(self, forecast: Float[Array, "*S Q"]) -> Float[Array, "*S Q"]:
        """The forecast with the quantiles of every step in increasing order."""
        return jnp.sort(forecast, axis=-1)

    def sample(
        self, forecast: Float[Array, "*S Q"], key: Key[Array, ""]
    ) -> Float[Array, "*S"]:
        """Draws from the distribution that is straight between the quantiles, and has
        nothing beyond the outer ones."""
        levels = jnp.array(self.levels, forecast.dtype)
        forecast = self.ordered(forecast)
        low, high = levels[0], levels[-1]
        u = jax.random.uniform(key, forecast.shape[:-1], forecast.dtype)
        u = jnp.clip(u, low, high)
        above = jnp.searchsorted(levels, u).clip(1, len(levels) - 1)
        ends = [
            jnp.take_along_axis(forecast, at[..., None], axis=-1)[..., 0]
            for at in (above - 1, above)
        ]
        part = (u - levels[above - 1]) / (levels[above] - levels[above - 1])
        return ends[0] + part * (ends[1] - ends[0])


def check_levels(levels: tuple[float, ...]) -> tuple[float, ...]:
    """The levels, if they increase and have the median.

    Raises:
        ValueError: they do not.
    """
    if list(levels) != sorted(set(levels)) or 0.5 not in levels:
        raise ValueError(
            "expected levels in increasing order with 0.5 among them, such as "
            "[0.1, 0.5, 0.9]"
        )
    return levels


Head = Annotated[Point | Quantiles, Field(discriminator="kind")]
"""What a model forecasts that says all steps at once."""
