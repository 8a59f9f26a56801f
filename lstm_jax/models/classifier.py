"""One label for a sequence: recurrent layers, pooling, a linear layer.

logits = pool(hs) W + b        p(class) = softmax(logits)
"""

from typing import Annotated, Literal

from flax import nnx
from pydantic import Field

from lstm_jax._types import Array, Float, Int, Key, Lengths
from lstm_jax.config import Count, config
from lstm_jax.models.encoder import Encoder, EncoderConfig, Inputs
from lstm_jax.models.label_loss import Total, label_nats
from lstm_jax.models.linear import Linear
from lstm_jax.models.pooling import (
    AttentionParams,
    init_attention,
    pool_attention,
    pool_last,
    pool_max,
    pool_mean,
)
from lstm_jax.nn.module import Module

Pooling = Literal["last", "mean", "max", "attention"]


@config
class ClassifierConfig(EncoderConfig):
    """The layers, and the pooling of their hidden states into one label."""

    pooling: Pooling = "last"
    """How the hidden states become one vector: the last hidden state of each direction,
    the mean, the maximum, or a mean with learned weights."""
    attention_size: Count = 64
    """Units of the layer that computes the weights of the steps for
    `pooling = "attention"`."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of a label that is spread over all classes in the training loss."""

    def build(
        self, inputs: Inputs, classes: int, steps: int, rngs: nnx.Rngs
    ) -> "SequenceClassifier":
        """Builds the model, for sequences of at most ``steps`` steps."""
        return SequenceClassifier(
            self.build_encoder(inputs, steps, rngs),
            classes,
            pooling=self.pooling,
            attention_size=self.attention_size,
            rngs=rngs,
        )


class SequenceClassifier(Module):
    """Classifies whole sequences. Time-major.

    Only the bias decides the class of a sequence of length 0.

    Args:
        encoder: computes a hidden state for every step.
        classes: number of classes, ``C``.
        pooling: ``last``, ``mean``, ``max`` or ``attention``; see
            `lstm_jax.models.pooling`.
        attention_size: units of the layer of ``attention``.
        rngs: source of keys.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax.data.standardise import Standardisation
    >>> from lstm_jax.models.classifier import ClassifierConfig
    >>> inputs = Standardisation(mean=(0.0, 5.0, 1.0), std=(1.0, 2.0, 1.0))
    >>> config = ClassifierConfig(hidden_size=8, bidirectional=True)
    >>> model = config.build(inputs, classes=4, steps=7, rngs=nnx.Rngs(0))
    >>> model(jnp.ones((7, 2, 3)), lengths=[7, 3]).shape
    (2, 4)
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        *,
        pooling: Pooling = "last",
        attention_size: int = 64,
        rngs: nnx.Rngs,
    ):
        self.encoder = encoder
        self.pooling = pooling
        if pooling == "attention":
            drawn = init_attention(rngs.params(), encoder.out_size, attention_size)
            self.attention = nnx.Dict(
                {name: nnx.Param(value) for name, value in drawn._asdict().items()}
            )
        # The readout is small, so it stays in float32 whatever dtype the layers use.
        self.head = Linear(encoder.out_size, classes, rngs=rngs)

    def __call__(
        self,
        xs: Array,
        *,
        lengths: Lengths | None = None,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> Float[Array, "*B C"]:
        """Logits of the classes; arguments and errors as in `Encoder`."""
        hs = self.encoder(xs, lengths=lengths, key=key, deterministic=deterministic)
        return self.head(self._pool(hs, lengths))

    def _pool(self, hs, lengths):
        match self.pooling:
            case "mean":
                return pool_mean(hs, lengths)
            case "max":
                return pool_max(hs, lengths)
            case "attention":
                names = AttentionParams._fields
                params = AttentionParams(*(self.attention[n][...] for n in names))
                return pool_attention(params, hs, lengths)
        both = self.encoder.layers.stack.bidirectional
        return pool_last(hs, lengths, bidirectional=both)

    def loss(
        self,
        xs: Array,
        labels: Int[Array, "*B"],
        *,
        lengths: Lengths | None = None,
        weights: Float[Array, "*B"] | None = None,
        class_weights: Float[Array, "C"] | None = None,
        smoothing: float = 0.0,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> Total:
        """The summed cross-entropy of the labels in nats, and its weight.

        Args:
            xs, lengths, key, deterministic: as in a call.
            labels, weights, class_weights, smoothing: as in
                `lstm_jax.models.label_loss.label_nats`.

        Raises:
            TypeError, ValueError: as in a call and in ``label_nats``.
        """
        logits = self(xs, lengths=lengths, key=key, deterministic=deterministic)
        return label_nats(
            logits,
            labels,
            weights=weights,
            class_weights=class_weights,
            smoothing=smoothing,
        )
