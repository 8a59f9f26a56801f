"""The initial state of a stack as tensors: ``0.carry.h``, ``0.forward.carry.h``, ..."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.layers.bidirectional import Bidirectional
from lstm_jax.interop.errors import InteropError, refuse
from lstm_jax.interop.weights.names import WAYS
from lstm_jax.interop.weights.stack import ways_of

DIRECTIONS = {1: (WAYS[None],), 2: (WAYS[False], WAYS[True])}
"""The prefix of the names of each direction, by the number of directions."""


def _names(n, ways, cell):
    """Names of the tensors of a layer's state, one list per direction."""
    zero = jax.eval_shape(lambda: cell.zero_carry((), jnp.float32))
    return type(zero), [
        [(f"{n}.{way}carry.{field}", a.shape) for field, a in zero._asdict().items()]
        for way in DIRECTIONS[ways]
    ]


def carry_tensors(
    cells: Sequence[Cell], directions: int, carry: Sequence[Any]
) -> dict[str, np.ndarray]:
    """The tensors of ``carry``, with one entry per layer; ``None`` stands for zeros.

    Raises:
        InteropError: the carry does not belong to the cells.
    """
    carry = tuple(carry)
    if len(carry) != len(cells):
        raise InteropError(
            f"carry has {len(carry)} entries, expected {len(cells)}, one per layer."
        )
    tensors = {}
    dtypes = [a.dtype for a in jax.tree.leaves(carry) if hasattr(a, "dtype")]
    dtype = dtypes[0] if dtypes else np.float32
    for n, (cell, state) in enumerate(zip(cells, carry, strict=True)):
        if state is None:
            state = _zeros(cell, directions, dtype)
        kind, names = _names(n, directions, cell)
        ways = ways_of(state)
        if len(ways) != len(names) or not all(isinstance(way, kind) for way in ways):
            said = ", ".join(type(way).__name__ for way in ways)
            raise InteropError(
                f"carry[{n}] is of {said}, expected {len(names)} of {kind.__name__}."
            )
        for way, named in zip(ways, names, strict=True):
            tensors |= {
                name: np.asarray(a) for (name, _), a in zip(named, way, strict=True)
            }
        _check_state([tensors[name] for named in names for name, _ in named], names, n)
    return tensors


def _zeros(cell, directions, dtype):
    """Zeros without batch axes, used for every row."""
    shapes = jax.eval_shape(lambda: cell.zero_carry((), jnp.float32))
    zero = jax.tree.map(lambda a: np.zeros(a.shape, dtype), shapes)
    return Bidirectional(zero, zero) if directions == 2 else zero


def _check_state(arrays, names, n):
    """Checks that all parts of a layer's state have the same rows, and the cell's
    features.
    """
    shapes = [shape for named in names for _, shape in named]
    rows = {a.shape[: a.ndim - len(s)] for a, s in zip(arrays, shapes, strict=True)}
    fit = all(
        a.shape[a.ndim - len(s) :] == s and jnp.issubdtype(a.dtype, jnp.floating)
        for a, s in zip(arrays, shapes, strict=True)
    )
    if len(rows) > 1 or not fit:
        said = ", ".join(f"{a.dtype} {a.shape}" for a in arrays)
        raise InteropError(
            f"the carry of layer {n} has {said}, expected floats [..., "
            f"{shapes[0][-1]}] with the same rows."
        )


def carry_names(cells: Sequence[Cell], directions: int) -> set[str]:
    """The names of all tensors of a carry."""
    layers = [_names(n, directions, cell)[1] for n, cell in enumerate(cells)]
    return {name for names in layers for way in names for name, _ in way}


def read_carry(
    cells: Sequence[Cell], directions: int, tensors: Mapping[str, np.ndarray]
) -> tuple[Any, ...]:
    """The inverse of `carry_tensors`.

    Raises:
        InteropError: a tensor is missing or misshapen.
    """
    missing = sorted(carry_names(cells, directions) - {*tensors})
    refuse("the carry is incomplete", [f"{name} is missing" for name in missing])
    carry = []
    for n, cell in enumerate(cells):
        kind, names = _names(n, directions, cell)
        arrays = [[tensors[name] for name, _ in named] for named in names]
        _check_state([a for way in arrays for a in way], names, n)
        ways = [kind(*way) for way in arrays]
        carry.append(Bidirectional(*ways) if len(ways) > 1 else ways[0])
    return tuple(carry)


def check_lengths(lengths: np.ndarray) -> np.ndarray:
    """``lengths``, if they are integers ``[B]``."""
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise InteropError(
            f"lengths has dtype {lengths.dtype} and shape {lengths.shape}, expected "
            f"integers [B]."
        )
    return lengths
