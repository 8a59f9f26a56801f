"""Direct forecasts: the layers read segments, and all segments ahead come at once.

    y'      = (y - loc) / scale                     instance normalisation, by window
    x_s     = relu([y', observed]_s W_x + b_x)      s = 1 ... S, w steps a segment
    (h, c)  = layers(x_1 ... x_S)
    z_k     = [position_k, series]                  k = 1 ... ceil(H / w)
    h_k     = one step of the layers from (h, c) on z_k
    y'_k    = h_k W_y + b_y                         w steps of the forecast
    y_t     = (y'_t + a_t . last steps of y') scale + loc

Segments make the recurrence short, so a look-back of 720 hours is 30 steps. Every
segment ahead is decoded from the same state, so errors do not build up from one to the
next. Each series is forecast alone, by shared weights. The last term, the
autoregressive part, is a linear map of the last steps: what repeats from season to
season need not go through the hidden state. (Lin et al., "SegRNN: Segment
Recurrent Neural Network for Long-Term Time Series Forecasting", 2023, here with any
cell; Lai et al., "Modeling Long- and Short-Term Temporal Patterns with Deep Neural
Networks", SIGIR 2018, for the autoregressive part.)
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field, NonNegativeInt

from lstm_jax._types import Array, Float, Key
from lstm_jax.config import Count, Depth, config
from lstm_jax.core.layers.stack import Stack
from lstm_jax.core.precision import product_precision
from lstm_jax.models.encoder import Rate
from lstm_jax.models.forecast.all_at_once import AllAtOnce, AllAtOnceConfig
from lstm_jax.models.forecast.ensemble import Ensemble, one_or_more
from lstm_jax.models.forecast.heads import Head, Point
from lstm_jax.models.forecast.instance import Normalise, scale_of
from lstm_jax.models.forecast.series_embedding import SeriesEmbedding
from lstm_jax.models.forecast.window import Sizes, Window
from lstm_jax.models.linear import Linear
from lstm_jax.models.sequence_reader import CELLS
from lstm_jax.nn import Recurrent


@config
class DirectConfig(AllAtOnceConfig):
    """A direct forecaster."""

    kind: Literal["direct"] = "direct"
    """This kind of model."""
    context: Count = 168
    """Steps that a forecast looks back on."""
    horizon: Count = 24
    """Steps that are forecast."""
    segment: Count = 24
    """Steps of a segment. `context` is filled up to whole segments at its start."""
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    """The cell."""
    hidden_size: Annotated[int, Field(ge=2, le=1_000_000, multiple_of=2)] = 256
    """Units of a layer, an even number."""
    num_layers: Depth = 1
    """Number of layers."""
    dropout: Rate = 0.0
    """Dropout rate between the layers."""
    output_dropout: Rate = 0.5
    """Dropout rate of the hidden states that forecasts are made from."""
    normalise: Normalise = "last"
    """The scale on which a window is read; see `lstm_jax.models.forecast.instance`."""
    autoregressive: NonNegativeInt = 0
    """How many of the last steps the autoregressive part reads, at most `context`; such
    as 168 of hours with a weekly season. 0: there is none."""
    members: Annotated[int, Field(ge=1, le=100)] = 1
    """Number of models in the ensemble. The forecast is their mean; training time grows
    with it."""
    head: Head = Point()

    reads = ()
    """Neither calendar nor covariates."""

    def __post_init__(self):
        super().__post_init__()
        if self.autoregressive > self.context:
            raise ValueError(
                f"autoregressive={self.autoregressive} steps are more than "
                f"context={self.context}; set it to {self.context} or less"
            )

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> "DirectForecaster | Ensemble":
        """Builds the model."""
        return one_or_more(self, lambda: DirectForecaster(self, sizes, rngs=rngs))


class DirectForecaster(AllAtOnce):
    """Forecasts all steps of the horizon at once. Time-major.

    Args:
        config: sizes and kinds.
        sizes: sizes of the data; covariates are not read.
        rngs: source of keys.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax.models.forecast.direct import DirectConfig
    >>> from lstm_jax.models.forecast.window import Sizes, Window
    >>> config = DirectConfig(context=48, horizon=36, segment=12, hidden_size=8)
    >>> model = config.build(Sizes(series=3), nnx.Rngs(0))
    >>> model.eval()
    >>> model(Window(jnp.ones((48, 2)), series=jnp.array([0, 2]))).shape
    (36, 2, 1)
    """

    def __init__(self, config: DirectConfig, sizes: Sizes, *, rngs: nnx.Rngs):
        self.config = config
        size = config.hidden_size
        cells = [CELLS[config.cell](size)] * config.num_layers
        stack = Stack(
            cells, dropout=config.dropout, output_dropout=config.output_dropout
        )
        self.embed = Linear(2 * config.segment, size, rngs=rngs)
        self.layers = Recurrent(
            stack, size, time_major=True, return_carry=True, rngs=rngs
        )
        places = self.segments_ahead, size // 2
        self.positions = nnx.Param(jax.random.normal(rngs.params(), places))
        self.series = SeriesEmbedding(sizes.series, size // 2, rngs=rngs)
        out = config.segment * config.head.size
        self.readout = Linear(size, out, rngs=rngs)
        # Zeros: training begins with the forecast of the layers alone.
        zeros = jnp.zeros((config.autoregressive, config.horizon))
        self.autoregressive = nnx.Param(zeros) if config.autoregressive else None

    @property
    def segments_ahead(self) -> int:
        """Segments that cover the horizon."""
        return -(-self.config.horizon // self.config.segment)

    def __call__(
        self,
        window: Window,
        *,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> Float[Array, "H B Q"]:
        """Forecasts on the scale of ``y``, one number or quantiles for every step.

        Args:
            window: what is read: ``y``, ``observed`` and ``series``.
            key: key of dropout in training.
            deterministic: as in `lstm_jax.nn.Recurrent`.
        """
        window = window.complete(self.config.horizon)
        y, observed = window.y, window.observed
        scale = scale_of(y, observed, self.config.normalise)
        y = jnp.where(observed, scale.apply(y), jnp.zeros_like(y))
        xs = jax.nn.relu(self.embed(self._segments(y, observed)))
        how: dict[str, Any] = {"key": key, "deterministic": deterministic}
        carry, _ = self.layers(xs, **how)
        hs = self._ahead(carry, window.series, how | {"start": len(xs)})
        raw = self._steps(self.readout(hs))
        if self.autoregressive is not None:
            weights = self.autoregressive[...].astype(y.dtype)
            last = y[len(y) - len(weights) :]
            precision = product_precision(y.dtype)
            ahead = jnp.einsum("sb,sh->hb", last, weights, precision=precision)
            raw += ahead[..., None]
        return self.config.head.on_scale(raw, scale)

    def _segments(self, y, observed):
        """``[S, B, 2w]``: values and which of them there are."""
        width = self.config.segment
        missing = -len(y) % width
        both = jnp.stack([y, observed.astype(y.dtype)])
        both = jnp.pad(both, [(0, 0), (missing, 0), (0, 0)])
        cut = both.reshape(2, -1, width, y.shape[1])
        return cut.transpose(1, 3, 0, 2).reshape(cut.shape[1], y.shape[1], 2 * width)

    def _ahead(self, carry, series, how):
        """Hidden states of all segments ahead, ``[K, B, size]``."""
        count, rows = self.segments_ahead, series.shape[0]
        of_series = self.series(series)
        half = of_series.shape[-1]
        zs = jnp.concatenate(
            [
                jnp.broadcast_to(self.positions[...][:, None], (count, rows, half)),
                jnp.broadcast_to(of_series[None], (count, rows, half)),
            ],
            axis=-1,
        )
        # Every segment is a row of its own: one step of count * rows rows.
        flat = lambda a: a.reshape(1, count * rows, -1)
        again = lambda c: jnp.tile(c, (count, 1))
        carry = jax.tree.map(again, carry)
        _, hs = self.layers(flat(zs), carry, **how)
        return hs.reshape(count, rows, -1)

    def _steps(self, raw):
        """From segments ``[K, B, w Q]`` to steps ``[H, B, Q]``."""
        width, size = self.config.segment, self.config.head.size
        raw = raw.reshape(*raw.shape[:2], width, size).transpose(0, 2, 1, 3)
        return raw.reshape(-1, *raw.shape[2:])[: self.config.horizon]
