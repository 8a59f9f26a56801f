"""Sound to labels: features, recurrent layers, and scores for CTC at every step.

    signal  /= 10 sqrt(mean_n signal_n^2)           normalise = "level"
    x_t      = (features_t - mean) / std            of the training split
    x_t     -= mean_{s} x_s                         normalise = "utterance"
    x_t     -= sum_{s <= t} x_s / (P + t)           normalise = "running"
    y_n      = [x_{kn}, ..., x_{kn + k - 1}]        k frames side by side
    logits_n = layers(y)_n W + b                    tokens, then the blank

The loss is that of `lstm_jax.models.ctc`. Graves, Mohamed & Hinton, "Speech Recognition
with Deep Recurrent Neural Networks", ICASSP 2013.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field, NonNegativeInt

from lstm_jax._types import Array, Float, Int, Key, PyTree
from lstm_jax.audio import FeatureConfig, features, frame_lengths
from lstm_jax.config import Count, Depth, config
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.layer_norm import LayerNormLSTMCell
from lstm_jax.core.cells.projection import LSTMPCell
from lstm_jax.core.layers.stack import Stack
from lstm_jax.core.recurrence.sequence import length_mask
from lstm_jax.data.standardise import Standardisation
from lstm_jax.models.encoder import Rate, check_rates, standardise
from lstm_jax.models.linear import Linear
from lstm_jax.models.sequence_reader import CELLS
from lstm_jax.models.spec_augment import spec_augment
from lstm_jax.nn import Recurrent
from lstm_jax.nn.module import Module
from lstm_jax.ops import run_stack

ACOUSTIC_CELLS: dict[str, Callable[[int], Cell]] = {
    "lstm": CELLS["lstm"],
    "layer_norm_lstm": LayerNormLSTMCell,
    "gru": CELLS["gru"],
}
LEVEL = 0.1
"""The root mean square of a sound with ``normalise = "level"``: -20 dB."""
PRIOR = 100
"""``P``: the running mean begins as if so many frames of the training mean had come."""


@config
class SpecAugmentConfig:
    """Bands of time and frequency that training hides; see
    `lstm_jax.models.spec_augment`."""

    time_masks: Annotated[int, Field(ge=0, le=100)] = 0
    """Masks of time in every recording."""
    time_ms: Annotated[float, Field(ge=0)] = 100.0
    """The longest mask of time, in milliseconds; a fifth of the recording at most."""
    band_masks: Annotated[int, Field(ge=0, le=100)] = 0
    """Masks of features in every recording."""
    band_width: NonNegativeInt = 8
    """Features that a mask hides at the most."""


@config
class AcousticConfig:
    """Cells, sizes and regularisers of the recurrent layers."""

    cell: Literal["lstm", "layer_norm_lstm", "gru"] = "lstm"
    """The cell; `layer_norm_lstm` normalises every layer (Ba et al. 2016)."""
    hidden_size: Count = 256
    """Units of a layer, in each direction."""
    projection_size: NonNegativeInt = 0
    """Units that an LSTM layer passes on, fewer than `hidden_size` (Sak et al. 2014);
    0: no projection."""
    num_layers: Depth = 2
    """Number of layers."""
    bidirectional: bool = True
    """Whether every layer reads in both directions; a stream needs false."""
    input_dropout: Rate = 0.0
    """Dropout rate of the inputs of the first layer."""
    dropout: Rate = 0.0
    """Dropout rate between the layers."""
    output_dropout: Rate = 0.0
    """Dropout rate of the outputs of the last layer."""
    variational: bool = False
    """Whether dropout zeroes the same units at every step of a sequence."""
    normalise: Literal["train", "level", "utterance", "running"] = "train"
    """`train`: features are standardised by the training split. `level`: also,
    recordings are first scaled to equal loudness. `utterance`: also, the mean over the
    recording is subtracted. `running`: also, the mean up to each frame is subtracted. A
    stream needs `train` or `running`."""
    stack_frames: Annotated[int, Field(ge=1, le=16)] = 1
    """Frames side by side in one step of the layers; 2 halves the number of steps."""
    augment: SpecAugmentConfig = SpecAugmentConfig()
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The compute dtype of the layers. Parameters and cell states are float32."""

    def __post_init__(self):
        check_rates(self)
        if self.projection_size and self.cell != "lstm":
            raise ValueError(
                f'projection_size={self.projection_size} needs cell="lstm", and cell '
                f'is "{self.cell}"; set one of them'
            )
        if self.projection_size >= self.hidden_size:
            raise ValueError(
                f"projection_size is {self.projection_size}, expected less than "
                f"hidden_size, {self.hidden_size}; lower it, or 0 for none"
            )

    @property
    def streams(self) -> bool:
        """Whether the model can listen while the sound is still coming."""
        return not self.bidirectional and self.normalise in ("train", "running")

    def build(
        self, of: FeatureConfig, scale: Standardisation, classes: int, rngs: nnx.Rngs
    ) -> "AcousticModel":
        """Builds the model, for ``classes`` classes, the blank among them."""
        make = ACOUSTIC_CELLS[self.cell]
        if self.projection_size:
            make = lambda size: LSTMPCell(size, self.projection_size)
        stack = Stack(
            [make(self.hidden_size)] * self.num_layers,
            bidirectional=self.bidirectional,
            input_dropout=self.input_dropout,
            dropout=self.dropout,
            output_dropout=self.output_dropout,
            locked=self.variational,
        )
        return AcousticModel(self, of, scale, stack, classes, rngs=rngs)


