"""Distributions of the next value, for models that draw paths.

    normal              y ~ N(m, s^2)
    student_t           y ~ m + s t(n)                n > 2, so that it has a variance
    negative_binomial   y ~ Poisson(Gamma(1/a, a m))  counts, variance m + a m^2
    poisson             y ~ Poisson(m)                counts

A model says ``raw`` numbers on the scale of a window, ``y' = (y - loc) / scale``. With
``sp(x) = log(1 + e^x)`` the parameters on the scale of the data are

    normal, student_t   m = raw_1 scale + loc    s = (sp(raw_2) + 1e-3) scale
                        n = 2 + sp(raw_3)
    counts              m = (sp(raw_1) + 1e-6) scale
                        a = sp(raw_2) / sqrt(scale) + 1e-4

as in Salinas et al., "DeepAR: Probabilistic Forecasting with Autoregressive Recurrent
Networks", International Journal of Forecasting 36(3), 2020. The smallest ``s`` keeps a
constant series from a loss without a bound, and the smallest ``a`` is what float32 can
tell from Poisson. Losses are ``-log p(y)``, in nats.
"""

from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax.scipy import stats
from jax.scipy.special import gammaln
from pydantic import Field

from lstm_jax._types import Array, Float, Key
from lstm_jax.config import config
from lstm_jax.models.forecast.heads import Quantiles
from lstm_jax.models.forecast.instance import Scale

LEAST = 1e-3
"""The smallest ``s``, as a part of the scale of the window."""
TINY = 1e-6
"""The smallest mean of counts, as a part of the scale of the window."""
DISPERSED = 1e-4
"""The smallest ``a``."""


@config
class Normal:
    """A normal distribution."""

    kind: Literal["normal"] = "normal"
    """This kind of distribution."""
    size: ClassVar[int] = 2
    counts: ClassVar[bool] = False

    def on_scale(self, raw: Float[Array, "H B 2"], scale: Scale) -> Array:
        """``(m, s)`` on the scale of the data."""
        return _loc_and_spread(raw, scale)

    def errors(
        self, params: Float[Array, "*S 2"], y: Float[Array, "*S"]
    ) -> Float[Array, "*S"]:
        """``-log p(y)``."""
        return -stats.norm.logpdf(y, params[..., 0], params[..., 1])

    def sample(
        self, params: Float[Array, "*S 2"], key: Key[Array, ""]
    ) -> Float[Array, "*S"]:
        """One draw of each."""
        drawn = jax.random.normal(key, params.shape[:-1], params.dtype)
        return params[..., 0] + params[..., 1] * drawn


@config
class StudentT:
    """Student's t distribution: some values may be far away."""

    kind: Literal["student_t"] = "student_t"
    """This kind of distribution."""
    size: ClassVar[int] = 3
    counts: ClassVar[bool] = False

    def on_scale(self, raw: Float[Array, "H B 3"], scale: Scale) -> Array:
        """``(m, s, n)`` on the scale of the data."""
        freedom = 2 + jax.nn.softplus(raw[..., 2:])
        return jnp.concatenate([_loc_and_spread(raw[..., :2], scale), freedom], axis=-1)

    def errors(
        self, params: Float[Array, "*S 3"], y: Float[Array, "*S"]
    ) -> Float[Array, "*S"]:
        """``-log p(y)``."""
        loc, spread, freedom = (params[..., n] for n in range(3))
        return -stats.t.logpdf(y, freedom, loc, spread)

    def sample(
        self, params: Float[Array, "*S 3"], key: Key[Array, ""]
    ) -> Float[Array, "*S"]:
        """One draw of each, ``cos(2 pi v) sqrt(n (u^(-2/n) - 1))`` with ``u`` and ``v``
        uniform (Bailey, "Polar Generation of Random Variates with the t-Distribution",
        Mathematics of Computation 62, 1994). Nothing is rejected: that would take most
        of the time of a forecast."""
        loc, spread, freedom = (params[..., n] for n in range(3))
        u, v = jax.random.uniform(key, (2, *loc.shape), params.dtype)
        squared = freedom * jnp.expm1(-2 / freedom * jnp.log1p(-u))
        return loc + spread * jnp.sqrt(squared) * jnp.cos(2 * jnp.pi * v)


@config
class NegativeBinomial:
    """Counts that vary more than those of Poisson, such as sales."""

    kind: Literal["negative_binomial"] = "negative_binomial"
    """This kind of distribution."""
    size: ClassVar[int] = 2
    counts: ClassVar[bool] = True

    def on_scale(self, raw: Float[Array, "H B 2"], scale: Scale) -> Array:
        """``(m, a)`` on the scale of the data."""
        spread = scale.scale[None]
        mean = (jax.nn.softplus(raw[..., 0]) + TINY) * spread
        dispersion = jax.nn.softplus(raw[..., 1]) / jnp.sqrt(spread) + DISPERSED
        return jnp.stack([mean, dispersion], axis=-1)

    def errors(
        self, params: Float[Array, "*S 2"], y: Float[Array, "*S"]
    ) -> Float[Array, "*S"]:
        """``-log p(y)``."""
        mean, dispersion = params[..., 0], params[..., 1]
        size, odds = 1 / dispersion, dispersion * mean
        ways = gammaln(y + size) - gammaln(size) - gammaln(y + 1)
        # 1 - 1 / (1 + odds) would round to 0 where odds are small.
        failed, succeeded = -jnp.log1p(odds), jnp.log(odds) - jnp.log1p(odds)
        return -(ways + size * failed + y * succeeded)

    def sample(
        self, params: Float[Array, "*S 2"], key: Key[Array, ""]
    ) -> Float[Array, "*S"]:
        """One draw of each."""
        mean, dispersion = params[..., 0], params[..., 1]
        of_rate, of_count = jax.random.split(key)
        rate = jax.random.gamma(of_rate, 1 / dispersion, dtype=params.dtype)
        return _poisson(of_count, rate * dispersion * mean)


@config
class Poisson:
    """Counts of events that do not depend on each other."""

    kind: Literal["poisson"] = "poisson"
    """This kind of distribution."""
    size: ClassVar[int] = 1
    counts: ClassVar[bool] = True

    def on_scale(self, raw: Float[Array, "H B 1"], scale: Scale) -> Array:
        """``(m,)`` on the scale of the data."""
        return (jax.nn.softplus(raw) + TINY) * scale.scale[None, :, None]

    def errors(
        self, params: Float[Array, "*S 1"], y: Float[Array, "*S"]
    ) -> Float[Array, "*S"]:
        """``-log p(y)``."""
        return -stats.poisson.logpmf(y, params[..., 0])

    def sample(
        self, params: Float[Array, "*S 1"], key: Key[Array, ""]
    ) -> Float[Array, "*S"]:
        """One draw of each."""
        return _poisson(key, params[..., 0])


def _loc_and_spread(raw, scale):
    loc = raw[..., 0] * scale.scale[None] + scale.loc[None]
    spread = (jax.nn.softplus(raw[..., 1]) + LEAST) * scale.scale[None]
    return jnp.stack([loc, spread], axis=-1)


def _poisson(key, rate):
    return jax.random.poisson(key, rate).astype(rate.dtype)


NextValue = Annotated[
    StudentT | Normal | NegativeBinomial | Poisson | Quantiles,
    Field(discriminator="kind"),
]
"""What a model forecasts that says one step after the other."""
