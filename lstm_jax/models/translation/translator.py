"""A translator: a bidirectional LSTM reads, and an attentive LSTM writes.

    m         = biLSTM(E_source[source])                      the memory
    h^n_0     = tanh([h^n forward, h^n backward] w_h + b_h)   the bridge, layer by layer
    c^n_0     = [c^n forward, c^n backward] w_c + b_c
    s         = decoder(E_target[begin, y_1, y_2, ...], m)
    p(y_t | y_1 ... y_{t-1}, source) = softmax(s_t W + b)

Sutskever, Vinyals & Le, "Sequence to Sequence Learning with Neural Networks", NeurIPS
2014; Bahdanau, Cho & Bengio 2015 (a bidirectional encoder and attention); Luong, Pham &
Manning 2015 (the decoder). For the decoder see `lstm_jax.models.translation.decoder`.
"""

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field

from lstm_jax._types import Array, Float, Int, Key
from lstm_jax.config import Count, Depth, Weight, config
from lstm_jax.core import init
from lstm_jax.core.cells.lstm import LSTMCarry, LSTMCell
from lstm_jax.core.dropout import (
    drop_and_scale,
    dropout,
    keep_mask,
    variational_dropout,
)
from lstm_jax.core.layers.stack import Stack
from lstm_jax.core.primitives.elementwise import add_bias
from lstm_jax.core.primitives.matmul import matmul
from lstm_jax.core.recurrence.sequence import length_mask
from lstm_jax.models.cross_entropy import linear_cross_entropy
from lstm_jax.models.linear import Linear
from lstm_jax.models.translation.attention import Attention, Memory
from lstm_jax.models.translation.decoder import (
    AttentionDecoder,
    DecoderCarry,
    advance,
    decode,
)
from lstm_jax.nn import Recurrent
from lstm_jax.nn.module import Module
from lstm_jax.nn.weights import CellWeights

Rate = Annotated[float, Field(ge=0, lt=1)]


class PairBatch(NamedTuple):
    """Sentences and their translations as tokens, time-major. What stands in the
    padding is not read."""

    source: Int[Array, "S B"]
    """The sentences, each with its end."""
    source_lengths: Int[Array, "B"]
    """Real tokens of `source`; 0 of rows that fill up a batch."""
    inputs: Int[Array, "T B"]
    """What the decoder reads: the begin token and the translation."""
    outputs: Int[Array, "T B"]
    """What the decoder writes: the translation and its end."""
    lengths: Int[Array, "B"]
    """Real steps of `inputs` and `outputs`; 0 of rows that fill up a batch."""


@config
class TranslatorConfig:
    """Sizes, attention and regularisers of a translator."""

    embed_size: Count = 256
    """Size of the embedding of a token."""
    hidden_size: Annotated[Count, Field(multiple_of=2)] = 512
    """Units of a layer: of the decoder, and of both directions of the encoder
    together."""
    num_layers: Depth = 1
    """Number of layers, of the encoder and of the decoder."""
    attention: Literal["general", "dot", "additive"] = "general"
    """How the decoder scores source positions; see
    `lstm_jax.models.translation.attention`."""
    heads: Annotated[int, Field(ge=1, le=64)] = 1
    """Attention heads, for the scores general and dot."""
    coverage: bool = False
    """Whether the additive score reads how much each position was attended to."""
    input_feeding: bool = True
    """Whether the decoder reads its last output beside the last token."""
    tied: Literal["none", "target", "both"] = "none"
    """`target`: the output layer uses the embedding of the target as its weights;
    `both`: source and target share one embedding, too, and need a shared vocabulary."""
    dropout: Rate = 0.0
    """Dropout rate between the layers."""
    input_dropout: Rate = 0.0
    """Dropout rate of the embedded tokens."""
    memory_dropout: Rate = 0.0
    """Dropout rate of the encoder's states, which the decoder attends to."""
    output_dropout: Rate = 0.0
    """Dropout rate of the input of the output layer, which is also fed back."""
    variational: bool = False
    """Whether dropout zeroes the same units at every step of a sentence."""
    weight_drop: Rate = 0.0
    """Dropout rate of the recurrent weights, with one mask for a batch."""
    label_smoothing: Rate = 0.0
    """Fraction of a token that is spread over the vocabulary in the training loss."""
    init_range: Weight = 0.0
    """Embeddings and output layer start as U(-`init_range`, `init_range`); 0 uses the
    default initialisers."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The compute dtype: of what the layers read and write. Parameters, cell states and
    the attention are float32."""

    def __post_init__(self):
        if self.dropout and self.num_layers == 1:
            raise ValueError(
                f"dropout={self.dropout} acts between layers, but num_layers is 1; set "
                f"input_dropout or output_dropout"
            )
        if self.tied != "none" and self.embed_size != self.hidden_size:
            raise ValueError(
                f"tied={self.tied!r} needs embed_size as large as hidden_size, not "
                f"{self.embed_size} and {self.hidden_size}; set embed_size="
                f"{self.hidden_size}"
            )
        self.cell  # noqa: B018, raises where the sizes do not fit

    @property
    def cell(self) -> AttentionDecoder:
        """The cell of the decoder."""
        size = self.hidden_size
        attention = Attention(self.attention, size, size, self.heads, self.coverage)
        return AttentionDecoder(size, self.num_layers, attention, self.input_feeding)

    @property
    def in_evaluation(self) -> "TranslatorConfig":
        """This config without what only training reads."""
        rates = [field.name for field in dataclasses.fields(self)]
        rates = [name for name in rates if name.endswith("dropout")]
        none = dict.fromkeys([*rates, "weight_drop", "label_smoothing"], 0.0)
        return dataclasses.replace(self, **none, variational=False, init_range=0.0)

    def build(self, source_size: int, target_size: int, rngs: nnx.Rngs) -> "Translator":
        """Builds a model with random parameters, for vocabularies of these sizes."""
        return Translator(self, source_size, target_size, rngs=rngs)


