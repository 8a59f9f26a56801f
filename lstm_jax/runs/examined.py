"""The layers of a trained run on an example of its data, with all gates and states."""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import PyTree
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.layers.bidirectional import Bidirectional
from lstm_jax.diagnostics import Trace, readings, saturation, time_constant
from lstm_jax.tasks.abilities import Example, HasExample, require
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.task import Task

MOST_STEPS = 1000
"""An example is cut after this many steps."""
SIGNED = ("g", "n", "h")
"""Gates with tanh, between -1 and 1."""
KEEPS = ("f", "z")
"""Gates that multiply the old state: the forget gate, and the update gate of a GRU."""


class GateNumbers(NamedTuple):
    """One gate of a layer, over all units and steps."""

    mean: float
    closed: float
    """Fraction of values below 0.1, or below -0.9 for a candidate."""
    open: float
    """Fraction of values above 0.9."""


class Layer(NamedTuple):
    """One layer of a run, in one direction, on one sequence."""

    name: str
    """Such as ``lstm.0``, or ``encoder.1.backward`` in a bidirectional layer."""
    cell: Cell
    params: Any
    trace: Trace
    """Gates and states ``[T, H]``, without a batch axis."""

    def gate_numbers(self) -> dict[str, GateNumbers]:
        """How open every gate is."""
        found = _gate_numbers(self.trace.gates)
        return {
            name: GateNumbers(*map(float, found[name])) for name in self.trace.gates
        }

    def memory(self) -> Any:
        """Steps that every unit remembers, ``[H]``; ``None`` without such a gate."""
        gates = [self.trace.gates[name] for name in KEEPS if name in self.trace.gates]
        return np.asarray(_memory(gates[0])) if gates else None


# Compiled as a whole: one operation after the other takes seconds to compile.
@jax.jit
def _gate_numbers(gates):
    found = {}
    for name, gate in gates.items():
        low, high = saturation(gate, low=-0.9 if name in SIGNED else 0.1)
        found[name] = gate.mean(), low.mean(), high.mean()
    return found


@jax.jit
def _memory(gate):
    return time_constant(jnp.clip(gate, 0, 1))


class Examined(NamedTuple):
    """A run that has read one example."""

    example: Example
    layers: list[Layer]

    def read_at(self, layer: Layer, step: int) -> str:
        """What the model reads at a step of a layer, in words."""
        words, steps = self.example.steps, len(layer.trace.hs)
        if len(words[:MOST_STEPS]) == steps:
            return repr(words[step])
        return f"step {step} of {steps}"  # several steps of the data at a time

    def layer(self, name: str) -> tuple[Layer, int]:
        """The layer and the index of a unit, from a name such as ``lstm.0.17``.

        ``0.17`` is enough if only one layer has a name that ends in 0.

        Raises:
            RunError: there is no such unit.
        """
        place, _, index = name.rpartition(".")
        fits = [one for one in self.layers if _fits(place, one.name)]
        if len(fits) == 1 and re.fullmatch(r"\d+", index):
            (layer,) = fits
            size = layer.trace.hs.shape[-1]
            if int(index) < size:
                return layer, int(index)
        known = ", ".join(
            f"{one.name}.0 to {one.name}.{one.trace.hs.shape[-1] - 1}"
            for one in self.layers
        )
        raise RunError(
            f"the run has no unit {name!r}; its units are {known}. The end of a name "
            f"is enough if it fits one layer."
        )


def _fits(place, name):
    return name == place or name.endswith(f".{place}")


def examine(task: Task, params: PyTree) -> Examined:
    """Runs a trained model on an example of its data, and keeps all gates and states.

    Raises:
        RunError: the task has no example to show.
        DataError: its data cannot be read.
    """
    advice = "name a run of another task"
    example = require(task, HasExample, "show an example", advice).example()
    try:
        read = readings(task.model(params), example.run)
    except ValueError as error:
        raise RunError(f"the layers of this run cannot be examined: {error}") from error
    found = []
    for reading in read:
        entries = reading.stack.by_layer(reading.xs.shape[-1], reading.params)
        rows = zip(reading.stack.cells, entries, reading.trace(), strict=True)
        for n, (cell, entry, trace) in enumerate(rows):
            found += _directions(f"{reading.name}.{n}", cell, entry, trace)
    return Examined(example, found)


def _directions(name, cell, params, trace):
    if isinstance(trace, Bidirectional):
        return [
            Layer(f"{name}.{way}", cell, p, _one_row(t))
            for way, p, t in zip(trace._fields, params, trace, strict=True)
        ]
    return [Layer(name, cell, params, _one_row(trace))]


def _one_row(trace):
    """The first sequence of a batch, without its batch axes."""
    row = lambda a: a.reshape(a.shape[0], -1, a.shape[-1])[:MOST_STEPS, 0]
    return jax.tree.map(lambda a: row(np.asarray(a)), trace)
