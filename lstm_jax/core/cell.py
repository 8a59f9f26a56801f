"""What a recurrent cell is: static facts and a few pure functions."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from lstm_jax._types import Array, Float, Key

Dot = Callable[[str, Array], Array]
"""``dot(name, a)`` is ``a @ params.name``, watched by the rule of `unroll`."""


@dataclasses.dataclass(frozen=True)
class Cell(abc.ABC):
    """A recurrent cell.

    Equal cells hash equal, so a cell is a safe static argument of ``jax.jit``. A new
    cell defines the functions below and declares which fields of its parameters
    (a NamedTuple) its step uses; ``step`` sees ``None`` in all the others, so that an
    undeclared use fails at once:

    * ``products``: weights that ``step`` multiplies by, through ``dot(name, a)`` alone
      and once a step each. Their gradient is one product over all time, taken outside
      the loop.
    * ``elementwise``: small parameters that ``step`` reads directly.
    * ``added``: those of either kind that are added to ``gx`` as they stand, such as a
      bias; their derivative then goes through ``gx`` and needs no array of its own.
    """

    hidden_size: int

    products: ClassVar[tuple[str, ...]] = ()
    elementwise: ClassVar[tuple[str, ...]] = ()
    added: ClassVar[frozenset[str]] = frozenset()

    @property
    def out_size(self) -> int:
        """Features of an output; those of a layer above."""
        return self.hidden_size

    @abc.abstractmethod
    def init(self, key: Key[Array, ""], in_size: int) -> Any:
        """Parameters for inputs of ``in_size`` features."""

    @abc.abstractmethod
    def project(self, params: Any, x: Float[Array, "*TB D"]) -> Array:
        """``gx``: the part of a step that needs no state, for any number of steps."""

    @abc.abstractmethod
    def step(self, params: Any, carry: Any, gx: Array, dot: Dot) -> tuple[Any, Array]:
        """One time step: ``(carry, h)``."""

    @abc.abstractmethod
    def zero_carry(self, batch_shape: tuple[int, ...], dtype: Any) -> Any:
        """The carry of zeros for the compute dtype ``dtype``."""
