"""Recursive forecasts: a distribution of the next value, and paths drawn from it.

    y'_t     = (y_t - loc) / scale                     instance normalisation, by window
    x_t      = [y'_{t-l} and observed_{t-l} for l = 1 and every lag, known_t, series,
                static, log scale]
    (h, c)_t = layers(x_t, (h, c)_{t-1})
    y_t      ~ P(h_t W_y + b_y)                        see `distributions`

Training reads the true values, in the context as well as in the horizon, and its loss
is ``-log p`` of all of them. A forecast reads the context once, and then draws every
path by itself: what was drawn is what the next step reads. All paths of all series are
rows of one scan. A window has a key of its own, so its paths do not depend on the
windows beside it. A stream of new values is read step by step with `advance`, without
reading anything twice. (Salinas, Flunkert, Gasthaus & Januschowski, "DeepAR:
Probabilistic Forecasting with Autoregressive Recurrent Networks", International Journal
of Forecasting 36(3), 2020, here with any cell.)
"""

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field, field_validator

from lstm_jax._types import Array, Bool, Float, Key
from lstm_jax.config import Count, Depth, config
from lstm_jax.core.layers.stack import Stack
from lstm_jax.models.encoder import Rate
from lstm_jax.models.forecast.distributions import NextValue, StudentT
from lstm_jax.models.forecast.heads import DECILES, Level, Quantiles, check_levels
from lstm_jax.models.forecast.instance import Normalise, Scale, scale_of
from lstm_jax.models.forecast.series_embedding import SeriesEmbedding
from lstm_jax.models.forecast.window import Sizes, Window
from lstm_jax.models.linear import Linear
from lstm_jax.models.sequence_reader import CELLS
from lstm_jax.nn import Recurrent
from lstm_jax.nn.module import Module