def at_level(
    signal: Float[Array, "N *B"], lengths: Int[Array, "*B"]
) -> Float[Array, "N *B"]:
    """Every row as loud as `LEVEL`; silence stays silent, and padding becomes 0."""
    real = length_mask(lengths, len(signal))
    signal = jnp.where(real, signal, 0)
    total = jnp.square(signal).sum(axis=0)
    count = jnp.maximum(lengths, 1).astype(signal.dtype)
    factor = LEVEL * jax.lax.rsqrt(jnp.maximum(total / count, 1e-10))
    return signal * factor[None]


class Listening(NamedTuple):
    """The state of a model between two pieces of a sound."""

    total: Float[Array, "B F"]
    """The sum of the features so far, for the running mean."""
    frames: Int[Array, ""]
    """How many frames that were."""
    layers: PyTree
    """The carries of the layers."""


class AcousticModel(Module):
    """Scores of the labels at every step of a sound. Time-major.

    Args:
        config: see `AcousticConfig`.
        of: which features.
        scale: their mean and standard deviation.
        stack: the recurrent layers.
        classes: ``K``, the blank among them, which is the last one.
        rngs: source of keys.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax.audio import FeatureConfig
    >>> from lstm_jax.data.standardise import Standardisation
    >>> from lstm_jax.models.acoustic import AcousticConfig
    >>> of = FeatureConfig(rate=8000, mels=20)
    >>> scale = Standardisation((0.0,) * 20, (1.0,) * 20)
    >>> config = AcousticConfig(hidden_size=8, stack_frames=2)
    >>> model = config.build(of, scale, classes=11, rngs=nnx.Rngs(0))
    >>> sound, lengths = jnp.zeros((8000, 2)), jnp.array([8000, 4000])
    >>> logits, steps = model(sound, lengths, deterministic=True)
    >>> logits.shape, steps.tolist()
    ((49, 2, 11), [49, 24])
    """

    def __init__(
        self,
        config: AcousticConfig,
        of: FeatureConfig,
        scale: Standardisation,
        stack: Stack,
        classes: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.config, self.of, self.scale = config, of, scale
        self.layers = Recurrent(
            stack,
            of.size * config.stack_frames,
            time_major=True,
            dtype=jnp.dtype(config.dtype),
            rngs=rngs,
        )
        out = stack.sizes(of.size * config.stack_frames)[-1]
        # The readout is small, so it stays in float32 whatever dtype the layers use.
        self.head = Linear(out, classes, rngs=rngs)

    def __call__(
        self,
        signal: Float[Array, "N B"],
        lengths: Int[Array, "B"],
        *,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> tuple[Float[Array, "T B K"], Int[Array, "B"]]:
        """Logits of every step, and the steps of every row.

        Args:
            signal: samples at the rate of the features.
            lengths: real samples of every row. Padding changes nothing.
            key, deterministic: as in `lstm_jax.nn.Recurrent`. With a key, training
                hides what ``config.augment`` says.

        Raises:
            TypeError, ValueError: as in `lstm_jax.audio.features`.
        """
        if self.config.normalise == "level":
            signal = at_level(signal, lengths)
        xs = standardise(features(signal, self.of, lengths), self.scale)
        frames = frame_lengths(lengths, self.of)
        real = length_mask(frames, len(xs))[..., None]
        xs = jnp.where(real, xs, 0)
        if self.config.normalise == "utterance":
            count = jnp.maximum(frames, 1).astype(xs.dtype)[:, None]
            xs = jnp.where(real, xs - (xs.sum(axis=0) / count)[None], 0)
        elif self.config.normalise == "running":
            at = jnp.arange(1, len(xs) + 1, dtype=xs.dtype)[:, None, None]
            xs = jnp.where(real, xs - jnp.cumsum(xs, axis=0) / (PRIOR + at), 0)
        training = not (
            self.layers.deterministic if deterministic is None else deterministic
        )
        if training and key is not None:
            key, of_masks = jax.random.split(key)
            xs = self._hide(xs, frames, of_masks)
        xs, steps = self._stacked(xs), frames // self.config.stack_frames
        hs = self.layers(xs, lengths=steps, key=key, deterministic=deterministic)
        return self._read(hs), steps

    def _hide(self, xs, frames, key):
        augment = self.config.augment
        return spec_augment(
            xs,
            frames,
            key,
            time_masks=augment.time_masks,
            time_width=round(augment.time_ms / self.of.hop_ms),
            band_masks=augment.band_masks,
            band_width=augment.band_width,
        )

    def _stacked(self, xs):
        """Frames side by side; the last ones may fill no step."""
        count = self.config.stack_frames
        if count == 1:
            return xs
        steps, (rows, size) = len(xs) // count, xs.shape[1:]
        xs = xs[: steps * count].reshape(steps, count, rows, size)
        return jnp.swapaxes(xs, 1, 2).reshape(steps, rows, count * size)

    def _read(self, hs):
        return self.head(hs.astype(jnp.promote_types(hs.dtype, jnp.float32)))

    # While the sound is coming

    def listen(self, rows: int = 1) -> Listening:
        """The state before the first frame.

        Raises:
            ValueError: the model reads backwards, or needs the whole sound.
        """
        if not self.config.streams:
            raise ValueError(
                f"the model has bidirectional={self.config.bidirectional} and "
                f"normalise={self.config.normalise!r}, which need the whole sound; "
                f'train with bidirectional=false and normalise "train" or "running".'
            )
        zeros = jnp.zeros((rows, self.of.size), jnp.float32)
        nothing = jnp.zeros((0, rows, self.layers_in), jnp.float32)
        carries, _ = self._run(None, nothing, None)
        return Listening(zeros, jnp.zeros((), jnp.int32), carries)

    @property
    def layers_in(self) -> int:
        """Features that the layers read at a step."""
        return self.of.size * self.config.stack_frames

    def hear(
        self,
        state: Listening,
        frames: Float[Array, "N B F"],
        steps: Int[Array, ""] | None = None,
    ) -> tuple[Listening, Float[Array, "T B K"]]:
        """Goes on by some frames; the same numbers as a call on the whole sound.

        Args:
            state: from `listen` or from this function.
            frames: features, a multiple of ``config.stack_frames``.
            steps: real steps; ``None`` means all. What comes after them changes
                nothing.

        Returns:
            The state, and the logits of the steps.
        """
        count = self.config.stack_frames
        xs = standardise(frames, self.scale)
        real = jnp.asarray(len(xs) // count if steps is None else steps, jnp.int32)
        mask = jnp.arange(len(xs), dtype=jnp.int32) < real * count
        xs = jnp.where(mask[:, None, None], xs, 0)
        total, seen = state.total, state.frames
        if self.config.normalise == "running":
            totals = total[None] + jnp.cumsum(xs, axis=0)
            at = seen + 1 + jnp.arange(len(xs), dtype=jnp.int32)
            scaled = totals / (PRIOR + at.astype(xs.dtype))[:, None, None]
            total = total + xs.sum(axis=0)
            xs = jnp.where(mask[:, None, None], xs - scaled, 0)
        xs = self._stacked(xs)
        lengths = None if steps is None else jnp.full(xs.shape[1], real, jnp.int32)
        carries, hs = self._run(state.layers, xs, lengths)
        seen = seen + real * count
        return Listening(total, seen, carries), self._read(hs)

    def _run(self, carries, xs, lengths) -> Any:
        return run_stack(
            self.layers.stack,
            self.layers.params,
            carries,
            xs,
            lengths=lengths,
            dtype=self.layers.dtype,
            time_major=True,
        )
