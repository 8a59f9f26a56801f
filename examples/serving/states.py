"""The states of all sessions on the device, and the one step that advances many."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from models import Model

SIZES = (8, 32, 128)
"""Batches are padded to one of these numbers of rows, or to the largest batch."""


class States:
    """One row of state per slot: arrays ``[S, H]``. One thread at a time may use it.

    Args:
        model: what to step.
        slots: ``S``, the number of rows.
        largest: the largest batch.
    """

    def __init__(self, model: Model, slots: int, largest: int):
        self.slots, self.model = slots, model
        self.largest = min(slots, largest)
        self._sizes = (*(n for n in SIZES if n < self.largest), self.largest)
        self._state = model.zero_carry(slots)
        # Donated: the step writes the new states into the buffers of the old ones.
        step = functools.partial(masked_step, model)
        self._step = jax.jit(step, donate_argnums=1)

    def compile(self) -> None:
        """Runs every batch size once, on no slot at all."""
        for size in self._sizes:
            self._run(np.full(size, self.slots), np.zeros((size, self.model.in_size)))

    def step(self, slots: list[int], fresh: list[bool], xs: np.ndarray) -> np.ndarray:
        """One step of different slots; returns the outputs ``[B, O]``.

        Args:
            slots: which rows of the state to advance.
            fresh: which of them begin a new sequence, from the zero state.
            xs: their inputs, ``[B, D]``.
        """
        count = len(slots)
        size = next(n for n in self._sizes if n >= count)
        rows, padded = np.full(size, self.slots), np.zeros((size, xs.shape[1]))
        rows[:count], padded[:count] = slots, xs
        return self._run(rows, padded, fresh)[:count]

    def _run(self, rows, xs, fresh=()):
        begins = np.zeros(len(rows), bool)
        begins[: len(fresh)] = fresh
        given = rows.astype(np.int32), begins, xs.astype(np.float32)
        self._state, ys = self._step(self.model.params, self._state, *given)
        return np.asarray(ys)


def masked_step(model, params, state, rows, begins, xs):
    """Gathers rows of the state, steps them, and scatters them back.

    A row number past the end is padding: it reads zeros and writes nothing.
    """
    carry = jax.tree.map(lambda a: a.at[rows].get(mode="fill", fill_value=0), state)
    zeros = model.zero_carry(len(rows))
    pick = lambda zero, a: jnp.where(begins.reshape(-1, *[1] * (a.ndim - 1)), zero, a)
    carry, ys = model.step(params, jax.tree.map(pick, zeros, carry), xs)
    put = lambda a, new: a.at[rows].set(new, mode="drop")
    return jax.tree.map(put, state, carry), ys
