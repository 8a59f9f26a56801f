"""Several forecasters beside each other, whose mean is the forecast.

Every member is trained by a loss of its own, on the same batches, from other weights
and with other dropout. Errors that members do not share become smaller in the mean.
(Hansen & Salamon, "Neural Network Ensembles", IEEE Transactions on Pattern Analysis and
Machine Intelligence 12(10), 1990.)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from lstm_jax._types import Array, Float, Key
from lstm_jax.models.forecast.all_at_once import AllAtOnce
from lstm_jax.models.forecast.window import Window


class Ensemble(AllAtOnce):
    """The mean of several forecasters of one config.

    Args:
        config: the config.
        build: makes a member.
    """

    def __init__(self, config: Any, build: Callable[[], Any]):
        self.config = config
        self.members = nnx.List([build() for _ in range(config.members)])

    def losses(
        self,
        window: Window,
        truth: Float[Array, "H B"],
        there: Float[Array, "H B"],
        *,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> tuple[Array, Array]:
        """The mean of the losses of all members, and with ``deterministic=True`` the
        loss of their mean; see `AllAtOnce.losses`."""
        if deterministic:
            return super().losses(window, truth, there, deterministic=True)
        count = len(self.members)
        keys = [None] * count if key is None else [*jax.random.split(key, count)]
        each = (
            member.losses(window, truth, there, key=key, deterministic=deterministic)[0]
            for member, key in zip(self.members, keys, strict=True)
        )
        return _mean(each), there

    def __call__(
        self,
        window: Window,
        *,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> Float[Array, "H B Q"]:
        """The mean of the forecasts, on the scale of ``y``."""
        how: dict[str, Any] = {"key": key, "deterministic": deterministic}
        return _mean(member(window, **how) for member in self.members)

    def forecast(
        self,
        window: Window,
        keys: Key[Array, "B"],
        horizon: int,
        levels: tuple[float, ...],
    ) -> Float[Array, "H B Q"]:
        """The mean of the forecasts of the members, of quantiles the mean of each; see
        `AllAtOnce.forecast`."""
        return _mean(m.forecast(window, keys, horizon, levels) for m in self.members)


def _mean(each):
    return jnp.stack([*each]).mean(axis=0)


def one_or_more(config: Any, build: Callable[[], Any]) -> Any:
    """A forecaster, or an `Ensemble` of ``config.members``."""
    return build() if config.members == 1 else Ensemble(config, build)