@config
class RecursiveConfig:
    """A recursive forecaster."""

    kind: Literal["recursive"] = "recursive"
    """This kind of model."""
    context: Count = 168
    """Steps that a forecast looks back on, beside those of the lags."""
    horizon: Count = 24
    """Steps that are forecast."""
    lags: tuple[Count, ...] | None = None
    """How many steps back the values lie that are read beside the last one, in
    increasing order; unset: a season, and a week where a day has up to 96 steps. Of
    hours that is [24, 168]."""
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    """The cell."""
    hidden_size: Count = 40
    """Units of a layer."""
    num_layers: Depth = 2
    """Number of layers."""
    embed_size: Count = 8
    """Size of the embedding of a series."""
    dropout: Rate = 0.1
    """Dropout rate between the layers."""
    output_dropout: Rate = 0.1
    """Dropout rate of the hidden states that forecasts are made from."""
    normalise: Normalise = "magnitude"
    """The scale on which a window is read; see `lstm_jax.models.forecast.instance`."""
    head: NextValue = StudentT()
    paths: Annotated[int, Field(ge=2, le=100_000)] = 100
    """Paths that are drawn for a forecast."""
    levels: tuple[Level, ...] = DECILES
    """The levels of the quantiles of the paths that are forecast, in increasing order,
    with 0.5 among them."""

    reads = ("known", "static")
    """Calendar and covariates; those of the past alone are not there when a path is
    drawn."""

    absolute = False
    """The loss is no absolute error."""

    @field_validator("lags")
    @classmethod
    def _each_once(cls, lags: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if lags is not None and list(lags) != sorted(set(lags)):
            raise ValueError("expected lags in increasing order, such as [24, 168]")
        return lags

    @field_validator("levels")
    @classmethod
    def _in_order(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        return check_levels(levels)

    def __post_init__(self):
        if self.dropout and self.num_layers == 1:
            raise ValueError(
                f"dropout={self.dropout} acts between layers, but num_layers is 1; "
                f"set dropout=0"
            )
        if self.counts and self.normalise not in ("none", "magnitude"):
            raise ValueError(
                f"the head {self.head.kind} forecasts counts, which "
                f'normalise="{self.normalise}" would shift; set normalise="magnitude"'
            )

        if isinstance(self.head, Quantiles) and len(self.head.levels) < 2:
            raise ValueError(
                f"head.levels is {[*self.head.levels]}, and paths are drawn between "
                f"two quantiles or more; set two levels or more"
            )

    @property
    def counts(self) -> bool:
        """Whether values are counts, which are not standardised."""
        return getattr(self.head, "counts", False)

    def with_lags(self, usual: tuple[int, ...]) -> "RecursiveConfig":
        """The config with the usual lags of the data, unless it has its own."""
        if self.lags is not None:
            return self
        return dataclasses.replace(self, lags=usual)

    @property
    def history(self) -> int:
        """``R``, steps before the forecast that are read."""
        return self.context + max(self.lags or (1,))

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> "RecursiveForecaster":
        """Builds the model."""
        return RecursiveForecaster(self, sizes, rngs=rngs)


class Fixed(NamedTuple):
    """What stays the same over all steps of a window."""

    scale: Scale
    features: Array
    """``[B, F]``: the embedding of the series, static features, the logarithm of the
    scale."""

    def repeated(self, n: int) -> "Fixed":
        """Every window ``n`` times, the copies next to each other."""
        return Fixed(self.scale.repeated(n), jnp.repeat(self.features, n, axis=0))


class Reading(NamedTuple):
    """All that a forecast needs of what was read."""

    carry: Any
    """Of the layers."""
    fixed: Fixed
    """What stays as it is."""
    y: Float[Array, "L B"]
    """The values that a lag may reach, on the scale of the window; 0 where there are
    none."""
    observed: Float[Array, "L B"]
    """1 where there is a value, else 0."""


class RecursiveForecaster(Module):
    """Forecasts the next value, and paths of them. Time-major.

    Args:
        config: sizes and kinds.
        sizes: sizes of the data.
        rngs: source of keys.

    >>> import jax, jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax.models.forecast.recursive import RecursiveConfig
    >>> from lstm_jax.models.forecast.window import Sizes, Window
    >>> config = RecursiveConfig(context=12, horizon=6, lags=(4,), hidden_size=8)
    >>> model = config.build(Sizes(series=3), nnx.Rngs(0))
    >>> model.eval()
    >>> window = Window(jnp.ones((16, 2)), series=jnp.array([0, 2]))
    >>> model.paths(window, jax.random.split(jax.random.key(1)), 6, count=5).shape
    (6, 2, 5)
    """

    def __init__(self, config: RecursiveConfig, sizes: Sizes, *, rngs: nnx.Rngs):
        self.config = config
        stack = Stack(
            [CELLS[config.cell](config.hidden_size)] * config.num_layers,
            dropout=config.dropout,
            output_dropout=config.output_dropout,
        )
        features = 2 * len(self._lags) + sizes.known
        features += config.embed_size + sizes.static + 1
        self.series = SeriesEmbedding(sizes.series, config.embed_size, rngs=rngs)
        self.layers = Recurrent(
            stack, features, time_major=True, return_carry=True, rngs=rngs
        )
        self.readout = Linear(config.hidden_size, config.head.size, rngs=rngs)

    def losses(
        self,
        window: Window,
        truth: Float[Array, "H B"],
        there: Float[Array, "H B"],
        *,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> tuple[Array, Array]:
        """The loss of every step of context and horizon, and its weight.

        Args:
            window: what is read.
            truth: the values of the horizon.
            there: 1 where there is a truth, else 0.
            key: key of dropout in training.
            deterministic: as in `lstm_jax.nn.Recurrent`; in evaluation only the steps
                of the horizon count.

        Returns:
            ``[C + H, B]``, or in evaluation ``[H, B]``, each.
        """
        window = window.complete(len(truth))
        fixed = self._fixed(window)
        y = jnp.concatenate([window.y, truth])
        observed = jnp.concatenate([window.observed, there > 0])
        scaled = _scaled(y, observed, fixed.scale)
        xs = self._inputs(scaled, observed, window, fixed)
        _, hs = self.layers(xs, key=key, deterministic=deterministic)
        params = self.config.head.on_scale(self.readout(hs), fixed.scale)
        y, observed = y[-len(xs) :], observed[-len(xs) :]
        y = jnp.where(observed, y, jnp.zeros_like(y))
        losses, weights = self.config.head.errors(params, y), observed.astype(y.dtype)
        if deterministic or (deterministic is None and self.layers.deterministic):
            return losses[-len(truth) :], weights[-len(truth) :]
        return losses, weights

    def forecast(
        self,
        window: Window,
        keys: Key[Array, "B"],
        horizon: int,
        levels: tuple[float, ...],
    ) -> Float[Array, "H B Q"]:
        """The quantiles of ``config.paths`` paths, on the scale of ``y``.

        Args:
            window: what is read.
            keys: of the draws, one of each window.
            horizon: steps to forecast.
            levels: which quantiles.
        """
        return quantiles_of(
            self.paths(window, keys, horizon, self.config.paths), levels
        )

    def paths(
        self, window: Window, keys: Key[Array, "B"], horizon: int, count: int
    ) -> Float[Array, "H B N"]:
        """Draws ``N`` paths of the next ``H`` steps of every window, on the scale of
        ``y``.

        Args:
            window: what is read.
            keys: one of each window.
            horizon: ``H``.
            count: ``N``.
        """
        window = window.complete(horizon)
        ahead = window.known[len(window.y) :][:horizon]
        return self.draw(self.read(window), ahead, keys, count)

    def read(self, window: Window, scale: Scale | None = None) -> Reading:
        """Reads a window of any length, of ``config.history`` steps or more.

        Args:
            window: what is read.
            scale: the scale to read it on; ``None``: that of the window.
        """
        window = window.complete(0)
        fixed, back = self._fixed(window, scale), max(self._lags)
        y = _scaled(window.y, window.observed, fixed.scale)
        xs = self._inputs(y, window.observed, window, fixed)
        carry, _ = self.layers(xs, deterministic=True)
        return Reading(carry, fixed, y[-back:], window.observed[-back:].astype(y.dtype))

    def advance(
        self,
        reading: Reading,
        y: Float[Array, "B"],
        observed: Bool[Array, "B"],
        known: Float[Array, "B K"],
    ) -> Reading:
        """Reads one more step, on the scale of the first window: the same as `read` of
        a window with one step more, on that scale.

        Args:
            reading: what was read before.
            y: the new values.
            observed: which of them there are.
            known: what is known of the time of these values.
        """
        carry, fixed, past, there = reading
        x = self._joined(
            [past[-lag][None] for lag in self._lags],
            [there[-lag][None] for lag in self._lags],
            known[None],
            fixed,
        )
        carry, _ = self.layers(x, carry, deterministic=True)
        add = lambda a, new: jnp.concatenate([a[1:], new.astype(a.dtype)])
        value = _scaled(y[None], observed[None], fixed.scale)
        return Reading(carry, fixed, add(past, value), add(there, observed[None]))

    def draw(
        self,
        reading: Reading,
        known: Float[Array, "H B K"],
        keys: Key[Array, "B"],
        count: int,
    ) -> Float[Array, "H B N"]:
        """Draws ``N`` paths of the next ``H`` steps, as `paths` does.

        Args:
            reading: what was read before.
            known: what is known ahead.
            keys: one of each row.
            count: ``N``.
        """
        horizon, (back, rows) = len(known), reading.y.shape
        again = lambda a: jnp.repeat(a, count, axis=-1)
        carry = jax.tree.map(lambda c: jnp.repeat(c, count, axis=-2), reading.carry)
        fixed = reading.fixed.repeated(count)
        # The values that a lag may reach, and place for those that will be drawn.
        drawn = jnp.zeros((horizon, rows * count), reading.y.dtype)
        y = jnp.concatenate([again(reading.y), drawn])
        there = jnp.ones((horizon, rows), reading.y.dtype)
        there = jnp.concatenate([reading.observed, there])
        at = lambda a, n: jax.lax.dynamic_index_in_dim(a, n)

        def step(state, n):
            carry, y = state
            now = n + back
            x = self._joined(
                [at(y, now - lag) for lag in self._lags],
                [again(at(there, now - lag)) for lag in self._lags],
                jnp.repeat(at(known, n), count, axis=1),
                fixed,
            )
            carry, hs = self.layers(x, carry, deterministic=True)
            params = self.config.head.on_scale(self.readout(hs), fixed.scale)
            of_windows = params.reshape(rows, count, -1)
            of_step = jax.vmap(jax.random.fold_in, (0, None))(keys, n)
            value = jax.vmap(self.config.head.sample)(of_windows, of_step)
            value = value.reshape(1, rows * count)
            y = jax.lax.dynamic_update_slice_in_dim(y, fixed.scale.apply(value), now, 0)
            return (carry, y), value[0]

        _, drawn = jax.lax.scan(step, (carry, y), jnp.arange(horizon))
        return drawn.reshape(horizon, rows, count)

    @property
    def _lags(self):
        """The last value, and those of the lags."""
        return (1, *(self.config.lags or ()))

    def _fixed(self, window, scale=None):
        if scale is None:
            y, observed = (a[max(self._lags) :] for a in (window.y, window.observed))
            scale = scale_of(y, observed, self.config.normalise)
        embedding = self.series(window.series).astype(window.y.dtype)
        features = [embedding, window.static, jnp.log(scale.scale)[:, None]]
        return Fixed(scale, jnp.concatenate(features, axis=-1))

    def _inputs(self, y, observed, window, fixed):
        """The inputs of all steps from the first of the context on."""
        first = max(self._lags)
        count = len(y) - first
        back = lambda a, lag: a[first - lag : first - lag + count]
        return self._joined(
            [back(y, lag) for lag in self._lags],
            [back(observed, lag).astype(y.dtype) for lag in self._lags],
            window.known[first : first + count],
            fixed,
        )

    def _joined(self, lagged, observed, known, fixed):
        """The inputs ``[T, B, D]`` of so many steps."""
        numbers = jnp.stack([*lagged, *observed], axis=-1)
        features = jnp.broadcast_to(
            fixed.features[None], (len(numbers), *fixed.features.shape)
        )
        return jnp.concatenate([numbers, known, features], axis=-1)


def quantiles_of(
    paths: Float[Array, "H B N"], levels: tuple[float, ...]
) -> Float[Array, "H B Q"]:
    """The quantiles of paths."""
    at = jnp.array(levels, paths.dtype)
    return jnp.moveaxis(jnp.quantile(paths, at, axis=-1), 0, -1)


def _scaled(y, observed, scale):
    """Values on the scale of their window; 0 where there are none."""
    y = jnp.where(observed, y, jnp.zeros_like(y))
    return jnp.where(observed, scale.apply(y), jnp.zeros_like(y))
