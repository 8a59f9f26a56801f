"""A language model: embedding, LSTM stack, output layer."""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field, PositiveInt

from lstm_jax._types import Array, Float, Int, Key
from lstm_jax.config import config
from lstm_jax.models.cross_entropy import linear_cross_entropy
from lstm_jax.nn import LSTM


@config
class LanguageModelConfig:
    """Sizes of a language model."""

    embed_size: PositiveInt = 64
    hidden_size: PositiveInt = 256
    num_layers: PositiveInt = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the values zeroed between the layers and before the output layer."""
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Likewise, of the embedded inputs."""
    weight_drop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the recurrent weights zeroed, one mask for a whole window."""
    dtype: Literal["float32", "bfloat16"] = "float32"

    def build(self, vocabulary_size: int, rngs: nnx.Rngs) -> "LanguageModel":
        return LanguageModel(
            vocabulary_size,
            embed_size=self.embed_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            dropout=self.dropout,
            input_dropout=self.input_dropout,
            weight_drop=self.weight_drop,
            dtype=jnp.dtype(self.dtype),
            rngs=rngs,
        )


class LanguageModel(nnx.Module):
    """Predicts the next token: embedding, LSTM stack, dropout, linear layer.

    Time-major. With a key, dropout acts on the embedded inputs, between the layers and
    before the output layer, on no recurrent connection (Zaremba, Sutskever & Vinyals,
    "Recurrent Neural Network Regularization", 2014).

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax.models.language_model import LanguageModel
    >>> model = LanguageModel(10, embed_size=4, hidden_size=8, rngs=nnx.Rngs(0))
    >>> carries, logits = model(jnp.zeros((7, 2), jnp.int32))
    >>> logits.shape
    (7, 2, 10)
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        embed_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        weight_drop: float = 0.0,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.embed = nnx.Embed(vocabulary_size, embed_size, dtype=dtype, rngs=rngs)
        self.lstm = LSTM(
            embed_size,
            hidden_size,
            num_layers=num_layers,
            input_dropout=input_dropout,
            dropout=dropout,
            output_dropout=dropout,
            weight_drop=weight_drop,
            time_major=True,
            return_carry=True,
            dtype=dtype,
            rngs=rngs,
        )
        self.head = nnx.Linear(hidden_size, vocabulary_size, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        tokens: Int[Array, "T *B"],
        carry: tuple | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[tuple, Float[Array, "T *B V"]]:
        """``(carries, logits)`` of tokens ``[T, ...]``; ``carry=None`` is zeros."""
        carries, hs = self.lstm(self.embed(tokens), carry, key=key)
        return carries, self.head(hs)

    def loss(
        self,
        tokens: Int[Array, "T *B"],
        targets: Int[Array, "T *B"],
        carry: tuple | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[tuple, Float[Array, ""]]:
        """``(carries, nats)``: the mean cross-entropy of ``targets``, the tokens that
        follow; faster than by way of the logits (`linear_cross_entropy`)."""
        carries, hs = self.lstm(self.embed(tokens), carry, key=key)
        head = self.head
        assert head.bias is not None
        nats = linear_cross_entropy(
            hs, head.kernel[...], head.bias[...], targets, dtype=head.dtype
        )
        return carries, nats

    def init_carry(self, batch_shape: tuple[int, ...]) -> tuple:
        """The carries of zeros."""
        shapes = jax.eval_shape(
            lambda tokens: self(tokens)[0], jnp.zeros((0, *batch_shape), jnp.int32)
        )
        return jax.tree.map(lambda c: jnp.zeros(c.shape, c.dtype), shapes)
