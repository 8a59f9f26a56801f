"""A language model: embedding, LSTM stack, output layer."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from pydantic import Field

from lstm_jax._types import Array, Float, Int, Key
from lstm_jax.config import Count, Depth, Weight, config
from lstm_jax.core import init
from lstm_jax.core.arguments import check_bool, check_key
from lstm_jax.core.dropout import dropout, embedding_dropout, variational_dropout
from lstm_jax.core.layers.penalties import (
    activation_penalty,
    temporal_activation_penalty,
)
from lstm_jax.core.primitives.elementwise import add_bias
from lstm_jax.core.primitives.matmul import matmul
from lstm_jax.models.cross_entropy import linear_cross_entropy
from lstm_jax.models.linear import Linear
from lstm_jax.nn import LSTM
from lstm_jax.nn.module import Module
from lstm_jax.ops import missing_key
from lstm_jax.programs import pieces
from lstm_jax.programs.program import Program

Rate = Annotated[float, Field(ge=0, lt=1)]


@config
class LanguageModelConfig:
    """Sizes, initialisation and regularisers of a language model."""

    embed_size: Count = 64
    """Size of the embedding of a token."""
    hidden_size: Count | tuple[Count, ...] = 256
    """Units of every layer, or a list with the units of each layer."""
    num_layers: Depth = 1
    """Number of layers; with a list of sizes, the length of the list."""
    tied: bool = False
    """Whether the output layer uses the embedding as its weights."""
    init_range: Weight = 0.0
    """Initial weights are U(-`init_range`, `init_range`); 0 uses the default
    initialisers."""
    forget_bias: Annotated[float, Field(ge=-1e30, le=1e30)] = 1.0
    """Initial bias of the forget gate."""
    dropout: Rate = 0.0
    """Dropout rate between the layers."""
    input_dropout: Rate = 0.0
    """Dropout rate of the embedded inputs."""
    output_dropout: Rate = 0.0
    """Dropout rate of the input of the output layer."""
    embedding_dropout: Rate = 0.0
    """Dropout rate of whole tokens, for a whole window."""
    weight_drop: Rate = 0.0
    """Dropout rate of the recurrent weights, with one mask for a whole window."""
    locked: bool = False
    """Variational dropout: whether one dropout mask serves all steps of a window."""
    activation_penalty: Weight = 0.0
    """Weight of the mean square of the outputs in the training loss."""
    temporal_penalty: Weight = 0.0
    """Weight of the mean square change of the outputs, from step to step."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The compute dtype. Parameters and cell states are float32."""

    def __post_init__(self):
        sizes = self.hidden_size
        if sizes == ():
            raise ValueError("hidden_size is empty, expected one or more sizes")
        if not isinstance(sizes, int) and self.num_layers not in (1, len(sizes)):
            raise ValueError(
                f"num_layers is {self.num_layers}, but hidden_size names "
                f"{len(sizes)} layers; leave num_layers out"
            )
        if self.tied and self.layer_sizes[-1] != self.embed_size:
            raise ValueError(
                f"tied needs a last layer as large as an embedded token, not "
                f"{self.layer_sizes[-1]} and {self.embed_size}; set embed_size="
                f"{self.layer_sizes[-1]}"
            )
        if self.dropout and len(self.layer_sizes) == 1:
            raise ValueError(
                f"dropout={self.dropout} acts between layers, but there is only one; "
                f"set output_dropout or input_dropout"
            )
        values = self.input_dropout, self.dropout, self.output_dropout
        if self.locked and not any(values):
            raise ValueError(
                "locked does nothing without input_dropout, dropout or output_dropout; "
                "set one of them above 0"
            )

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Units of every layer."""
        sizes = self.hidden_size
        return (sizes,) * self.num_layers if isinstance(sizes, int) else sizes

    @property
    def regularisers(self) -> list[str]:
        """The active regularisers, by name, with their values."""
        names = (
            "dropout",
            "input_dropout",
            "output_dropout",
            "embedding_dropout",
            "weight_drop",
            "activation_penalty",
            "temporal_penalty",
        )
        return [f"{name}={value}" for name in names if (value := getattr(self, name))]

    def build(self, vocabulary_size: int, rngs: nnx.Rngs) -> "LanguageModel":
        """Builds a model with random parameters from ``rngs.params()``."""
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return LanguageModel(vocabulary_size, rngs=rngs, **options)


class LanguageModel(Module):
    """Predicts the next token: embedding, LSTM stack, linear layer.

        h = LSTM(E[x])        p(next token) = softmax(h W + b), W = E.T if tied

    Time-major. Regularisers act only in training. As in `lstm_jax.nn.Recurrent`, a call
    of a regularised model is in training mode and needs a key, unless you pass
    ``deterministic=True`` or call ``model.eval()``.

    The regularisers are dropout, but not on recurrent connections (Zaremba, Sutskever &
    Vinyals, "Recurrent Neural Network Regularization", 2014), variational dropout over
    a window and dropout of whole tokens (Gal & Ghahramani 2016), dropped recurrent
    weights, and penalties on the outputs (Merity, Keskar & Socher, "Regularizing and
    Optimizing LSTM Language Models", 2018). Tied weights: Inan, Khosravi & Socher 2017;
    Press & Wolf 2017.

    Args:
        vocabulary_size: number of tokens, ``V``.
        rngs: source of keys.

    The others are those of `LanguageModelConfig`, which says what each one does.

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
        embed_size: int = 64,
        hidden_size: int | Sequence[int] = 256,
        num_layers: int = 1,
        tied: bool = False,
        init_range: float = 0.0,
        forget_bias: float = 1.0,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        weight_drop: float = 0.0,
        locked: bool = False,
        activation_penalty: float = 0.0,
        temporal_penalty: float = 0.0,
        dtype: Literal["float32", "bfloat16"] = "float32",
        rngs: nnx.Rngs,
    ):
        sizes = hidden_size if isinstance(hidden_size, int) else tuple(hidden_size)
        self.config = config = LanguageModelConfig(
            embed_size=embed_size,
            hidden_size=sizes,
            num_layers=num_layers,
            tied=tied,
            init_range=init_range,
            forget_bias=forget_bias,
            dropout=dropout,
            input_dropout=input_dropout,
            output_dropout=output_dropout,
            embedding_dropout=embedding_dropout,
            weight_drop=weight_drop,
            locked=locked,
            activation_penalty=activation_penalty,
            temporal_penalty=temporal_penalty,
            dtype=dtype,
        )
        self.deterministic = False
        width, out = config.embed_size, config.layer_sizes[-1]
        draw = init.uniform(config.init_range)

        def drawn(*names) -> dict[str, Any]:
            return dict.fromkeys(names, draw) if config.init_range else {}

        self.embed = nnx.Embed(
            vocabulary_size, width, rngs=rngs, **drawn("embedding_init")
        )
        self.lstm = LSTM(
            width,
            config.layer_sizes,
            input_dropout=config.input_dropout,
            dropout=config.dropout,
            locked=config.locked,
            weight_drop=config.weight_drop,
            forget_bias=config.forget_bias,
            time_major=True,
            return_carry=True,
            dtype=jnp.dtype(config.dtype),
            rngs=rngs,
            **drawn("w_x", "w_h"),
        )
        if config.tied:
            self.bias = nnx.Param(jnp.zeros(vocabulary_size))
        else:
            self.head = Linear(out, vocabulary_size, rngs=rngs, **drawn("kernel_init"))

    def hidden(
        self,
        tokens: Int[Array, "T *B"],
        carry: tuple | None = None,
        *,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> tuple[tuple, Float[Array, "T *B H"]]:
        """``(carries, hs)``; the output layer reads ``hs``. ``carry=None`` is zeros."""
        return self._run(tokens, carry, self._key(key, deterministic))[:2]

    def _key(self, key, deterministic):
        """The key for the regularisers of a call; ``None`` means evaluation."""
        deterministic = self.deterministic if deterministic is None else deterministic
        if check_bool("deterministic", deterministic):
            return None
        if key is None and (names := self.config.regularisers):
            raise missing_key(
                names,
                "pass key=jax.random.key(seed) to train, or deterministic=True to "
                "evaluate, once for all with model.eval()",
            )
        return check_key(key)

    def _run(self, tokens, carry, key):
        """The carries, the outputs, and the outputs before dropout."""
        config, table = self.config, self.embed.embedding[...]
        if key is None:
            xs = jnp.take(table, tokens, axis=0)
            carries, hs = self.lstm(xs, carry, deterministic=True)
            return carries, hs, hs
        of_tokens, of_stack, of_outputs = jax.random.split(key, 3)
        if config.embedding_dropout:
            table = embedding_dropout(of_tokens, table, config.embedding_dropout)
        xs = jnp.take(table, tokens, axis=0)
        carries, raw = self.lstm(xs, carry, key=of_stack, deterministic=False)
        drop = variational_dropout if config.locked else dropout
        hs = drop(of_outputs, raw, config.output_dropout)
        return carries, hs, raw

    def logits(self, hs: Float[Array, "*S H"]) -> Float[Array, "*S V"]:
        """The output layer, always in float32, even if the layers
        compute in 16 bits.
        """
        kernel, bias = self.head_weights
        return add_bias(matmul(hs, kernel), bias)

    def __call__(
        self,
        tokens: Int[Array, "T *B"],
        carry: tuple | None = None,
        *,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> tuple[tuple, Float[Array, "T *B V"]]:
        """``(carries, logits)`` of tokens ``[T, ...]``; ``carry=None`` is zeros."""
        carries, hs = self.hidden(tokens, carry, key=key, deterministic=deterministic)
        return carries, self.logits(hs)

    def nats(
        self, hs: Float[Array, "*S H"], targets: Int[Array, "*S"]
    ) -> Float[Array, "*S"]:
        """Cross-entropy of every target under the output layer."""
        logits = self.logits(hs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets)

    def loss(
        self,
        tokens: Int[Array, "T *B"],
        targets: Int[Array, "T *B"],
        carry: tuple | None = None,
        *,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> tuple[tuple, Float[Array, ""]]:
        """``(carries, loss)``: the mean cross-entropy of ``targets``, the next tokens,
        in nats. In training it includes the penalties. Faster than a loss on the logits
        (`linear_cross_entropy`).
        """
        key = self._key(key, deterministic)
        carries, hs, raw = self._run(tokens, carry, key)
        kernel, bias = self.head_weights
        dtype = jnp.dtype(self.config.dtype)
        loss = linear_cross_entropy(hs, kernel, bias, targets, dtype=dtype)
        if key is not None and self.config.activation_penalty:
            loss += self.config.activation_penalty * activation_penalty(hs)
        if key is not None and self.config.temporal_penalty:
            loss += self.config.temporal_penalty * temporal_activation_penalty(raw)
        return carries, loss

    @property
    def head_weights(self) -> tuple[Array, Array]:
        """Kernel ``[H, V]`` and bias of the output layer."""
        if self.config.tied:
            return self.embed.embedding[...].T, self.bias[...]
        bias = self.head.bias
        assert bias is not None
        return self.head.kernel[...], bias[...]

    @property
    def vocabulary_size(self) -> int:
        """``V``."""
        return self.embed.num_embeddings

    def init_carry(self, batch_shape: tuple[int, ...]) -> tuple:
        """The carries of zeros."""
        shapes = jax.eval_shape(
            lambda tokens: self.hidden(tokens, deterministic=True)[0],
            jnp.zeros((0, *batch_shape), jnp.int32),
        )
        return jax.tree.map(lambda c: jnp.zeros(c.shape, c.dtype), shapes)

    def program(
        self,
        *,
        batch_first: bool = False,
        lengths: bool = True,
        carry: bool = True,
    ) -> Program:
        """The model for export, from ``tokens`` to ``logits``; the arguments are those
        of `lstm_jax.interop.Program`.
        """
        parts = [
            pieces.Embed(self.embed.embedding[...]),
            pieces.Layers(self.lstm.stack, self.lstm.params),
            pieces.Linear(*self.head_weights),
        ]
        return Program(
            parts,
            batch_first=batch_first,
            lengths=lengths,
            carry=carry,
            output="logits",
        )
