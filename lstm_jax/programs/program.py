"""A model for export: a chain of pieces, with named inputs and outputs.

A task describes its trained model as a `Program`. Every export format reads this
description and knows nothing about tasks. The number of steps ``T`` and of rows ``B``
is free:

    tokens          [T, B] int32, if an `Embed` comes first; otherwise
    inputs          [T, B, D] float32; with ``batch_first`` [B, T, ...]
    lengths         [B] int32, each in [0, T], if ``lengths``
    layer0_h        [directions, B, H] float32, and so every part of the carry
                    (``layer0_c``) of every recurrent layer from the bottom up, if
                    ``carry``
    outputs         [T, B, N] float32, or [B, T, N], under this name or another
    layer0_h_out    and so on: the carry after the last step, if ``carry``

To run a stream, feed every ``NAME_out`` back as ``NAME``.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from lstm_jax._types import Array
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.layers.bidirectional import Bidirectional
from lstm_jax.core.trees import by_path
from lstm_jax.programs.pieces import Embed, Layers, Piece


class Spec(NamedTuple):
    """One input or output; an axis of free size is ``"T"`` or ``"B"``."""

    name: str
    dtype: str
    shape: tuple[str | int, ...]


class Layer(NamedTuple):
    """One recurrent layer of a program, and the prefix of the names of its carry."""

    name: str
    cell: Cell
    params: Any
    directions: int

    @property
    def zero_carry(self) -> Any:
        """Shapes of the carry of one direction, without the row axis."""
        return jax.eval_shape(lambda: self.cell.zero_carry((), jnp.float32))


class Exportable(Protocol):
    """A function of named arrays, for the formats that trace it: a `Program`, or what a
    task describes itself."""

    @property
    def pieces(self) -> Sequence[Piece]:
        """A chain of pieces, or the recurrent layers."""
        ...

    @property
    def inputs(self) -> tuple[Spec, ...]:
        """The inputs, in order."""
        ...

    @property
    def weights(self) -> dict[str, Array]:
        """Every weight by its path."""
        ...

    def with_weights(self, weights: Mapping[str, Array]) -> "Exportable":
        """The same function with all weights replaced."""
        ...

    def __call__(
        self, inputs: Mapping[str, Array], *, implementation: str | None = None
    ) -> dict[str, Array]:
        """Runs the function in JAX."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A model for export. It computes in float32, whatever dtype it was trained in.

    Args:
        pieces: `Embed` (only as the first piece), `Layers`, `Linear`.
        batch_first: input and output are ``[B, T, ...]``, not ``[T, B, ...]``.
        lengths: whether ``lengths`` is an input. Steps after the length change no
            carry.
        carry: whether the states of all layers are inputs and outputs; otherwise they
            start at zero.
        output: the name of the output.

    Raises:
        TypeError, ValueError: a piece has the wrong type, sizes of neighbours differ,
            or weights are neither 16- nor 32-bit floats.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMCell, Stack
    >>> from lstm_jax.programs.pieces import Layers
    >>> from lstm_jax.programs.program import Program
    >>> stack = Stack([LSTMCell(5)])
    >>> params = stack.init(jax.random.key(0), in_size=3)
    >>> program = Program([Layers(stack, params)], carry=False)
    >>> [name for name, dtype, shape in program.inputs]
    ['inputs', 'lengths']
    >>> lengths = jnp.array([7, 4], jnp.int32)
    >>> program({"inputs": jnp.ones((7, 2, 3)), "lengths": lengths})["outputs"].shape
    (7, 2, 5)
    """

    pieces: Sequence[Piece]
    batch_first: bool = False
    lengths: bool = True
    carry: bool = True
    output: str = "outputs"

    def __post_init__(self):
        object.__setattr__(self, "pieces", tuple(self.pieces))
        _check_chain(self.pieces)
        if not self.layers:
            object.__setattr__(self, "lengths", False)
        names = [spec.name for spec in (*self.inputs, *self.outputs)]
        if names.count(self.output) > 1:
            raise ValueError(f"output is {self.output!r}, the name of another value.")

    @functools.cached_property
    def layers(self) -> tuple[Layer, ...]:
        """All recurrent layers, from the bottom up."""
        layers = [
            (cell, params, piece.directions)
            for piece in self.pieces
            if isinstance(piece, Layers)
            for cell, params in zip(piece.stack.cells, piece.params, strict=True)
        ]
        return tuple(Layer(f"layer{n}", *layer) for n, layer in enumerate(layers))

    @functools.cached_property
    def inputs(self) -> tuple[Spec, ...]:
        """The inputs, in order."""
        first = self.pieces[0]
        if isinstance(first, Embed):
            main = Spec("tokens", "int32", self._axes)
        else:
            main = Spec("inputs", "float32", (*self._axes, first.in_size))
        lengths = [Spec("lengths", "int32", ("B",))] if self.lengths else []
        return (main, *lengths, *self._carry_specs(""))

    @functools.cached_property
    def outputs(self) -> tuple[Spec, ...]:
        """The outputs, in order."""
        shape = (*self._axes, self.pieces[-1].out_size)
        main = Spec(self.output, "float32", shape)
        return (main, *self._carry_specs("_out"))

    @functools.cached_property
    def weights(self) -> dict[str, Array]:
        """Every weight by its path, such as ``1.params.0.w_x``."""
        return by_path(self._trees())

    def with_weights(self, weights: Mapping[str, Array]) -> "Program":
        """The same program with all weights replaced.

        Raises:
            ValueError: a name is missing or unknown.
        """
        if set(weights) != set(self.weights):
            wrong = ", ".join(sorted(set(weights) ^ set(self.weights)))
            raise ValueError(f"weights lack or have in excess {wrong}.")
        leaves = [weights[name] for name in self.weights]
        trees = jax.tree.unflatten(jax.tree.structure(self._trees()), leaves)
        pieces = map(lambda p, new: dataclasses.replace(p, **new), self.pieces, trees)
        return dataclasses.replace(self, pieces=tuple(pieces))

    def _trees(self):
        names = lambda piece: {f.name for f in dataclasses.fields(piece)} - {"stack"}
        return [{n: getattr(piece, n) for n in names(piece)} for piece in self.pieces]

    @property
    def _axes(self):
        return ("B", "T") if self.batch_first else ("T", "B")

    def _carry_specs(self, suffix) -> Iterator[Spec]:
        for layer in self.layers if self.carry else ():
            for field, part in layer.zero_carry._asdict().items():
                shape = (layer.directions, "B", *part.shape)
                yield Spec(f"{layer.name}_{field}{suffix}", "float32", shape)

    def __call__(
        self, inputs: Mapping[str, Array], *, implementation: str | None = None
    ) -> dict[str, Array]:
        """Runs the program in JAX. An exported file must give the same numbers.

        Raises:
            ValueError: an input is missing or unknown.
        """
        expected = [spec.name for spec in self.inputs]
        if set(inputs) != set(expected):
            raise ValueError(
                f"inputs are {', '.join(sorted(inputs))}, expected "
                f"{', '.join(expected)}."
            )
        turn = lambda x: jnp.swapaxes(x, 0, 1) if self.batch_first else x
        x, layers, final = turn(inputs[expected[0]]), iter(self.layers), {}
        for piece in self.pieces:
            own = [next(layers) for _ in getattr(piece, "params", ())]
            carry = _carries(own, inputs) if self.carry and own else None
            carry, x = piece(x, carry, inputs.get("lengths"), implementation)
            final |= _named(own, carry) if self.carry and own else {}
        return {self.output: turn(x), **final}


def _check_chain(pieces):
    if not pieces:
        raise ValueError("pieces is empty, expected one or more.")
    size = None
    for n, piece in enumerate(pieces):
        if not isinstance(piece, Piece):
            raise TypeError(
                f"piece {n} is {type(piece).__name__}, expected Embed, Layers or "
                f"Linear."
            )
        if n > 0 and piece.in_size != size:
            reads = "tokens" if piece.in_size is None else f"{piece.in_size} features"
            raise ValueError(
                f"piece {n}, {type(piece).__name__}, reads {reads}, but the piece "
                f"before it returns {size} features."
            )
        size = piece.out_size


def _carries(layers, inputs):
    """Collects the carries of a stack from the named inputs."""

    def of(layer):
        kind = type(layer.zero_carry)
        parts = [inputs[f"{layer.name}_{field}"] for field in kind._fields]
        ways = [kind(*(part[n] for part in parts)) for n in range(layer.directions)]
        return Bidirectional(*ways) if layer.directions == 2 else ways[0]

    return tuple(map(of, layers))


def _named(layers, carries):
    named = {}
    for layer, carry in zip(layers, carries, strict=True):
        ways = carry if layer.directions == 2 else (carry,)
        for field, *parts in zip(ways[0]._fields, *ways, strict=True):
            named[f"{layer.name}_{field}_out"] = jnp.stack(parts)
    return named
