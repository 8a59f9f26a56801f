"""Rows as cuDNN takes them: batch first, real steps first, one step or more.

cuDNN only runs forward. So for a run from the last step to the first, every row is
turned round within its real steps. A row without real steps runs one step on zeros,
and nobody reads its results.
"""

from typing import NamedTuple

import jax.numpy as jnp

from lstm_jax._types import Array, Bool, Float, Int
from lstm_jax.core.recurrence.loop import select


class Rows(NamedTuple):
    """Which steps are real, and the direction of the run."""

    shape: tuple[int, int]
    """The number of steps and of rows."""
    mask: Bool[Array, "T B"] | None
    """True at the first steps of each row. ``None``: all steps are real."""
    reverse: bool

    def lengths(self) -> Int[Array, "B"]:
        """The number of steps that cuDNN runs."""
        T, B = self.shape
        if self.mask is None:
            return jnp.full(B, T, jnp.int32)
        return jnp.maximum(self.mask.sum(0, dtype=jnp.int32), 1)

    def give(self, steps: Float[Array, "T B N"]) -> Float[Array, "B T N"]:
        """Steps for cuDNN, in the order of the run. The padding is 0."""
        return jnp.swapaxes(self._zero_padding(self._turn(steps)), 0, 1)

    def take(self, steps: Float[Array, "B T N"]) -> Float[Array, "T B N"]:
        """Steps from cuDNN, in our order. The padding is 0, whatever cuDNN left."""
        return self._turn(self._zero_padding(jnp.swapaxes(steps, 0, 1)))

    def give_state(self, state: Float[Array, "B H"]) -> Float[Array, "1 B H"]:
        """A state for cuDNN: 0 in rows without real steps, so that a NaN in such a row
        stays there.
        """
        return self._moved(state, jnp.zeros_like(state))[None]

    def take_state(
        self, state: Float[Array, "1 B H"], kept: Float[Array, "B H"]
    ) -> Float[Array, "B H"]:
        """A state from cuDNN. Rows without real steps have ``kept`` instead."""
        return self._moved(state[0], kept)

    def _moved(self, state, kept):
        return state if self.mask is None else select(self.mask[0], state, kept)

    def _zero_padding(self, steps):
        if self.mask is None:
            return steps
        return select(self.mask, steps, jnp.zeros_like(steps))

    def _turn(self, steps):
        """Turns each row round within its real steps; twice is the identity."""
        if not self.reverse:
            return steps
        if self.mask is None:
            return jnp.flip(steps, 0)
        T, _ = self.shape
        t = jnp.arange(T, dtype=jnp.int32)[:, None]
        opposite = self.lengths()[None] - 1 - t
        source = jnp.where(self.mask, opposite, t)
        return jnp.take_along_axis(steps, source[..., None], axis=0)