class Translator(Module):
    """The equations at the top of this file. Time-major.

    Args:
        config: sizes and regularisers.
        source_size: tokens of the source vocabulary.
        target_size: tokens of the target vocabulary.
        rngs: source of keys.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax.models.translation import PairBatch, TranslatorConfig
    >>> config = TranslatorConfig(embed_size=4, hidden_size=8)
    >>> model = config.build(source_size=10, target_size=12, rngs=nnx.Rngs(0))
    >>> tokens, lengths = jnp.zeros((7, 2), jnp.int32), jnp.array([7, 3])
    >>> model(PairBatch(tokens, lengths, tokens[:5], tokens[:5], lengths - 2)).shape
    (5, 2, 12)
    """

    def __init__(
        self,
        config: TranslatorConfig,
        source_size: int,
        target_size: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.config, self.deterministic = config, False
        self.cell = cell = config.cell
        size, width = config.hidden_size, config.embed_size
        drawn: dict[str, Any] = {}
        if config.init_range:
            drawn = {"embedding_init": init.uniform(config.init_range)}
        elif config.tied != "none":
            # As the weights of the output layer: Flax's default is for inputs.
            drawn = {"embedding_init": jax.nn.initializers.normal(width**-0.5)}
        if config.tied == "both" and source_size != target_size:
            raise ValueError(
                f"tied='both' with {source_size} source and {target_size} target "
                f"tokens, expected one shared vocabulary."
            )
        self.target_embed = nnx.Embed(target_size, width, rngs=rngs, **drawn)
        if config.tied != "both":
            self.source_embed = nnx.Embed(source_size, width, rngs=rngs, **drawn)
        stack = Stack(
            [LSTMCell(size // 2)] * config.num_layers,
            bidirectional=True,
            dropout=config.dropout,
            output_dropout=config.memory_dropout,
            locked=config.variational,
            weight_drop=config.weight_drop,
        )
        how = {"time_major": True, "return_carry": True, "rngs": rngs}
        how["dtype"] = jnp.dtype(config.dtype)
        self.encoder = Recurrent(stack, width, **how)
        linear = lambda: Linear(size, size, rngs=rngs)
        self.bridge_h = nnx.List([linear() for _ in range(config.num_layers)])
        self.bridge_c = nnx.List([linear() for _ in range(config.num_layers)])
        self.decoder = CellWeights(cell.init(rngs.params(), width))
        if config.tied == "none":
            kernel = init.uniform(config.init_range) if drawn else init.glorot
            self.head = Linear(size, target_size, kernel_init=kernel, rngs=rngs)
        else:
            self.bias = nnx.Param(jnp.zeros(target_size))

    # The pieces, which a search runs one by one

    def encode(
        self,
        source: Int[Array, "S B"],
        lengths: Int[Array, "B"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Memory, DecoderCarry]:
        """What the decoder attends to, and the state it starts from.

        Args:
            source: tokens; those of the padding are not read.
            lengths: real tokens of every sentence.
            key: key of dropout; ``None`` means evaluation.
        """
        of_inputs, of_stack = (None, None) if key is None else jax.random.split(key)
        real = length_mask(lengths, source.shape[0])  # may be symbolic: no len()
        table = (
            self.target_embed if self.config.tied == "both" else self.source_embed
        ).embedding[...]
        xs = self._embed(of_inputs, table, jnp.where(real, source, 0))
        carries, hs = self.encoder(
            xs, lengths=lengths, key=of_stack, deterministic=key is None
        )
        memory = self.cell.attention.memory(self._decoder.attention, hs, real)

        def join(states):
            return jnp.concatenate(states, axis=-1).astype(table.dtype)

        layers = tuple(
            LSTMCarry(
                jnp.tanh(of_h(join([both.forward.h, both.backward.h]))).astype(
                    self.config.dtype
                ),
                of_c(join([both.forward.c, both.backward.c])),
            )
            for of_h, of_c, both in zip(
                self.bridge_h, self.bridge_c, carries, strict=True
            )
        )
        return memory, self.cell.start(layers, memory)

    def step(
        self, memory: Memory, carry: DecoderCarry, tokens: Int[Array, "B"]
    ) -> tuple[DecoderCarry, Float[Array, "B V"], Float[Array, "B heads S"]]:
        """One token further, in evaluation: carry, logits of the next token, and the
        weights of the source positions."""
        x = self._embed(None, self.target_embed.embedding[...], tokens)
        carry, s, a = advance(self.cell, self._decoder, memory, carry, x)
        return carry, self._logits(s), a

    # Whole sentences

    def hidden(
        self, pairs: PairBatch, *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "T B H"]:
        """``s`` of every step, the input of the output layer."""
        keys = (None,) * 4 if key is None else jax.random.split(key, 4)
        of_encoder, of_inputs, of_masks, of_weights = keys
        memory, carry = self.encode(pairs.source, pairs.source_lengths, key=of_encoder)
        xs = self._embed(of_inputs, self.target_embed.embedding[...], pairs.inputs)
        params, rate = self._decoder, self.config.weight_drop
        if of_weights is not None and rate:
            params = params._replace(w=self._drop_weights(of_weights, params.w, rate))
        real = length_mask(pairs.lengths, len(xs))
        masks = self._masks(of_masks, xs)
        return decode(self.cell, params, memory, carry, xs, real=real, masks=masks)

    def __call__(
        self,
        pairs: PairBatch,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "T B V"]:
        """Logits of every target token; ``key=None`` means evaluation."""
        return self._logits(self.hidden(pairs, key=key))

    def loss(
        self,
        pairs: PairBatch,
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The mean cross-entropy of the target tokens in nats, and their number.

        With a key, the loss of training: with dropout and label smoothing.
        """
        hs = self.hidden(pairs, key=key)
        real = length_mask(pairs.lengths, len(pairs.outputs)).astype(jnp.float32)
        outputs = jnp.where(real > 0, pairs.outputs, 0)
        smoothing = 0.0 if key is None else self.config.label_smoothing
        nats = linear_cross_entropy(
            hs, *self.head_weights, outputs, weights=real, smoothing=smoothing
        )
        return nats, real.sum()

    @property
    def head_weights(self) -> tuple[Array, Array]:
        """Kernel ``[H, V]`` and bias of the output layer."""
        if self.config.tied != "none":
            return self.target_embed.embedding[...].T, self.bias[...]
        bias = self.head.bias
        assert bias is not None
        return self.head.kernel[...], bias[...]

    @property
    def _decoder(self):
        return self.decoder.params

    def _embed(self, key, table, tokens):
        xs = jnp.take(table, tokens, axis=0).astype(self.config.dtype)
        return self._drop(key, xs, self.config.input_dropout)

    def _logits(self, hs):
        kernel, bias = self.head_weights
        return add_bias(matmul(hs, kernel), bias)

    def _drop(self, key, xs, rate):
        if key is None or not rate:
            return xs
        drop = variational_dropout if self.config.variational else dropout
        return drop(key, xs, rate)

    def _masks(self, key, xs):
        """Factors of the outputs of every layer but the last one, and of ``s``."""
        config = self.config
        rates = [config.dropout] * (config.num_layers - 1) + [config.output_dropout]
        if key is None or not any(rates):
            return None
        ones = jnp.ones((*xs.shape[:2], config.hidden_size), xs.dtype)
        keys = jax.random.split(key, len(rates))
        return tuple(map(self._drop, keys, [ones] * len(rates), rates))

    def _drop_weights(self, key, weights, rate):
        """Drops recurrent weights: the last H rows of every layer."""
        size = self.config.hidden_size
        made = []
        for n, w in enumerate(weights):
            keep = keep_mask(jax.random.fold_in(key, n), rate, (size, w.shape[1]))
            made.append(w.at[-size:].set(drop_and_scale(keep, w[-size:], rate)))
        return tuple(made)
