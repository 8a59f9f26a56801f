"""Dropout inside a cell: on what a step reads of the state, or writes to it."""

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
    """Dropout on the hidden state that the gates read, one mask for a whole sequence.

        z_k = x_t w_xk + (m_k * h_{t-1}) w_hk + b_k         for each gate k

    with ``m_k`` zero for a share ``rate`` of the units, ``1 / (1 - rate)`` for the
    rest, and the same at every step (also of sequences packed in one row). Gal &
    Ghahramani, "A Theoretically Grounded
    Application of Dropout in Recurrent Neural Networks", NeurIPS 2016.

    Args:
        cell: the cell inside.
        rate: the share, in ``[0, 1)``.
        per_gate: a mask for each gate (the paper's untied weights); else one for all
            of them (its tied weights), which keeps the step at a single product.

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
            # What each gate reads, side by side: `product` knows what to do with it.
            # It comes like that from such a wrapper inside of this one.
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
    """Dropout on the candidate, a mask for each step: no memory is lost by it.

        c_t = f_t * c_{t-1} + i_t * (m_t * g_t)

    Semeniuta, Severyn & Barth, "Recurrent Dropout without Memory Loss", COLING 2016.

    Args:
        cell: the cell inside; what it writes is its gate ``g``, or ``n`` of a GRU.
        rate: the share of units zeroed, in ``[0, 1)``; the rest is scaled by
            ``1 / (1 - rate)``.

    Raises:
        ValueError: ``rate`` is outside ``[0, 1)``, or the cell has no such gate.

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
