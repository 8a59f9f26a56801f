"""One tag for every step: recurrent layers, a linear layer, and optionally a CRF.

logits_t = h_t W + b
without a CRF    p(tags) = product over t of softmax(logits_t)
with a CRF       p(tags) as in `lstm_jax.models.crf`
"""

from typing import Annotated

import jax.numpy as jnp
from flax import nnx
from pydantic import Field

from lstm_jax._types import Array, Float, Int, Key, Lengths
from lstm_jax.config import config
from lstm_jax.core.cells.checks import check_lengths
from lstm_jax.core.recurrence.sequence import length_mask
from lstm_jax.models.crf import PADDING, CRFParams, crf_decode, crf_nats, init_crf
from lstm_jax.models.encoder import Encoder, EncoderConfig, Inputs
from lstm_jax.models.label_loss import Total, label_nats
from lstm_jax.models.linear import Linear
from lstm_jax.nn.module import Module


@config
class TaggerConfig(EncoderConfig):
    """The layers, and the output layer for tags."""

    bidirectional: bool = True
    """Whether every layer reads in both directions."""
    crf: bool = False
    """Whether a CRF scores all tags of a sequence together."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of a tag that is spread over all tags in the training loss. Not with
    `crf`."""

    def __post_init__(self):
        super().__post_init__()
        if self.crf and self.label_smoothing:
            raise ValueError(
                f"label_smoothing={self.label_smoothing} cannot be used with crf=true, "
                f"whose loss is that of a whole sequence; set one of them"
            )

    def build(
        self, inputs: Inputs, classes: int, steps: int, rngs: nnx.Rngs
    ) -> "SequenceTagger":
        """Builds the model, for sequences of at most ``steps`` steps."""
        encoder = self.build_encoder(inputs, steps, rngs)
        return SequenceTagger(encoder, classes, crf=self.crf, rngs=rngs)


class SequenceTagger(Module):
    """Classifies every step of a sequence. Time-major.

    Args:
        encoder: computes a hidden state for every step.
        classes: number of tags, ``C``.
        crf: whether a CRF scores all tags of a sequence together.
        rngs: source of keys.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax.models.encoder import Tokens
    >>> from lstm_jax.models.tagger import TaggerConfig
    >>> config = TaggerConfig(hidden_size=8, crf=True)
    >>> model = config.build(Tokens(10), classes=3, steps=7, rngs=nnx.Rngs(0))
    >>> model.decode(jnp.zeros((7, 2), jnp.int32), lengths=[7, 0])[:, 1].tolist()
    [-1, -1, -1, -1, -1, -1, -1]
    """

    def __init__(
        self, encoder: Encoder, classes: int, *, crf: bool = False, rngs: nnx.Rngs
    ):
        self.encoder = encoder
        # The readout is small, so it stays in float32 whatever dtype the layers use.
        self.head = Linear(encoder.out_size, classes, rngs=rngs)
        self.has_crf = crf
        if crf:
            scores = init_crf(classes)._asdict().items()
            self.crf = nnx.Dict({name: nnx.Param(value) for name, value in scores})

    @property
    def crf_params(self) -> CRFParams | None:
        """The scores of the CRF; ``None`` without one."""
        if not self.has_crf:
            return None
        return CRFParams(*(self.crf[name][...] for name in CRFParams._fields))

    def __call__(
        self,
        xs: Array,
        *,
        lengths: Lengths | None = None,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> Float[Array, "T *B C"]:
        """Logits of the tags at every step, with no meaning in the padding. Arguments
        and errors as in `Encoder`.
        """
        hs = self.encoder(xs, lengths=lengths, key=key, deterministic=deterministic)
        return self.head(hs.astype(jnp.promote_types(hs.dtype, jnp.float32)))

    def decode(
        self,
        xs: Array,
        *,
        lengths: Lengths | None = None,
    ) -> Int[Array, "T *B"]:
        """The most probable tags of whole sequences, in evaluation mode; -1 in the
        padding.

        Arguments and errors as in `Encoder`.
        """
        logits = self(xs, lengths=lengths, deterministic=True)
        if (params := self.crf_params) is not None:
            return crf_decode(params, logits, lengths)[0]
        tags = logits.argmax(axis=-1).astype(jnp.int32)
        return jnp.where(_real(lengths, tags), tags, jnp.full_like(tags, PADDING))

    def loss(
        self,
        xs: Array,
        tags: Int[Array, "T *B"],
        *,
        lengths: Lengths | None = None,
        weights: Float[Array, "*B"] | None = None,
        class_weights: Float[Array, "C"] | None = None,
        smoothing: float = 0.0,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> Total:
        """The summed nats of all real tags, and the weight of these tags.

        With a CRF, the nats are those of whole sequences. The weight still counts
        steps, so both losses are nats per tag.

        Args:
            xs, lengths, key, deterministic: as in a call.
            tags: the correct tags, in ``[0, C)`` at real steps of rows with a weight.
            weights: weights of the rows; ``None`` is 1 for all.
            class_weights, smoothing: as in `lstm_jax.models.label_loss.label_nats`;
                not with a CRF.

        Raises:
            TypeError, ValueError: as in a call and in ``label_nats``; or
                ``class_weights`` or ``smoothing`` are given with a CRF.
        """
        logits = self(xs, lengths=lengths, key=key, deterministic=deterministic)
        tags = jnp.asarray(tags)
        real = _real(lengths, tags)
        if weights is None:
            weights = jnp.ones(tags.shape[1:], logits.dtype)
        weights = jnp.asarray(weights).astype(logits.dtype)
        by_step = jnp.where(real, jnp.broadcast_to(weights, real.shape), 0.0)
        if (params := self.crf_params) is None:
            return label_nats(
                logits,
                tags,
                weights=by_step,
                class_weights=class_weights,
                smoothing=smoothing,
            )
        if class_weights is not None or smoothing:
            raise ValueError(
                "class_weights and smoothing cannot be used with a CRF, whose loss is "
                "that of a whole sequence; leave them out, or build the model with "
                "crf=False."
            )
        counted = jnp.where(weights > 0, real.sum(axis=0, dtype=jnp.int32), 0)
        nats = crf_nats(params, logits, tags, counted)
        return Total((weights * nats).sum(), by_step.sum())


def _real(lengths, tags):
    """The mask of real steps, ``[T, ...]``."""
    steps, *batch = tags.shape
    if lengths is None:
        return jnp.ones(tags.shape, bool)
    return length_mask(check_lengths(lengths, steps, tuple(batch)), steps)
