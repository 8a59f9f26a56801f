"""Computes hidden states from standardised features or embedded tokens.

    real-valued    x_t = (features_t - mean) / std
    tokens         x_t = E[token_t]
    hs             = layers(x)

The recurrent layers are those of `lstm_jax.nn.Recurrent`, bidirectional or not.
"""

import dataclasses
from typing import Annotated, Any, Literal

import jax.numpy as jnp
from flax import nnx
from pydantic import Field, NonNegativeInt, field_validator

from lstm_jax._types import Array, Float, Key, Lengths
from lstm_jax.config import Count, Depth, config
from lstm_jax.core import init
from lstm_jax.core.arguments import check_floating, check_size
from lstm_jax.core.layers.stack import Stack
from lstm_jax.data.standardise import Standardisation
from lstm_jax.models.sequence_reader import CELLS
from lstm_jax.nn import Recurrent
from lstm_jax.nn.module import Module

Rate = Annotated[float, Field(ge=0, lt=1)]


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Inputs that are tokens ``0 ... vocabulary_size - 1``."""

    vocabulary_size: int

    def __post_init__(self):
        check_size("vocabulary_size", self.vocabulary_size)


Inputs = Standardisation | Tokens
"""The inputs of a model: features to standardise, or tokens to embed."""


def check_rates(config: Any) -> None:
    """Raises ValueError for dropout rates of a config that have no effect."""
    if config.dropout and config.num_layers == 1:
        raise ValueError(
            f"dropout={config.dropout} acts between layers, but num_layers is 1; "
            f"set input_dropout or output_dropout"
        )
    rates = config.input_dropout, config.dropout, config.output_dropout
    if config.variational and not any(rates):
        raise ValueError(
            "variational=true needs input_dropout, dropout or output_dropout above 0"
        )


@config
class EncoderConfig:
    """Cells, sizes and regularisers of the recurrent layers."""

    cell: Literal["lstm", "lstm_chrono", "gru", "rnn"] = "lstm"
    """The cell; `lstm_chrono` initialises the gate biases for long dependencies (Tallec
    & Ollivier 2018)."""
    chrono_steps: NonNegativeInt = 0
    """The longest dependency for `lstm_chrono`, 2 or more; 0 uses the length of the
    longest sequence. Other cells ignore it."""
    hidden_size: Count = 128
    """Units of a layer, in each direction."""
    num_layers: Depth = 1
    """Number of layers."""
    bidirectional: bool = False
    """Whether every layer reads in both directions."""
    embed_size: Count = 64
    """Size of the embedding of a token. Real-valued inputs ignore it."""
    input_dropout: Rate = 0.0
    """Dropout rate of the inputs of the first layer."""
    dropout: Rate = 0.0
    """Dropout rate between the layers."""
    output_dropout: Rate = 0.0
    """Dropout rate of the outputs of the last layer."""
    variational: bool = False
    """Whether dropout zeroes the same units at every step of a sequence."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The compute dtype of the layers. Parameters and cell states are float32."""

    @field_validator("chrono_steps")
    @classmethod
    def _is_a_dependency(cls, value: int) -> int:
        if value == 1:
            raise ValueError("expected 2 or more, or 0 for the longest sequence")
        return value

    def __post_init__(self):
        check_rates(self)

    def build_encoder(self, inputs: Inputs, steps: int, rngs: nnx.Rngs) -> "Encoder":
        """Builds the encoder, for sequences of at most ``steps`` steps."""
        chrono = init.chrono(self.chrono_steps or max(steps, 2))
        stack = Stack(
            [CELLS[self.cell](self.hidden_size)] * self.num_layers,
            bidirectional=self.bidirectional,
            input_dropout=self.input_dropout,
            dropout=self.dropout,
            output_dropout=self.output_dropout,
            locked=self.variational,
        )
        return Encoder(
            inputs,
            stack,
            embed_size=self.embed_size,
            dtype=jnp.dtype(self.dtype),
            forget_bias=chrono if self.cell == "lstm_chrono" else None,
            rngs=rngs,
        )


class Encoder(Module):
    """Hidden states of every step, from features or tokens. Time-major.

    Args:
        inputs: `Standardisation` of features, or `Tokens`.
        stack: the recurrent layers.
        embed_size: size of the embedding of a token.
        dtype: compute dtype of the layers.
        forget_bias: as in `lstm_jax.nn.Recurrent`.
        rngs: source of keys.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax import LSTMCell, Stack
    >>> from lstm_jax.models.encoder import Encoder, Tokens
    >>> stack = Stack([LSTMCell(8)], bidirectional=True)
    >>> encoder = Encoder(Tokens(10), stack, embed_size=4, rngs=nnx.Rngs(0))
    >>> encoder(jnp.zeros((7, 2), jnp.int32), lengths=[7, 3]).shape
    (7, 2, 16)
    """

    def __init__(
        self,
        inputs: Inputs,
        stack: Stack,
        *,
        embed_size: int = 64,
        dtype: Any = jnp.float32,
        forget_bias: init.ForgetBias | None = None,
        rngs: nnx.Rngs,
    ):
        self.inputs = inputs
        if isinstance(inputs, Tokens):
            self.embed = nnx.Embed(inputs.vocabulary_size, embed_size, rngs=rngs)
            in_size = embed_size
        else:
            in_size = inputs.features
        self.out_size = stack.sizes(in_size)[-1]
        self.layers = Recurrent(
            stack,
            in_size,
            time_major=True,
            dtype=dtype,
            forget_bias=forget_bias,
            rngs=rngs,
        )

    def __call__(
        self,
        xs: Array,
        *,
        lengths: Lengths | None = None,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> Float[Array, "T *B H"]:
        """Hidden states, 0 in the padding.

        Args:
            xs: features ``[T, ..., D]``, or tokens ``[T, ...]``. A traced token outside
                the vocabulary gives NaN.
            lengths: real steps of every row; ``None`` means all steps. Padding, even
                NaN, changes neither values nor gradients.
            key, deterministic: as in `lstm_jax.nn.Recurrent`.

        Raises:
            TypeError: tokens are not integers, or features are not floating point.
            ValueError: the number of features is wrong; or as in
                `lstm_jax.nn.Recurrent`.
        """
        if isinstance(self.inputs, Tokens):
            xs = self._embed(xs, self.inputs.vocabulary_size)
        else:
            xs = standardise(xs, self.inputs)
        return self.layers(xs, lengths=lengths, key=key, deterministic=deterministic)

    def _embed(self, tokens, size):
        tokens = jnp.asarray(tokens)
        if not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise TypeError(
                f"xs has dtype {tokens.dtype}, expected integers, the tokens of a text."
            )
        # A negative index would select another token, so make it invalid.
        tokens = jnp.where(tokens < 0, jnp.full_like(tokens, size), tokens)
        table = self.embed.embedding[...]
        return jnp.take(table, tokens, axis=0, mode="fill", fill_value=jnp.nan)


def standardise(xs: Float[Array, "*S D"], by: Standardisation) -> Float[Array, "*S D"]:
    """``(xs - mean) / std``, feature by feature.

    Raises:
        TypeError: ``xs`` is not floating-point.
        ValueError: the number of features is wrong.
    """
    xs = check_floating("xs", xs)
    if xs.shape[-1:] != (by.features,):
        raise ValueError(
            f"xs has shape {xs.shape}, expected {by.features} features on the last "
            f"axis, [T, ..., {by.features}]."
        )
    wide = lambda values: jnp.broadcast_to(jnp.array(values, xs.dtype), xs.shape)
    return (xs - wide(by.mean)) / wide(by.std)
