"""Attention: a decoder looks for what it needs among the states of an encoder.

    dot         e_s = h . m_s
    general     e_s = h . (m_s w_k)
    additive    e_s = v . tanh(h w_q + m_s w_k + coverage_s w_coverage)
    a = softmax over s of e        context = sum over s of a_s m_s

``h`` is the hidden state of the decoder and ``m_s`` the encoder's state at source
position ``s``. The keys ``m_s w_k`` are computed once per sentence. With several heads
the units are cut into as many parts with attention weights of their own, and ``e`` is
divided by the square root of the units of a part.

Additive: Bahdanau, Cho & Bengio, "Neural Machine Translation by Jointly Learning to
Align and Translate", ICLR 2015; the score ``concat`` of Luong et al. is the same
function. Dot and general: Luong, Pham & Manning, "Effective Approaches to
Attention-based Neural Machine Translation", EMNLP 2015. Coverage, the sum of the
weights so far: Tu et al., "Modeling Coverage for Neural Machine Translation", ACL 2016.
Heads: Vaswani et al., "Attention Is All You Need", NeurIPS 2017.

Keys, values, scores and contexts have the accumulation dtype: their products are few.
"""

import dataclasses
import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Bool, Float, Key
from lstm_jax.core.arguments import check_choice, check_size
from lstm_jax.core.cells.cell import Dot, Product
from lstm_jax.core.init import glorot
from lstm_jax.core.precision import accumulation_dtype, product_precision
from lstm_jax.core.primitives.matmul import matmul

Score = Literal["dot", "general", "additive"]

PADDING = -1e30
"""The score of padding. It is finite: a row of padding alone has no NaN."""


class AttentionWeights(NamedTuple):
    """The parameters of the scores; ``None`` where a score has none."""

    w_k: Float[Array, "M A"] | None = None
    w_q: Float[Array, "H A"] | None = None
    v: Float[Array, "A"] | None = None
    w_coverage: Float[Array, "A"] | None = None


class Memory(NamedTuple):
    """What a decoder attends to: an entry for every source position."""

    keys: Float[Array, "B S A"]
    values: Float[Array, "B S M"]
    bias: Float[Array, "B S"]
    """Added to the scores: 0 at real positions and `PADDING` elsewhere."""


@dataclasses.dataclass(frozen=True)
class Attention:
    """A score, and how many times it is computed: static sizes.

    Args:
        score: ``dot``, ``general`` or ``additive``.
        query_size: ``H``, units of the decoder.
        value_size: ``M``, units of an encoder state.
        heads: parts that the units are cut into.
        coverage: whether the additive score reads the weights so far.

    Raises:
        ValueError: the sizes do not fit the score.
    """

    score: Score
    query_size: int
    value_size: int
    heads: int = 1
    coverage: bool = False

    def __post_init__(self):
        check_choice("score", self.score, ("dot", "general", "additive"))
        for name in ("query_size", "value_size", "heads"):
            check_size(name, getattr(self, name))
        if self.score == "dot" and self.query_size != self.value_size:
            raise ValueError(
                f"score='dot' multiplies {self.query_size} units of the decoder with "
                f"{self.value_size} of the encoder, expected the same number; use "
                f"'general'."
            )
        if self.score == "additive" and self.heads > 1:
            raise ValueError(
                f"heads={self.heads} with score='additive', expected 1; use 'general'."
            )
        if self.query_size % self.heads or self.value_size % self.heads:
            raise ValueError(
                f"{self.query_size} units of the decoder and {self.value_size} of the "
                f"encoder cannot be cut into heads={self.heads} equal parts."
            )
        if self.coverage and self.score != "additive":
            raise ValueError(
                f"coverage=True with score={self.score!r}, expected 'additive'."
            )

    @property
    def products(self) -> tuple[str, ...]:
        """What a step multiplies by, for the derivative rule of `unroll`."""
        return ("w_q", "values") if self.score == "additive" else ("keys", "values")

    def product(self, name: str) -> Product | None:
        """The product of ``dot(name, a)`` if it is not ``a @ w``."""
        made = {"keys": _by_keys, "values": _by_values}.get(name)
        return made and functools.partial(made, self.heads)

    def init(self, key: Key[Array, ""], dtype: Any = jnp.float32) -> AttentionWeights:
        """New weights."""
        H, M = self.query_size, self.value_size
        if self.score == "dot":
            return AttentionWeights()
        of_keys, of_queries, of_v = jax.random.split(key, 3)
        w_k = glorot(of_keys, (M, H), dtype)
        if self.score == "general":
            return AttentionWeights(w_k)
        return AttentionWeights(
            w_k,
            glorot(of_queries, (H, H), dtype),
            glorot(of_v, (H, 1), dtype)[:, 0],
            jnp.zeros(H, dtype) if self.coverage else None,
        )

    def memory(
        self,
        weights: AttentionWeights,
        states: Float[Array, "S B M"],
        real: Bool[Array, "S B"],
    ) -> Memory:
        """Keys and values of the encoder's states, time-major. Padding is 0."""
        wide = accumulation_dtype(states.dtype)
        states = states.transpose(1, 0, 2)
        values = states.astype(wide)
        keys = values if weights.w_k is None else matmul(states, weights.w_k)
        return Memory(keys, values, jnp.where(real.T, 0.0, PADDING).astype(wide))

    def attend(
        self,
        weights: AttentionWeights,
        memory: Memory,
        h: Float[Array, "B H"],
        coverage: Any,
        dot: Dot,
    ) -> tuple[Float[Array, "B M"], Float[Array, "B heads S"]]:
        """The context and the weights of the positions."""
        if weights.v is not None:  # additive
            hidden = dot("w_q", h)[:, None] + memory.keys
            if weights.w_coverage is not None:
                hidden += coverage[..., None] * weights.w_coverage[None, None]
            e = matmul(jnp.tanh(hidden), weights.v[:, None])[..., 0][:, None]
        else:
            e = dot("keys", h.astype(memory.bias.dtype))
        if self.heads > 1:
            e = e / math.sqrt(self.query_size // self.heads)
        a = jax.nn.softmax(e + memory.bias[:, None], axis=-1)
        return dot("values", a), a


def _by_keys(heads, h, keys):
    """``[..., B, H] x [B, S, H] -> [..., B, heads, S]``"""
    cut = lambda a: a.reshape(*a.shape[:-1], heads, -1)
    precision = product_precision(h.dtype)
    return jnp.einsum("...bhd,bshd->...bhs", cut(h), cut(keys), precision=precision)


def _by_values(heads, a, values):
    """``[..., B, heads, S] x [B, S, M] -> [..., B, M]``"""
    cut = values.reshape(*values.shape[:-1], heads, -1)
    precision = product_precision(a.dtype)
    found = jnp.einsum("...bhs,bshd->...bhd", a, cut, precision=precision)
    return found.reshape(*found.shape[:-2], -1)
