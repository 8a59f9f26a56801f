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
from lstm_jax.models.forecast.window import Window
from lstm_jax.nn.module import Module


class Ensemble(Module):
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
        """The mean of the losses of all members, and in evaluation the loss of their
        mean; see `lstm_jax.models.forecast.all_at_once.AllAtOnce.losses`."""
        count = len(self.members)
        if deterministic:
            found = self(window, deterministic=True)
            return self.config.head.errors(found, truth), there
        keys = [None] * count if key is None else [*jax.random.split(key, count)]
        each = (
            member.losses(window, truth, there, key=key, deterministic=deterministic)[0]
            for member, key in zip(self.members, keys, strict=True)
        )
        return _mean(each), there

    def __call__(
        self, window: Window, *, deterministic: bool | None = None
    ) -> Float[Array, "H B Q"]:
        """The mean of the forecasts."""
        return _mean(m(window, deterministic=deterministic) for m in self.members)

    def forecast(
        self,
        window: Window,
        keys: Key[Array, "B"],
        horizon: int,
        levels: tuple[float, ...],
    ) -> Float[Array, "H B Q"]:
        """As `lstm_jax.models.forecast.all_at_once.AllAtOnce.forecast`, of the mean:
        of quantiles the mean of each."""
        return _mean(m.forecast(window, keys, horizon, levels) for m in self.members)


def _mean(each):
    return jnp.stack([*each]).mean(axis=0)


def one_or_more(config: Any, build: Callable[[], Any]) -> Any:
    """A forecaster, or an `Ensemble` of ``config.members``."""
    return build() if config.members == 1 else Ensemble(config, build)
