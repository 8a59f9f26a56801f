"""Parameters of the core as NNX variables."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from lstm_jax.core.arguments import check_floating
from lstm_jax.core.boxes import Boxes
from lstm_jax.core.cells.checks import check_layers
from lstm_jax.core.layers.bidirectional import Bidirectional, two_directions
from lstm_jax.core.trees import from_dict, unshared
from lstm_jax.nn.module import Module

SHARDINGS = ("out_sharding", "sharding_names", "sharding")
"""Metadata of a variable that name its axes."""


def boxes() -> Boxes:
    """For initialisers such as those of ``nnx.with_partitioning``."""

    def unbox(value):
        if isinstance(value, nnx.VariableMetadata):
            return value.raw_value, value
        return value, None

    return Boxes(unbox)


class AssignsParams(Module):
    """A module whose property ``params`` can be assigned to."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "params":  # Flax would take it for an attribute that holds arrays.
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)


class CellWeights(AssignsParams):
    """The parameters of a cell, an ``nnx.Param`` under the name of each field.

    A field that is a named tuple becomes such a module in turn, a tuple a list.
    """

    def __init__(self, params: Any, box_of: Callable[[str], Any] = lambda field: None):
        self._kind = type(params)
        if not hasattr(params, "_asdict"):
            raise TypeError(
                f"a trained carry is {self._kind.__name__}, expected a NamedTuple; "
                f"leave trainable_carry out, or use such a carry in the cell."
            )
        for name, value in unshared(params)._asdict().items():
            setattr(self, name, _variables(value, box_of(name)))

    @property
    def params(self) -> Any:
        """The named tuple that the pure functions take.

        Assigning to it, a named tuple or a dict of its fields, replaces the values of
        the parameters, which keep their dtypes.
        """
        return self._kind(*(_values(getattr(self, n)) for n in self._kind._fields))

    @params.setter
    def params(self, params: Any) -> None:
        _assign(self, from_dict(params, self.params), "params")


def _variables(value, box):
    if value is None:
        return None
    if hasattr(value, "_fields"):
        return CellWeights(value, lambda field: box)
    if isinstance(value, tuple):
        return nnx.List([_variables(v, box) for v in value])
    return nnx.Param(value if box is None else _in_box(box, value))


def _in_box(box, value):
    """Axes that the initialiser did not name, those of layers or heads, come first."""
    metadata = dict(box.metadata)
    for name in SHARDINGS:
        if isinstance(names := metadata.get(name), tuple | list):
            metadata[name] = (None,) * (value.ndim - len(names)) + tuple(names)
    return dataclasses.replace(box, raw_value=value, metadata=metadata)


def _values(variables):
    if variables is None:
        return None
    if isinstance(variables, CellWeights):
        return variables.params
    if isinstance(variables, nnx.List):
        return tuple(map(_values, variables))
    return variables[...]


def _assign(variables, values, path):
    """``values`` into variables of the same structure."""
    if isinstance(variables, CellWeights):
        for name in variables._kind._fields:
            part = getattr(variables, name), getattr(values, name)
            _assign(*part, f"{path}.{name}")
    elif isinstance(variables, nnx.List):
        for n, part in enumerate(zip(variables, values, strict=True)):
            _assign(*part, f"{path}.{n}")
    elif variables is not None:
        value, old = check_floating(path, values), variables[...]
        if value.shape != old.shape:
            raise ValueError(
                f"{path} has shape {value.shape}, expected {old.shape}; make the "
                f"module with the sizes of these parameters."
            )
        variables[...] = jnp.array(value, old.dtype, copy=True)


class StackWeights(nnx.Module):
    """The entries of a stack, one per layer: of parameters, or of trained carries."""

    forward: nnx.List
    backward: nnx.List

    def __init__(
        self,
        entries: tuple[Any, ...],
        box_of: Callable[[str], Any] = lambda field: None,
    ):
        entries = unshared(entries)
        two_ways = two_directions("entries", entries)
        ways = zip(*entries, strict=True) if two_ways else [entries]
        for name, way in zip(Bidirectional._fields, ways, strict=False):
            setattr(self, name, nnx.List([CellWeights(entry, box_of) for entry in way]))

    @property
    def entries(self) -> tuple[Any, ...]:
        """What a `lstm_jax.Stack` takes."""
        forward = tuple(layer.params for layer in self.forward)
        if not hasattr(self, "backward"):
            return forward
        backward = (layer.params for layer in self.backward)
        return tuple(map(Bidirectional, forward, backward))

    def assign(self, entries: Any) -> None:
        """Replaces all values."""
        if not isinstance(entries, Mapping):
            entries = check_layers("params", entries)
        entries = from_dict(entries, self.entries)
        two_ways = hasattr(self, "backward")
        for n, entry in enumerate(entries):
            for way in Bidirectional._fields if two_ways else ("forward",):
                part, path = entry, f"params[{n}]"
                if two_ways:
                    part, path = getattr(entry, way), f"{path}.{way}"
                _assign(getattr(self, way)[n], part, path)
