"""Parameters of the core as NNX variables."""

from typing import Any

from flax import nnx

from lstm_jax.core.bidirectional import Bidirectional, two_directions


class Weights(nnx.Module):
    """The parameters of a cell, an ``nnx.Param`` under the name of each field.

    A field that is a named tuple becomes such a module in turn, a tuple a list.
    """

    def __init__(self, params: Any):
        self._kind = type(params)
        for name, value in params._asdict().items():
            setattr(self, name, _variables(value))

    @property
    def params(self) -> Any:
        """The named tuple that the pure functions take."""
        return self._kind(*(_values(getattr(self, n)) for n in self._kind._fields))


def _variables(value):
    if value is None:
        return None
    if hasattr(value, "_fields"):
        return Weights(value)
    if isinstance(value, tuple):
        return nnx.List([_variables(v) for v in value])
    return nnx.Param(value)


def _values(variables):
    if variables is None:
        return None
    if isinstance(variables, Weights):
        return variables.params
    if isinstance(variables, nnx.List):
        return tuple(map(_values, variables))
    return variables[...]


class StackWeights(nnx.Module):
    """The entries of a stack, one a layer: of parameters, or of trained carries."""

    forward: nnx.List
    backward: nnx.List

    def __init__(self, entries: tuple[Any, ...]):
        two_ways = two_directions("entries", entries)
        ways = zip(*entries, strict=True) if two_ways else [entries]
        for name, way in zip(Bidirectional._fields, ways, strict=False):
            setattr(self, name, nnx.List([Weights(entry) for entry in way]))

    @property
    def entries(self) -> tuple[Any, ...]:
        """What a `lstm_jax.Stack` takes."""
        forward = tuple(layer.params for layer in self.forward)
        if not hasattr(self, "backward"):
            return forward
        backward = (layer.params for layer in self.backward)
        return tuple(map(Bidirectional, forward, backward))
