"""Dropout inside a cell: on the state that a step reads, or on what it writes."""

import dataclasses

import jax
import jax.numpy as jnp

from lstm_jax.core.arguments import check_bool, check_rate
from lstm_jax.core.cells.cell import Noise
from lstm_jax.core.cells.wrapper import Wrapper, state_fields
from lstm_jax.core.dropout import drop_and_scale, keep_mask, keep_masks
from lstm_jax.core.primitives.elementwise import Gate
from lstm_jax.core.primitives.matmul import matmul


@dataclasses.dataclass(frozen=True)
class RecurrentDropout(Wrapper):
    """Dropout on the hidden state that the gates read, with one mask for a sequence.

        z_k = x_t w_xk + (m_k * h_{t-1}) w_hk + b_k         for each gate k

    where ``m_k`` is zero with probability ``rate`` and otherwise ``1 / (1 - rate)``.
    The mask is the same at every step, also for all sequences that are packed in one
    row. Gal & Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent
    Neural Networks", NeurIPS 2016.

    Args:
        cell: the cell inside.
        rate: dropout rate, in ``[0, 1)``.
        per_gate: one mask for each gate (the paper's untied weights). Otherwise all
            gates share one mask (tied weights), and a step needs only one product.

    Raises:
        ValueError: ``rate`` is outside ``[0, 1)``, or the cell reads no hidden state.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMCell, RecurrentDropout, unroll
    >>> cell = RecurrentDropout(LSTMCell(5), 0.3)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> xs, key = jnp.ones((7, 2, 3)), jax.random.key(1)
    >>> carry, hs = unroll(cell, params, None, xs, key=key)
    >>> hs.shape
    (7, 2, 5)
    """

    rate: float = 0.0
    per_gate: bool = True

    def __post_init__(self):
        super().__post_init__()
        check_rate("RecurrentDropout rate", self.rate)
        check_bool("per_gate", self.per_gate)
        if not self.cell.recurrent or "h" not in state_fields(self.cell):
            raise ValueError(
                f"{type(self.cell).__name__} has no product of its hidden state h, "
                f"expected one to drop from; see Cell.recurrent."
            )

    def masks(self, key, steps, batch_shape, dtype):
        h = jax.eval_shape(lambda: self.cell.zero_carry(batch_shape, dtype)).h
        masks = {}
        if self.rate == 0:
            return Noise(locked=masks, stepwise=None)
        for n, (name, gates) in enumerate(self.cell.recurrent):
            shape = (*h.shape[:-1], (gates if self.per_gate else 1), h.shape[-1])
            masks[name] = keep_mask(jax.random.fold_in(key, n), self.rate, shape)
        return Noise(locked=masks, stepwise=None)

    def wrapped_step(self, masks, step, params, carry, gx, dot, gates):
        keep = masks[0] if masks else {}

        def dropped(name, a):
            if name not in keep:
                return dot(name, a)
            # Concatenate what each gate reads: `product` splits it again. If this
            # wrapper is inside another one like it, `a` already comes like this.
            mask, units = keep[name], keep[name].shape[-1]
            a = a.reshape(*a.shape[:-1], a.shape[-1] // units, units)
            shape = jnp.broadcast_shapes(a.shape, mask.shape)
            mask, a = jnp.broadcast_to(mask, shape), jnp.broadcast_to(a, shape)
            read = drop_and_scale(mask, a, self.rate)
            return dot(name, read.reshape(*shape[:-2], shape[-2] * shape[-1]))

        return step(params, carry, gx, dropped, gates)

    def product(self, name):
        inner = self.cell.product(name)
        gates = dict(self.cell.recurrent).get(name)
        if gates is None or not self.per_gate:
            return inner
        multiply = inner or matmul

        def by_gate(a, w):
            if a.shape[-1] == self.out_size:
                return multiply(a, w)
            parts = zip(
                jnp.split(a, gates, axis=-1), jnp.split(w, gates, axis=-1), strict=True
            )
            return jnp.concatenate([multiply(*part) for part in parts], axis=-1)

        return by_gate


@dataclasses.dataclass(frozen=True)
class CandidateDropout(Wrapper):
    """Dropout on the candidate, with a new mask at each step; the memory is kept.

        c_t = f_t * c_{t-1} + i_t * (m_t * g_t)

    Semeniuta, Severyn & Barth, "Recurrent Dropout without Memory Loss", COLING 2016.

    Args:
        cell: the cell inside. Its candidate is the gate ``g``, or ``n`` of a GRU.
        rate: dropout rate, in ``[0, 1)``; the other units are scaled by
            ``1 / (1 - rate)``.

    Raises:
        ValueError: ``rate`` is outside ``[0, 1)``, or the cell has no candidate.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import CandidateDropout, LSTMCell, unroll
    >>> cell = CandidateDropout(LSTMCell(5), 0.3)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> xs, key = jnp.ones((7, 2, 3)), jax.random.key(1)
    >>> carry, hs = unroll(cell, params, None, xs, key=key)
    >>> hs.shape
    (7, 2, 5)
    """

    rate: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        check_rate("CandidateDropout rate", self.rate)
        if self.candidate is None:
            raise ValueError(
                f"{type(self.cell).__name__} activates no candidate as a gate, "
                f"expected a cell that does; see Cell.candidate."
            )

    def masks(self, key, steps, batch_shape, dtype):
        if self.rate == 0:
            return Noise(locked=None, stepwise=None)
        shape = (*batch_shape, self.hidden_size)
        return Noise(locked=None, stepwise=keep_masks(key, steps, self.rate, shape))

    def wrapped_step(self, masks, step, params, carry, gx, dot, gates):
        def with_dropout(z, /, **activations):
            activated = gates(z, **activations)
            return [
                self._drop(gate, masks[1]) if name == self.candidate else gate
                for name, gate in zip(activations, activated, strict=True)
            ]

        drops = masks is not None and masks[1] is not None
        return step(params, carry, gx, dot, with_dropout if drops else gates)

    def _drop(self, gate, keep):
        drop = lambda x: drop_and_scale(keep, x, self.rate)
        return Gate(drop(gate.value), drop(gate.slope), gate.z)
