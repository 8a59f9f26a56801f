"""A decoder that attends to its source: LSTM layers, attention, input feeding.

    h^1_t = LSTM([x_t, s_{t-1}], h^1_{t-1})       h^n_t = LSTM(h^{n-1}_t, h^n_{t-1})
    context_t, a_t = attention(h^N_t, memory)
    s_t = tanh([context_t, h^N_t] w_c + b_c)

The output is ``s_t``. The first layer reads ``s_{t-1}``, so it knows what the decoder
has attended to (input feeding; Luong, Pham & Manning 2015, section 3.3).

The decoder is a cell, so the derivative rule of every loop is the rule of this one. The
keys and values of a sentence are products of the step, and their gradients are one
product over all steps.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Bool, Float
from lstm_jax.core import init
from lstm_jax.core.cells.cell import Cell, Noise
from lstm_jax.core.cells.lstm import LSTMCarry, lstm_update
from lstm_jax.core.primitives.elementwise import add_bias, gates
from lstm_jax.core.primitives.matmul import matmul
from lstm_jax.core.recurrence.loop import Inputs, run_with_rule
from lstm_jax.models.translation.attention import (
    Attention,
    AttentionWeights,
    Memory,
)


class DecoderParams(NamedTuple):
    """The weights of a decoder. Gates are in the order i, f, g, o."""

    w_x: Float[Array, "E 4H"]
    """Of the embedded token."""
    w: tuple[Float[Array, "K 4H"], ...]
    """A layer each, of ``[s, h]`` in the first layer (without input feeding ``h``) and
    of ``[h of the layer below, h]`` in the others."""
    b: tuple[Float[Array, "4H"], ...]
    w_c: Float[Array, "M+H H"]
    b_c: Float[Array, "H"]
    attention: AttentionWeights


class DecoderCarry(NamedTuple):
    """The state between steps."""

    layers: tuple[LSTMCarry, ...]
    fed: Float[Array, "B H"]
    """``s`` of the step before."""
    coverage: Float[Array, "B S"] | tuple[()]
    """The sum of the weights of every source position; ``()`` if nothing reads it."""


class _Read(NamedTuple):
    """What a step reads beside its products."""

    b: tuple[Array, ...]
    b_c: Array
    attention: AttentionWeights
    memory: Memory


@dataclasses.dataclass(frozen=True)
class AttentionDecoder(Cell):
    """The equations at the top of this file.

    Args:
        hidden_size: ``H``, units of a layer.
        num_layers: number of LSTM layers.
        attention: the attention; its ``query_size`` is ``H``.
        input_feeding: whether the first layer reads ``s`` of the step before.
    """

    hidden_size: int
    num_layers: int
    attention: Attention
    input_feeding: bool = True

    elementwise = ("b", "b_c", "attention", "memory")
    added = frozenset({"w_0"})

    @property
    def products(self) -> tuple[str, ...]:  # type: ignore[override]
        layers = (f"w_{n}" for n in range(self.num_layers))
        return (*layers, *self.attention.products, "w_c")

    def product(self, name):
        return self.attention.product(name)

    def init(self, key, in_size, *, dtype=jnp.float32):
        H, M = self.hidden_size, self.attention.value_size
        of_x, of_c, of_attention, *layers = jax.random.split(key, 3 + self.num_layers)
        glorot = lambda key, n: init.per_gate(init.glorot, key, (n, H), 4, dtype)

        def layer(n, key):
            of_h, of_below = jax.random.split(key)
            w_h = init.per_gate(init.orthogonal, of_h, (H, H), 4, dtype)
            if n == 0 and not self.input_feeding:
                return w_h
            return jnp.concatenate([glorot(of_below, H), w_h])

        return DecoderParams(
            w_x=glorot(of_x, in_size),
            w=tuple(layer(n, key) for n, key in enumerate(layers)),
            b=tuple(init.gate_bias(1.0, key, H, dtype) for key in layers),
            w_c=init.glorot(of_c, (M + H, H), dtype),
            b_c=jnp.zeros(H, dtype),
            attention=self.attention.init(of_attention, dtype),
        )

    def project(self, params, x):
        return add_bias(matmul(x, params.w_x), params.b[0])

    def start(self, layers: tuple[LSTMCarry, ...], memory: Memory) -> DecoderCarry:
        """The carry before the first token: nothing is fed, nothing covered."""
        covered = jnp.zeros_like(memory.bias) if self.attention.coverage else ()
        return DecoderCarry(layers, jnp.zeros_like(layers[-1].h), covered)

    def zero_carry(self, batch_shape, dtype):
        raise NotImplementedError("the decoder starts from its encoder; see start().")

    def step(self, params, carry, gx, dot, gates=gates):
        return self._step(None, params, carry, gx, dot, gates)[:2]

    def noisy_step(self, noise, params, carry, gx, dot, gates=gates):
        masks = None if noise is None else noise[1]
        return self._step(masks, params, carry, gx, dot, gates)[:2]

    def _step(self, masks, params, carry, gx, dot, gates):
        """One step: ``(carry, s, weights of the positions)``.

        ``masks`` has factors of the outputs of every layer but the last one, and of
        ``s``; ``None`` means evaluation.
        """
        below, layers = carry.fed, []
        for n, state in enumerate(carry.layers):
            alone = n == 0 and not self.input_feeding
            reads = state.h if alone else jnp.concatenate([below, state.h], axis=-1)
            z = dot(f"w_{n}", reads)
            z = gx + z if n == 0 else add_bias(z, params.b[n])
            state, below = lstm_update(z, state, gates)
            layers.append(state)
            if masks is not None and n < self.num_layers - 1:
                below = below * masks[n]
        context, a = self.attention.attend(
            params.attention, params.memory, below, carry.coverage, dot
        )
        context = context.astype(below.dtype)
        s = dot("w_c", jnp.concatenate([context, below], axis=-1))
        s = jnp.tanh(add_bias(s, params.b_c)).astype(below.dtype)
        if masks is not None:
            s = s * masks[-1]
        covered = carry.coverage
        if self.attention.coverage:
            covered = covered + a[:, 0]
        return DecoderCarry(tuple(layers), s, covered), s, a

    def all_weights(self, params: DecoderParams, memory: Memory) -> dict[str, Array]:
        """The arrays of `products` by name, those of a sentence among them."""
        found = {f"w_{n}": w for n, w in enumerate(params.w)}
        found |= {"keys": memory.keys, "values": memory.values, "w_c": params.w_c}
        if params.attention.w_q is not None:
            found["w_q"] = params.attention.w_q
        return {name: found[name] for name in self.products}


def read(params: DecoderParams, memory: Memory) -> dict[str, Any]:
    """What a step reads beside its products, by name."""
    additive = params.attention.v is not None
    return dict(
        b=params.b,
        b_c=params.b_c,
        attention=params.attention._replace(w_k=None, w_q=None),
        memory=memory._replace(keys=memory.keys if additive else None, values=None),
    )


def decode(
    cell: AttentionDecoder,
    params: DecoderParams,
    memory: Memory,
    carry: DecoderCarry,
    xs: Float[Array, "T B E"],
    *,
    real: Bool[Array, "T B"] | None = None,
    masks: tuple[Float[Array, "T B H"], ...] | None = None,
) -> Float[Array, "T B H"]:
    """The outputs ``s`` of all steps, where the tokens are known.

    Args:
        cell, params, memory: the decoder and what it attends to.
        carry: the state before the first step, as `AttentionDecoder.start` makes it.
        xs: the embedded tokens.
        real: False in the padding, where the output is 0.
        masks: factors of the outputs of every layer but the last, and of ``s``.
    """
    inputs = Inputs(
        products=cell.all_weights(params, memory),
        elementwise=read(params, memory),
        carry=carry,
        gx=cell.project(params, xs),
        mask=real,
        noise=None if masks is None else Noise(None, masks),
    )
    return run_with_rule(cell, _Read, False, inputs)[1]


def advance(
    cell: AttentionDecoder,
    params: DecoderParams,
    memory: Memory,
    carry: DecoderCarry,
    x: Float[Array, "R E"],
) -> tuple[DecoderCarry, Float[Array, "R H"], Float[Array, "R heads S"]]:
    """One step in evaluation: the carry, ``s``, and the weights of the positions.

    A search has several rows for each of the ``B`` sentences of the memory, those of a
    sentence side by side. They read one memory.
    """
    weights = cell.all_weights(params, memory)
    rows, sentences = x.shape[0], memory.bias.shape[0]  # may be symbolic: no len()
    count = rows // sentences
    if rows != count * sentences:
        raise ValueError(
            f"x has {rows} rows and the memory {sentences} sentences, expected the "
            f"same number of rows for each sentence."
        )

    def dot(name, a):
        product = cell.product(name)
        if product is None:
            return matmul(a, weights[name])
        a = a.reshape(sentences, count, *a.shape[1:]).swapaxes(0, 1)
        found = product(a, weights[name]).swapaxes(0, 1)
        return found.reshape(rows, *found.shape[2:])

    repeated = jax.tree.map(lambda a: jnp.repeat(a, count, axis=0), memory)
    reads = _Read(**read(params, repeated))
    return cell._step(None, reads, carry, cell.project(params, x), dot, gates)
