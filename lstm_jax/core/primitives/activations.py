"""Activations other than sigmoid and tanh, and clips, for the cells that ONNX defines.

`Activations` is a field of a cell. Its three functions are called f, g and h in ONNX:
for the gates, for the candidate, and for the output of the cell state. Names (in lower
case), equations and default numbers are those of ONNX:

    relu              max(0, z)
    leaky_relu        z if z >= 0 else alpha * z             alpha = 0.01
    thresholded_relu  z if z >= alpha else 0                 alpha = 1
    elu               z if z >= 0 else alpha * (exp(z) - 1)  alpha = 1
    affine            alpha * z + beta                       alpha = 1, beta = 0
    hard_sigmoid      min(1, max(0, alpha * z + beta))       alpha = 0.2, beta = 0.5
    scaled_tanh       alpha * tanh(beta * z)                 alpha = 1.7159, beta = 2/3
    softplus          log(1 + exp(z))
    softsign          z / (1 + |z|)

ONNX has no default for the scaled tanh. The numbers here come from LeCun, Bottou, Orr &
Müller, "Efficient BackProp", 1998. ``jax.nn.hard_sigmoid`` has ``alpha = 1/6``.
"""

import dataclasses
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lstm_jax._types import Array, Float
from lstm_jax.core.arguments import check_choice

FUNCTIONS = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": lambda z, alpha=0.01: jnp.where(z >= 0, z, alpha * z),
    "thresholded_relu": lambda z, alpha=1.0: jnp.where(
        z >= alpha, z, jnp.zeros_like(z)
    ),
    "elu": lambda z, alpha=1.0: jax.nn.elu(z, alpha),
    "affine": lambda z, alpha=1.0, beta=0.0: alpha * z + beta,
    "hard_sigmoid": lambda z, alpha=0.2, beta=0.5: clip_to(0.0, alpha * z + beta, 1.0),
    "scaled_tanh": lambda z, alpha=1.7159, beta=2 / 3: alpha * jnp.tanh(beta * z),
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
}


@dataclasses.dataclass(frozen=True)
class Activation:
    """A named function with your own ``alpha`` and ``beta``; this file lists the
    equations.

    Raises:
        ValueError: the name is unknown.
        TypeError: the function has no such number.

    >>> import jax.numpy as jnp
    >>> print(Activation("hard_sigmoid", alpha=0.25)(jnp.array([-3.0, 0.0, 1.0])))
    [0.   0.5  0.75]
    """

    name: str
    alpha: float | None = None
    beta: float | None = None

    def __post_init__(self):
        check_choice("name", self.name, tuple(FUNCTIONS))
        takes = inspect.signature(FUNCTIONS[self.name]).parameters
        for number in self._numbers():
            if number not in takes:
                raise TypeError(f"{self.name} has no {number}; leave it out.")

    def __call__(self, z: Float[Array, "*B H"]) -> Float[Array, "*B H"]:
        """Applies the function elementwise."""
        return FUNCTIONS[self.name](z, **self._numbers())

    def _numbers(self):
        numbers = {"alpha": self.alpha, "beta": self.beta}
        return {name: float(n) for name, n in numbers.items() if n is not None}


@dataclasses.dataclass(frozen=True)
class Activations:
    """The functions that a cell applies to its gates, candidate and state, and its
    clips.

    A function is a name of `lstm_jax.core.primitives.activations`, an `Activation`, or
    any elementwise function of an array. Cells are static arguments of ``jax.jit``, and
    cells are equal only if their functions are. So define your own function once,
    outside the code that makes the cell.

    Args:
        gate: for ``i``, ``f``, ``o``, or for ``r``, ``z`` of a GRU.
        candidate: for ``g``, for ``n`` of a GRU, and for the plain RNN.
        output: for the cell state, in ``h = o * output(c)``.
        clip: limits the pre-activations of gates and candidate, with their peephole
            terms, to ``[-clip, clip]``. Like onnxruntime, and unlike the text of ONNX,
            it does not limit the argument of ``output``.
        cell_clip: limits the new cell state to ``[-cell_clip, cell_clip]``.

    Raises:
        TypeError: a function is neither a name nor callable.
        ValueError: a name is unknown, or a clip is not positive.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import Activations, LSTMCell, unroll
    >>> hard = Activations(gate="hard_sigmoid", candidate=jnp.sin, cell_clip=3.0)
    >>> cell = LSTMCell(hidden_size=5, activations=hard)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)))
    >>> hs.shape
    (7, 2, 5)
    """

    gate: str | Callable = "sigmoid"
    candidate: str | Callable = "tanh"
    output: str | Callable = "tanh"
    clip: float | None = None
    cell_clip: float | None = None

    def __post_init__(self):
        for field in ("gate", "candidate", "output"):
            given = getattr(self, field)
            if isinstance(given, str):
                check_choice(field, given, tuple(FUNCTIONS))
            elif not callable(given):
                raise TypeError(
                    f"{field} is {given!r}, expected the name of an activation, an "
                    f"Activation, or a function of an array."
                )
        check_clip("clip", self.clip)
        check_clip("cell_clip", self.cell_clip)


def check_clip(name: str, limit: float | None) -> None:
    """Checks that ``limit`` is a positive number or ``None``."""
    number = isinstance(limit, int | float | np.number) and not isinstance(limit, bool)
    if limit is not None and not (number and limit > 0):
        raise ValueError(
            f"{name} is {limit!r}, expected a positive number, or None for no clip."
        )


TEXTBOOK = Activations()
"""The default of a cell: sigmoid gates, tanh twice, no clip."""


def function_of(activation: str | Callable) -> Callable[[Array], Array]:
    """Looks up a function by name; a function is returned as it is."""
    return FUNCTIONS[activation] if isinstance(activation, str) else activation


def clip(x: Float[Array, "*B H"], limit: float | None) -> Float[Array, "*B H"]:
    """``x`` clipped to ``[-limit, limit]``, or ``x`` if there is no limit."""
    return x if limit is None else clip_to(-limit, x, limit)


def clip_to(low, x, high):
    # For its derivative, lax.clamp stores booleans and jnp.clip stores floats.
    return lax.clamp(np.asarray(low, x.dtype), x, np.asarray(high, x.dtype))


def check_activations(cell, *unused: str):
    """Raises an error if this is not `Activations`, or sets a field that ``cell``
    ignores.
    """
    given, kind = cell.activations, type(cell).__name__
    if not isinstance(given, Activations):
        raise TypeError(
            f"activations of {kind} is {given!r}, expected Activations(...), such as "
            f"Activations(candidate='relu')."
        )
    for field in unused:
        if getattr(given, field) != getattr(TEXTBOOK, field):
            raise ValueError(
                f"activations.{field} is {getattr(given, field)!r}, but {kind} has "
                f"nothing to apply it to; leave it at {getattr(TEXTBOOK, field)!r}."
            )
