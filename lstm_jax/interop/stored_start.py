"""What a stored stack has besides weights: activations, initial states and lengths.

Activations stand in stack.json, one entry for each that is not the textbook's. States
are tensors ``0.carry.h``, ``0.forward.carry.h``, ..., of ``[H]`` where all rows begin
alike and ``[B, H]`` otherwise; lengths are the tensor ``lengths`` ``[B]``.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.core.activations import TEXTBOOK, Activation, Activations
from lstm_jax.core.bidirectional import Bidirectional
from lstm_jax.core.cell import Cell
from lstm_jax.interop.errors import InteropError, UnsupportedError

FUNCTIONS = ("gate", "candidate", "output")
CLIPS = ("clip", "cell_clip")


def describe_cell(cell: Any, plain: Any) -> dict[str, Any]:
    """``{"activations": ...}``, or nothing where the cell is what its weights tell.

    Args:
        cell: of a stack.
        plain: the cell that `stack_of` makes of the weights.

    Raises:
        UnsupportedError: the cells differ in more, or a function is not ONNX's.
    """
    if cell == plain:
        return {}
    activations = getattr(cell, "activations", TEXTBOOK)
    if plain is None or _with(plain, activations) != cell:
        raise UnsupportedError(
            f"{cell} cannot be stored; expected {plain}, with activations of its own "
            f"or without."
        )
    facts: dict[str, Any] = {}
    for field in FUNCTIONS:
        given = getattr(activations, field)
        if given == getattr(TEXTBOOK, field):
            continue
        if isinstance(given, Activation):
            facts[field] = dataclasses.asdict(given)
        elif isinstance(given, str):
            facts[field] = {"name": given, "alpha": None, "beta": None}
        else:
            raise UnsupportedError(
                f"{field} is {given!r}, a function that cannot be stored; expected a "
                f"name or an Activation."
            )
    clips = {field: getattr(activations, field) for field in CLIPS}
    facts |= {field: float(clip) for field, clip in clips.items() if clip is not None}
    return {"activations": facts}


def cell_of(plain: Cell, facts: Mapping[str, Any] | None) -> Cell:
    """The inverse of `describe_cell`, of facts that people may have edited.

    Raises:
        InteropError: they are not those of activations.
    """
    if facts is None:
        return plain
    try:
        given: dict[str, Any] = {
            key: value if key in CLIPS else _function(**value)
            for key, value in facts.items()
        }
        return _with(plain, Activations(**given))
    except (TypeError, ValueError, AttributeError) as error:
        raise InteropError(f"activations in stack.json are corrupt: {error}") from error


def _function(name, alpha=None, beta=None):
    return name if alpha is None and beta is None else Activation(name, alpha, beta)


def _with(plain, activations):
    return dataclasses.replace(plain, activations=activations)


def state_tensors(
    names: Sequence[Sequence[str]], carries: Sequence[Any] | None, lengths: Any
) -> dict[str, np.ndarray]:
    """Tensors by their names in the file.

    Args:
        names: of every layer, the beginnings of the names of its directions.
        carries: an entry a layer, ``None`` for zeros.
        lengths: of rows, or ``None``.
    """
    tensors = {}
    for starts, carry in zip(names, carries or [None] * len(names), strict=True):
        ways = carry if isinstance(carry, Bidirectional) else (carry,)
        for start, way in zip(starts, ways, strict=False):
            for field, array in way._asdict().items() if way is not None else ():
                tensors[f"{start}carry.{field}"] = np.asarray(array)
    return tensors if lengths is None else {**tensors, "lengths": np.asarray(lengths)}


def read_states(
    names: Sequence[Sequence[str]],
    cells: Sequence[Cell],
    tensors: Mapping[str, np.ndarray],
    problems: list[str],
) -> tuple[Any, Any, set[str]]:
    """Carries, lengths, and the names of their tensors; ``None`` for what is not there.

    Adds to ``problems`` what does not fit the cells.
    """
    known: set[str] = set()
    carries = []
    for starts, cell in zip(names, cells, strict=True):
        ways = [_read_carry(start, cell, tensors, problems) for start in starts]
        known |= {name for way in ways for name in way}
        states = [_carry(cell, [*way.values()]) for way in ways if way]
        if len(states) not in (0, len(starts)):
            problems.append(f"{starts} have a state in one direction alone")
        elif states:
            carries.append(states[0] if len(states) == 1 else Bidirectional(*states))
        else:
            carries.append(None)
    lengths = tensors.get("lengths")
    if lengths is not None and (lengths.ndim != 1 or lengths.dtype.kind != "i"):
        problems.append(f"lengths has shape {lengths.shape} and dtype {lengths.dtype}")
    known |= {"lengths"} & set(tensors)
    return (tuple(carries) if any(carries) else None), lengths, known


def _read_carry(start, cell, tensors, problems):
    """A direction's states by their names, all of them or none."""
    zeros = _zeros(cell)
    found = {}
    for field, like in zeros._asdict().items():
        name = f"{start}carry.{field}"
        if name in tensors:
            found[name] = array = tensors[name]
            if array.ndim not in (1, 2) or array.shape[-1:] != like.shape:
                problems.append(f"{name} has shape {array.shape}, expected [B, H]")
    if found and len(found) < len(zeros):
        problems.append(f"{start}carry has {', '.join(found)} alone")
        return {}
    return found


def _zeros(cell):
    return jax.eval_shape(lambda: cell.zero_carry((), jnp.float32))


def _carry(cell, arrays) -> Any:
    return type(_zeros(cell))(*arrays)


def has_own(cells: Sequence[Cell]) -> Iterator[Any]:
    """The activations of cells, wrapped or not, that weights do not tell."""
    for cell in cells:
        inner: Any = cell
        while hasattr(inner, "cell"):
            inner = inner.cell
        if getattr(inner, "activations", TEXTBOOK) != TEXTBOOK:
            yield inner.activations
