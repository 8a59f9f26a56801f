"""What a recurrent cell is: static facts and a few pure functions."""

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
"""``dot(name, a)`` is ``a @ params.name``, watched by the rule of `unroll`."""

Product = Callable[[Array, Array], Array]
"""A map of ``(a, w)`` that is linear in each, over any number of leading axes."""


class Noise(NamedTuple):
    """Random masks of a sequence."""

    locked: Any
    """Made once, the same at every step."""
    stepwise: Any
    """One for every step, ``[T, ...]``."""


class Cell(abc.ABC):
    """A recurrent cell: a frozen dataclass of static facts.

    Equal cells hash equal, so a cell is a safe static argument of ``jax.jit``.

    A new cell defines ``init``, ``step`` and ``zero_carry``, and ``project`` if its
    input weights are not called ``w_x``. It declares what ``step`` reads:

    * ``products``: weights that ``step`` multiplies by. It does so through
      ``dot(name, a)`` alone, once a step each, with a floating-point ``a``. Their
      gradient is one product over all time, taken outside the loop.
    * ``elementwise``: small parameters that ``step`` reads directly.
    * ``added``: those of either kind that are added to ``gx`` as they stand, such as a
      bias; their derivative then goes through ``gx`` and needs no array of its own.

    These are the promises of a cell. All but the last one are checked before its first
    use, by shapes, and a broken one raises a TypeError that names it:

    * ``init`` returns a NamedTuple of floating-point arrays. They may be nested. Flax
      modules pass it ``dtype=``.
    * ``project`` returns one floating-point array ``[T, *B, ...]``.
    * The carry is an array, or any tree of arrays: NamedTuples, tuples, dicts. Each has
      the batch axes in front. Integers and booleans are allowed; they have no gradient.
    * ``step`` returns a carry of the structure, shapes and dtypes of ``zero_carry``,
      and an output ``[*B, out_size]`` in the compute dtype, which is that of ``xs``.
    * ``step`` reads the parameters in ``elementwise`` and no others.
    * What ``added`` names is added to ``gx`` and used nowhere else. Call
      `lstm_jax.diagnostics.check_cell` on your cell: it compares the derivatives.

    Wrappers ask for more: their cell's carry is a NamedTuple with a field ``h``.

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
    """Those products that read the hidden state, and how many gates each feeds."""

    candidate: str | None = "g"
    """The gate that a step writes to the state; ``None`` where it has none."""

    def __post_init__(self):
        check_size("hidden_size", self.hidden_size)

    @property
    def feature_axes(self) -> int:
        """Trailing axes of an input that belong to one row: features, and before them
        the axes of space of a convolutional cell."""
        return 1

    @property
    def out_size(self) -> int:
        """Features of an output; those of a layer above."""
        return self.hidden_size

    @abc.abstractmethod
    def init(self, key: Key[Array, ""], in_size: int) -> Any:
        """Parameters for inputs of ``in_size`` features."""

    def project(self, params: Any, x: Float[Array, "*TB D"]) -> Array:
        """``gx``: the part of a step that needs no state, for any number of steps."""
        return matmul(x, params.w_x).astype(x.dtype)

    @abc.abstractmethod
    def step(
        self, params: Any, carry: Any, gx: Array, dot: Dot, gates: Callable = gates
    ) -> tuple[Any, Array]:
        """One time step: ``(carry, h)``. Gates are activated by ``gates``, each under
        its name in the equations, so that a wrapper can see and change them."""

    @abc.abstractmethod
    def zero_carry(self, batch_shape: tuple[int, ...], dtype: Any) -> Any:
        """The carry of zeros for the compute dtype ``dtype``; ``None`` stands for it,
        also where a cell starts from something else."""

    def initial_carry(self, dtype: Any) -> Any:
        """A carry without batch axes to be trained, which may differ from zeros."""
        return self.zero_carry((), dtype)

    def weights(self, params: Any) -> dict[str, Array]:
        """The arrays that ``dot`` multiplies by, under the names in ``products``."""
        return {name: getattr(params, name) for name in self.products}

    def product(self, name: str) -> Product | None:
        """What ``dot(name, a)`` computes where it is not ``a @ w``."""
        del name
        return None

    def log_coefficients(
        self, params: Any, gx: Float[Array, "T *B nH"]
    ) -> tuple[Array, Array] | None:
        """``(log a, log b)`` of all steps, ``[T, ..., H]``, where the state is ``h``
        alone and the step no more than ``h_t = a_t * h_{t-1} + b_t``. `unroll` then
        needs no loop."""
        del params, gx
        return None

    def noise(
        self,
        key: Key[Array, ""],
        steps: Int[Array, "T"],
        batch_shape: tuple[int, ...],
        dtype: Any,
    ) -> Noise | None:
        """The masks of a random cell at these absolute ``steps``; see `Wrapper`."""
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
        """`step` with its masks, ``(locked, stepwise)``; ``None`` in evaluation."""
        del noise
        return self.step(params, carry, gx, dot, gates)


@functools.cache
def is_random(cell: Cell) -> bool:
    """Whether the cell draws masks where it has a key."""
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
