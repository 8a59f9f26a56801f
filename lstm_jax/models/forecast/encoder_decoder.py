"""Encoder and decoder: one reads the past, the other what is known ahead.

    y'       = (y - loc) / scale                               instance normalisation
    (h, c)   = encoder over  [y'_t, observed_t, past_t, known_t, series, static]
    h_k      = decoder over  [known_k, series, static, k / H],  k = 1 ... H, from (h, c)
    y_k      = (h_k W_y + b_y) scale + loc

The decoder reads calendar and covariates of every step ahead, and no forecast of its
own, so errors do not build up. (Sutskever, Vinyals & Le, "Sequence to Sequence Learning
with Neural Networks", NeurIPS 2014; with quantiles: Wen et al., "A Multi-Horizon
Quantile Recurrent Forecaster", 2017.)
"""

from typing import Annotated, Literal

import jax.numpy as jnp
from flax import nnx
from pydantic import Field

from lstm_jax._types import Array, Float, Key
from lstm_jax.config import Count, Depth, config
from lstm_jax.core.layers.stack import Stack
from lstm_jax.models.encoder import Rate
from lstm_jax.models.forecast.all_at_once import AllAtOnce, AllAtOnceConfig
from lstm_jax.models.forecast.ensemble import Ensemble, one_or_more
from lstm_jax.models.forecast.heads import Head, Quantiles
from lstm_jax.models.forecast.instance import Normalise, scale_of
from lstm_jax.models.forecast.series_embedding import SeriesEmbedding
from lstm_jax.models.forecast.window import Sizes, Window
from lstm_jax.models.linear import Linear
from lstm_jax.models.sequence_reader import CELLS
from lstm_jax.nn import Recurrent


@config
class EncoderDecoderConfig(AllAtOnceConfig):
    """An encoder and a decoder."""

    kind: Literal["encoder_decoder"] = "encoder_decoder"
    """This kind of model."""
    context: Count = 168
    """Steps that a forecast looks back on."""
    horizon: Count = 24
    """Steps that are forecast."""
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    """The cell."""
    hidden_size: Count = 128
    """Units of a layer."""
    num_layers: Depth = 1
    """Number of layers, of the encoder and of the decoder."""
    embed_size: Count = 8
    """Size of the embedding of a series."""
    dropout: Rate = 0.0
    """Dropout rate between the layers."""
    output_dropout: Rate = 0.1
    """Dropout rate of the hidden states that forecasts are made from."""
    normalise: Normalise = "standard"
    """The scale on which a window is read; see `lstm_jax.models.forecast.instance`."""
    members: Annotated[int, Field(ge=1, le=100)] = 1
    """Number of models in the ensemble. The forecast is their mean; training time grows
    with it."""
    head: Head = Quantiles()

    reads = ("known", "past", "static")
    """Calendar and covariates of every kind."""

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> "EncoderDecoder | Ensemble":
        """Builds the model."""
        return one_or_more(self, lambda: EncoderDecoder(self, sizes, rngs=rngs))


class EncoderDecoder(AllAtOnce):
    """Forecasts all steps of the horizon from what is known of them. Time-major.

    Args:
        config: sizes and kinds.
        sizes: sizes of the data.
        rngs: source of keys.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax.models.forecast.encoder_decoder import EncoderDecoderConfig
    >>> from lstm_jax.models.forecast.window import Sizes, Window
    >>> config = EncoderDecoderConfig(context=12, horizon=6, hidden_size=8)
    >>> model = config.build(Sizes(series=3, known=2), nnx.Rngs(0))
    >>> model.eval()
    >>> model(Window(jnp.ones((12, 5)), known=jnp.zeros((18, 5, 2)))).shape
    (6, 5, 9)
    """

    def __init__(self, config: EncoderDecoderConfig, sizes: Sizes, *, rngs: nnx.Rngs):
        self.config = config
        size = config.hidden_size
        stack = lambda output_dropout: Stack(
            [CELLS[config.cell](size)] * config.num_layers,
            dropout=config.dropout,
            output_dropout=output_dropout,
        )
        both = sizes.known + config.embed_size + sizes.static
        how = {"time_major": True, "return_carry": True, "rngs": rngs}
        self.series = SeriesEmbedding(sizes.series, config.embed_size, rngs=rngs)
        self.encoder = Recurrent(stack(0.0), both + 2 + sizes.past, **how)
        self.decoder = Recurrent(stack(config.output_dropout), both + 1, **how)
        self.readout = Linear(size, config.head.size, rngs=rngs)

    def __call__(
        self,
        window: Window,
        *,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> Float[Array, "H B Q"]:
        """Forecasts on the scale of ``y``, one number or quantiles for every step.

        Args:
            window: what is read. There are as many steps ahead as ``window.known`` has
                after those of ``y``, or, without it, those of the config.
            key: key of dropout in training.
            deterministic: as in `lstm_jax.nn.Recurrent`.
        """
        horizon = self.config.horizon
        if window.known is not None:
            horizon = len(window.known) - len(window.y)
        window = window.complete(horizon)
        scale = scale_of(window.y, window.observed, self.config.normalise)
        y, there = scale.apply(window.y), window.observed
        y = jnp.where(there, y, jnp.zeros_like(y))
        numbers = jnp.stack([y, there.astype(y.dtype)], axis=-1)
        fixed = jnp.concatenate([self.series(window.series), window.static], axis=-1)
        steps = lambda a, n: jnp.broadcast_to(a[None], (n, *a.shape))
        known, ahead = window.known[: len(y)], window.known[len(y) :]
        place = jnp.arange(1, horizon + 1, dtype=y.dtype) / self.config.horizon
        place = jnp.broadcast_to(place[:, None, None], (*ahead.shape[:2], 1))
        past = [numbers, window.past, known, steps(fixed, len(y))]
        future = [ahead, steps(fixed, horizon), place]
        how = {"key": key, "deterministic": deterministic}
        carry, _ = self.encoder(jnp.concatenate(past, axis=-1), **how)
        # The decoder goes on in time, so that its masks are not those of the encoder.
        how["start"] = len(y)
        _, hs = self.decoder(jnp.concatenate(future, axis=-1), carry, **how)
        return self.config.head.on_scale(self.readout(hs), scale)
