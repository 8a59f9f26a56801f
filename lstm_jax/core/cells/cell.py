"""The definition of a recurrent cell: static sizes and a few pure functions."""

import abc
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float, Int, Key
from lstm_jax.core.arguments import check_size
from lstm_jax.core.primitives.elementwise import gates
from lstm_jax.core.primitives.matmul import matmul

Dot = Callable[[str, Array], Array]
"""``dot(name, a)`` is ``a @ params.name``. The derivative rule of `unroll` records it.
"""

Product = Callable[[Array, Array], Array]
"""A map of ``(a, w)`` that is linear in each argument, for any number of leading axes.
"""


class Noise(NamedTuple):
    """Random masks of a sequence."""

    locked: Any
    """Masks that are the same at every step."""
    stepwise: Any
    """Masks with one entry for every step, ``[T, ...]``."""


class Cell(abc.ABC):
    """A recurrent cell: a frozen dataclass of static sizes and options.

    Equal cells have equal hashes, so a cell is a safe static argument of ``jax.jit``.

    To write a cell, define ``init``, ``step`` and ``zero_carry``. Define ``project``
    too if the input weights are not called ``w_x``. Declare what ``step`` reads:

    * ``products``: weights that ``step`` multiplies by. It multiplies only through
      ``dot(name, a)``, once per step and weight, with a floating-point ``a``. The
      gradient of each weight is one product over all steps, outside the loop.
    * ``elementwise``: small parameters that ``step`` reads directly.
    * ``added``: the names of either kind that ``step`` simply adds to ``gx``, such as a
      bias. Their derivative goes through ``gx`` and needs no extra array.

    These are the rules for a cell. All but the last one are checked on shapes before
    the first use. A cell that breaks a rule raises a TypeError that names the rule:

    * ``init`` returns a NamedTuple of floating-point arrays, which may be nested. Flax
      modules pass ``dtype=`` to ``init``.
    * ``project`` returns one floating-point array ``[T, *B, ...]``.
    * The carry is an array, or any tree of arrays: NamedTuples, tuples, dicts. Each
      array starts with the batch axes. Integers and booleans are allowed; they have no
      gradient.
    * ``step`` returns a carry with the structure, shapes and dtypes of ``zero_carry``,
      and an output ``[*B, out_size]`` in the compute dtype, the dtype of ``xs``.
    * ``step`` reads only the parameters in ``elementwise``.
    * ``step`` adds the parameters and products in ``added`` to ``gx`` and uses them
      nowhere else. Shapes cannot show this. Call `lstm_jax.diagnostics.check_cell` on
      your cell, which compares derivatives.

    Wrappers also need a carry that is a NamedTuple with a field ``h``.

    Raises:
        ValueError: ``hidden_size`` is less than 1.

    >>> import dataclasses
    >>> import jax, jax.numpy as jnp
    >>> from typing import Any, NamedTuple
    >>> from lstm_jax import unroll
    >>> class Params(NamedTuple):
    ...     w_x: Any
    ...     w_h: Any
    >>> @dataclasses.dataclass(frozen=True)
    ... class Plain(Cell):  # h' = tanh(x w_x + h w_h)
    ...     hidden_size: int
    ...     products = ("w_h",)
    ...     added = frozenset({"w_h"})
    ...     def init(self, key, in_size, *, dtype=jnp.float32):
    ...         H = self.hidden_size
    ...         return Params(jnp.ones((in_size, H), dtype), jnp.ones((H, H), dtype))
    ...     def step(self, params, carry, gx, dot, gates=None):
    ...         h = jnp.tanh(gx + dot("w_h", carry))
    ...         return h, h
    ...     def zero_carry(self, batch_shape, dtype):
    ...         return jnp.zeros((*batch_shape, self.hidden_size), dtype)
    >>> cell = Plain(5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape
    (7, 2, 5)
    """

    hidden_size: int

    products: tuple[str, ...] = ()
    elementwise: tuple[str, ...] = ()
    added: frozenset[str] = frozenset()

    recurrent: tuple[tuple[str, int], ...] = ()
    """The products that read the hidden state, and how many gates each of them feeds.
    """

    candidate: str | None = "g"
    """The gate that a step writes to the state; ``None`` if the cell has no such gate.
    """

    def __post_init__(self):
        check_size("hidden_size", self.hidden_size)

    @property
    def feature_axes(self) -> int:
        """Number of trailing input axes that are not batch axes: the feature axis, and
        in a convolutional cell also the spatial axes.
        """
        return 1

    @property
    def out_size(self) -> int:
        """Number of features of an output."""
        return self.hidden_size

    @abc.abstractmethod
    def init(self, key: Key[Array, ""], in_size: int) -> Any:
        """Parameters for inputs of ``in_size`` features."""

    def project(self, params: Any, x: Float[Array, "*TB D"]) -> Array:
        """``gx``: the part of a step that does not need the state, for any number of
        steps.
        """
        return matmul(x, params.w_x).astype(x.dtype)

    @abc.abstractmethod
    def step(
        self, params: Any, carry: Any, gx: Array, dot: Dot, gates: Callable = gates
    ) -> tuple[Any, Array]:
        """One time step: ``(carry, h)``. ``gates`` activates the gates under their
        names in the equations, so a wrapper can see and change each gate.
        """

    @abc.abstractmethod
    def zero_carry(self, batch_shape: tuple[int, ...], dtype: Any) -> Any:
        """The carry that ``None`` stands for, in the compute dtype ``dtype``. It is
        zeros in most cells.
        """

    def initial_carry(self, dtype: Any) -> Any:
        """A trainable initial carry without batch axes. It may differ from zeros."""
        return self.zero_carry((), dtype)

    def weights(self, params: Any) -> dict[str, Array]:
        """The arrays that ``dot`` multiplies by, under their names in ``products``."""
        return {name: getattr(params, name) for name in self.products}

    def product(self, name: str) -> Product | None:
        """The product of ``dot(name, a)`` if it is not ``a @ w``, else ``None``."""
        del name
        return None

    def log_coefficients(
        self, params: Any, gx: Float[Array, "T *B nH"]
    ) -> tuple[Array, Array] | None:
        """``(log a, log b)`` of all steps, ``[T, ..., H]``, if the state is only ``h``
        and a step is only ``h_t = a_t * h_{t-1} + b_t``. Then `unroll` needs no loop.
        """
        del params, gx
        return None

    def noise(
        self,
        key: Key[Array, ""],
        steps: Int[Array, "T"],
        batch_shape: tuple[int, ...],
        dtype: Any,
    ) -> Noise | None:
        """The masks of a random cell at the absolute ``steps``; see ``Wrapper``."""
        del key, steps, batch_shape, dtype
        return None

    def noisy_step(
        self,
        noise: tuple[Any, Any] | None,
        params: Any,
        carry: Any,
        gx: Array,
        dot: Dot,
        gates: Callable = gates,
    ) -> tuple[Any, Array]:
        """`step` with masks ``(locked, stepwise)``, or with ``None`` in evaluation."""
        del noise
        return self.step(params, carry, gx, dot, gates)


@functools.cache
def is_random(cell: Cell) -> bool:
    """Whether the cell draws masks when it gets a key."""
    rows = (1,) * cell.feature_axes

    def masks():
        step = jnp.zeros(1, jnp.int32)
        return cell.noise(jax.random.key(0), step, rows, jnp.float32)

    return bool(jax.tree.leaves(jax.eval_shape(masks)))


def require_cell(name: str, cell: Any) -> Cell:
    if not isinstance(cell, Cell):
        raise TypeError(
            f"{name} is {cell!r}, expected a cell such as LSTMCell(hidden_size)."
        )
    try:
        hash(cell)
    except TypeError as error:
        raise TypeError(
            f"{name} cannot be hashed ({error}), expected a frozen dataclass of "
            f"hashable fields; @dataclasses.dataclass(frozen=True) makes one."
        ) from error
    return cell
