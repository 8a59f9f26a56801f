"""A cell around a cell: the same parameters and states, a step with something more."""

import abc
import dataclasses
import operator
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Int, Key
from lstm_jax.core.cells.cell import Cell, Noise, require_cell
from lstm_jax.core.primitives.elementwise import gates


def state_fields(cell: Cell) -> tuple[str, ...]:
    """The names in the carry of a cell; none where it is not a NamedTuple."""
    carry = jax.eval_shape(lambda: cell.zero_carry((), jnp.float32))
    return getattr(carry, "_fields", ())


def _inner(name: str) -> Any:
    return property(operator.attrgetter(f"cell.{name}"))


@dataclasses.dataclass(frozen=True)
class Wrapper(Cell):
    """A regulariser around any cell, another wrapper included.

    A new one draws its masks in `masks` and uses them in `wrapped_step`. Parameters,
    projection and states are those of the cell inside, so that the same parameters
    train with the wrapper and run without it.
    """

    cell: Cell

    def __post_init__(self):
        require_cell("cell", self.cell)

    @abc.abstractmethod
    def masks(
        self,
        key: Key[Array, ""],
        steps: Int[Array, "T"],
        batch_shape: tuple[int, ...],
        dtype: Any,
    ) -> Noise:
        """Masks of this wrapper at these absolute ``steps``."""

    @abc.abstractmethod
    def wrapped_step(
        self, masks, step, params, carry, gx, dot, gates
    ) -> tuple[Any, Array]:
        """One time step. ``step`` is that of the cell inside, with the arguments that
        follow; ``masks`` are ``(locked, stepwise)``, or ``None`` in evaluation."""

    def noise(self, key, steps, batch_shape, dtype):
        own_key, inner_key = jax.random.split(key)
        own = self.masks(own_key, steps, batch_shape, dtype)
        inner = self.cell.noise(inner_key, steps, batch_shape, dtype)
        inner = Noise(None, None) if inner is None else inner
        return Noise((own.locked, inner.locked), (own.stepwise, inner.stepwise))

    def noisy_step(self, noise, params, carry, gx, dot, gates=gates):
        own = inner = None
        if noise is not None:
            own, inner = zip(*noise, strict=True)
        step = lambda *args: self.cell.noisy_step(inner, *args)
        return self.wrapped_step(own, step, params, carry, gx, dot, gates)

    def step(self, params, carry, gx, dot, gates=gates):
        return self.noisy_step(None, params, carry, gx, dot, gates)

    # All the rest is the cell's own.

    @property
    def out_size(self):
        return self.cell.out_size

    @property
    def feature_axes(self):
        return self.cell.feature_axes

    hidden_size = _inner("hidden_size")
    products = _inner("products")
    elementwise = _inner("elementwise")
    added = _inner("added")
    recurrent = _inner("recurrent")
    candidate = _inner("candidate")
    init = _inner("init")
    project = _inner("project")
    initial_carry = _inner("initial_carry")
    zero_carry = _inner("zero_carry")
    weights = _inner("weights")
    product = _inner("product")
