"""A wrapper around a cell: the same parameters and states, with a changed step."""

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
    """The field names of a cell's carry; none if the carry is not a NamedTuple."""
    carry = jax.eval_shape(lambda: cell.zero_carry((), jnp.float32))
    return getattr(carry, "_fields", ())


def _inner(name: str) -> Any:
    return property(operator.attrgetter(f"cell.{name}"))


@dataclasses.dataclass(frozen=True)
class Wrapper(Cell):
    """A regulariser around any cell, which may itself be a wrapper.

    To write a wrapper, draw the masks in `masks` and use them in `wrapped_step`.
    Parameters, projection and states are those of the inner cell, so the same
    parameters work with and without the wrapper.
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
        """Masks of this wrapper at the absolute ``steps``."""

    @abc.abstractmethod
    def wrapped_step(
        self, masks, step, params, carry, gx, dot, gates
    ) -> tuple[Any, Array]:
        """One time step. ``step`` is the step of the inner cell and takes the arguments
        that follow it. ``masks`` are ``(locked, stepwise)``, or ``None`` in evaluation.
        """

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

    # Everything else comes from the inner cell.

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
