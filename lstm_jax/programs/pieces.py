"""The pieces of a `Program`.

Every piece maps ``[T, B, in_size]`` to ``[T, B, out_size]``. Only `Embed` reads tokens,
``[T, B]``.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.core.layers.bidirectional import Bidirectional
from lstm_jax.core.layers.stack import Stack
from lstm_jax.core.precision import product_precision


@dataclasses.dataclass(frozen=True, eq=False)
class Embed:
    """Replaces tokens by rows of ``table``, ``[V, E]``.

    Raises:
        TypeError, ValueError: ``table`` is not a matrix of 16- or 32-bit floats.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.interop import Embed
    >>> carry, xs = Embed(jnp.ones((11, 4)))(jnp.array([[3], [1]]))  # tokens [T, B]
    >>> xs.shape
    (2, 1, 4)
    """

    table: Any

    def __post_init__(self):
        _set_weights(self, {"table": 2})

    in_size = None

    @property
    def out_size(self) -> int:
        return self.table.shape[1]

    def __call__(self, tokens, carry=None, lengths=None, implementation=None):
        del lengths, implementation
        return carry, jnp.asarray(self.table)[tokens]


@dataclasses.dataclass(frozen=True, eq=False)
class Linear:
    """``x @ w + b`` at each step: ``w`` is ``[D, N]``, ``b`` is ``[N]`` or ``None``.

    Raises:
        TypeError, ValueError: ``w`` or ``b`` has another number of axes, size or dtype.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.interop import Linear
    >>> carry, y = Linear(jnp.ones((5, 2)), jnp.zeros(2))(jnp.ones((7, 1, 5)))
    >>> y.shape
    (7, 1, 2)
    """

    w: Any
    b: Any = None

    def __post_init__(self):
        _set_weights(self, {"w": 2} | ({} if self.b is None else {"b": 1}))
        if self.b is not None and self.b.shape != self.w.shape[1:]:
            raise ValueError(
                f"b of Linear has shape {self.b.shape}, expected {self.w.shape[1:]} "
                f"for w {self.w.shape}."
            )

    @property
    def in_size(self) -> int:
        return self.w.shape[0]

    @property
    def out_size(self) -> int:
        return self.w.shape[1]

    def __call__(self, x, carry=None, lengths=None, implementation=None):
        del lengths, implementation
        precision = product_precision(x.dtype)
        y = jnp.einsum("...d,dn->...n", x, self.w, precision=precision)
        return carry, y if self.b is None else y + jnp.broadcast_to(self.b, y.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Layers:
    """Recurrent layers in evaluation mode, without dropout.

    ``params`` are the parameters of the stack. For an `lstm_jax.nn.Recurrent` or
    `lstm_jax.nn.LSTM` called ``model``, write ``Layers(model.stack, model.params)``.

    Raises:
        TypeError: ``stack`` is not a `lstm_jax.Stack`.
        ValueError: the stack has ``merge="none"`` or a convolutional cell.

    >>> import jax
    >>> from lstm_jax import LSTMCell, Stack
    >>> from lstm_jax.interop import Layers
    >>> stack = Stack([LSTMCell(5)] * 2)
    >>> layers = Layers(stack, stack.init(jax.random.key(0), in_size=3))
    >>> layers.in_size, layers.out_size
    (3, 5)
    """

    stack: Stack
    params: Sequence[Any]

    def __post_init__(self):
        stack = self.stack
        if not isinstance(stack, Stack):
            raise TypeError(f"stack is {stack!r}, expected lstm_jax.Stack([...]).")
        if stack.bidirectional and stack.merge == "none":
            raise ValueError(
                "stack has merge='none', expected another: a program returns one array."
            )
        if (cell := stack.cells[0]).feature_axes != 1:
            raise ValueError(
                f"{type(cell).__name__} has axes of space, expected a cell on features "
                f"alone."
            )
        layers = stack.by_layer(_features(self.params[0]), self.params)
        as_floats = lambda w: _in_float32("a weight of Layers", w)
        object.__setattr__(self, "params", jax.tree.map(as_floats, tuple(layers)))
        object.__setattr__(self, "stack", dataclasses.replace(stack, stacked=False))

    @property
    def in_size(self) -> int:
        return _features(self.params[0])

    @property
    def out_size(self) -> int:
        return self.stack.sizes(self.in_size)[-1]

    @property
    def directions(self) -> int:
        return 2 if self.stack.bidirectional else 1

    def __call__(self, x, carry=None, lengths=None, implementation=None):
        params = jax.tree.map(jnp.asarray, self.params)
        return self.stack(
            params, carry, x, lengths=lengths, implementation=implementation
        )


Piece = Embed | Layers | Linear


def _features(params):
    """The number of features that a layer reads. All its parameters have ``w_x``,
    ``[..., D, nH]``.
    """
    one = params.forward if isinstance(params, Bidirectional) else params
    return jnp.shape(one.w_x)[-2]


def _set_weights(piece, ranks):
    for name, rank in ranks.items():
        what = f"{name} of {type(piece).__name__}"
        array = _in_float32(what, getattr(piece, name))
        if array.ndim != rank:
            raise ValueError(
                f"{what} has shape {array.shape}, expected {rank} axes; see the "
                f"docstring."
            )
        object.__setattr__(piece, name, array)


def _in_float32(what, array):
    array = array if hasattr(array, "dtype") else np.asarray(array)
    dtype = array.dtype
    if not jnp.issubdtype(dtype, jnp.floating) or dtype.itemsize > 4:
        raise TypeError(
            f"{what} has dtype {dtype.name}, expected float32 or 16 bits, which a "
            f"program keeps exactly; cast it with .astype(jnp.float32)."
        )
    return array.astype(jnp.float32)
