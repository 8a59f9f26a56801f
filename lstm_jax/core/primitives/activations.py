"""Activations other than sigmoid and tanh, and clips, for the cells that ONNX knows.

`Activations` is a field of a cell. Its three functions are those that ONNX calls f, g
and h: of the gates, of the candidate, and of the cell state on its way out. Functions
have the names, the equations and the default numbers of ONNX, in small letters:

    relu              max(0, z)
    leaky_relu        z if z >= 0 else alpha * z             alpha = 0.01
    thresholded_relu  z if z >= alpha else 0                 alpha = 1
    elu               z if z >= 0 else alpha * (exp(z) - 1)  alpha = 1
    affine            alpha * z + beta                       alpha = 1, beta = 0
    hard_sigmoid      min(1, max(0, alpha * z + beta))       alpha = 0.2, beta = 0.5
    scaled_tanh       alpha * tanh(beta * z)                 alpha = 1.7159, beta = 2/3
    softplus          log(1 + exp(z))
    softsign          z / (1 + |z|)

ONNX has no default for the scaled tanh; these numbers are those of LeCun, Bottou, Orr
& Müller, "Efficient BackProp", 1998. ``jax.nn.hard_sigmoid`` has ``alpha = 1/6``.
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
    """A named function with numbers of its own; the equations head this file.

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
        """The function, of every element."""
        return FUNCTIONS[self.name](z, **self._numbers())

    def _numbers(self):
        numbers = {"alpha": self.alpha, "beta": self.beta}
        return {name: float(n) for name, n in numbers.items() if n is not None}


@dataclasses.dataclass(frozen=True)
class Activations:
    """What a cell applies to its gates, candidate and state, and where it clips.

    A function is a name (the head of this file lists them), an `Activation`, or any
    elementwise function of an array. A cell is a static argument of ``jax.jit`` and
    equal to another if its functions are: define a function of your own once, outside
    of the code that makes the cell.

    Args:
        gate: of ``i``, ``f``, ``o``, or ``r``, ``z`` of a GRU.
        candidate: of ``g``, of ``n`` of a GRU, and of the plain network.
        output: of the cell state, in ``h = o * output(c)``.
        clip: pre-activations of gates and candidate, peepholes included, are clipped
            to ``[-clip, clip]``; as onnxruntime's attribute of that name, and unlike
            the words of ONNX not what ``output`` is applied to.
        cell_clip: the new cell state is clipped to ``[-cell_clip, cell_clip]``.

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
    """A positive number, or ``None``."""
    number = isinstance(limit, int | float | np.number) and not isinstance(limit, bool)
    if limit is not None and not (number and limit > 0):
        raise ValueError(
            f"{name} is {limit!r}, expected a positive number, or None for no clip."
        )


TEXTBOOK = Activations()
"""Sigmoid gates and two tanh, no clip: what a cell has unless told otherwise."""


def function_of(activation: str | Callable) -> Callable[[Array], Array]:
    """The function that a name stands for; a function stands for itself."""
    return FUNCTIONS[activation] if isinstance(activation, str) else activation


def clip(x: Float[Array, "*B H"], limit: float | None) -> Float[Array, "*B H"]:
    """``x`` within ``[-limit, limit]``, or as it is where there is no limit."""
    return x if limit is None else clip_to(-limit, x, limit)


def clip_to(low, x, high):
    # Unlike jnp.clip, whose derivative keeps floats, this one keeps booleans alone.
    return lax.clamp(np.asarray(low, x.dtype), x, np.asarray(high, x.dtype))


def check_activations(cell, *unused: str):
    """Refuses what is not `Activations`, or says something that ``cell`` ignores."""
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
