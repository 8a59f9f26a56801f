"""Gates, states and gradients of a trained run on an example of its data."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.core.cells.wrapper import state_fields
from lstm_jax.diagnostics import (
    find_units,
    state_gradients,
    text_signals,
)
from lstm_jax.report.elements import Chart, Colored, Line, Section, Table, Text
from lstm_jax.runs.examined import Examined, Layer

GRADIENT_STEPS = 200
SIGNALS_FROM = 100
"""A text of fewer characters is too short to find units in."""
SHOWN_UNITS = 4


def gate_section(examined: Examined) -> Section:
    """How open the gates are, how long the units remember, and how large states are."""
    items: list[Any] = [
        Text(
            f"The trained model reads {examined.example.title}. A gate counts as "
            f"closed below 0.1 and as open above 0.9 (beyond -0.9 and 0.9 for a "
            f"candidate). A unit that remembers for n steps has 1/e of its state left "
            f"after n steps."
        ),
        Table(
            "Gates of the layers that read it, over all units and steps",
            ["layer", "gate", "mean", "closed", "open"],
            [row for layer in examined.layers for row in _gate_rows(layer)],
        ),
    ]
    memories = [row for layer in examined.layers for row in _memory_rows(layer)]
    if memories:
        columns = ["layer", "shortest", "median", "longest"]
        items.append(Table("How many steps the units remember", columns, memories))
    for layer in examined.layers:
        items += _charts_of(layer)
    return Section("Gates and states", items)


def _gate_rows(layer: Layer) -> Iterator[tuple]:
    for name, gate in layer.gate_numbers().items():
        rates = f"{gate.closed:.1%}", f"{gate.open:.1%}"
        yield layer.name, name, round(gate.mean, 4), *rates


def _memory_rows(layer: Layer) -> Iterator[tuple]:
    steps = layer.memory()
    if steps is not None:
        each = steps.min(), np.median(steps), steps.max()
        yield layer.name, *(float(f"{a:.3g}") for a in each)


def _charts_of(layer: Layer) -> Iterator[Chart]:
    steps = np.arange(len(layer.trace.hs))
    if len(steps) < 2:
        return
    means = [
        Line(name, steps, np.mean(gate, axis=-1, dtype=float))
        for name, gate in layer.trace.gates.items()
    ]
    title = f"Gates of {layer.name}, mean over units"
    if means:
        yield Chart(title, "step of the example", "mean of the gate", means)
    states = [
        Line(name, steps, np.sqrt(np.mean(np.square(state, dtype=float), axis=-1)))
        for name, state in _states(layer)
    ]
    title = f"Size of the states of {layer.name}, root mean square over units"
    if states:
        yield Chart(title, "step of the example", "root mean square", states)


def _states(layer):
    """The floating-point states ``[T, H]`` of a layer, by name."""
    carry = layer.trace.carry
    for name in state_fields(layer.cell):
        state = getattr(carry, name)
        if jnp.issubdtype(state.dtype, jnp.floating) and state.ndim == 2:
            yield name, state


def gradient_section(examined: Examined) -> Section:
    """How much the last output depends on earlier states, layer by layer."""
    charts = [chart for layer in examined.layers for chart in _gradients_of(layer)]
    if not charts:
        return Section("Gradient through time", [])
    said = (
        "The derivative of the squared norm of the last output of a layer by its "
        "earlier states, relative to the largest. Where a curve falls to nothing, the "
        "layer has forgotten what came before."
    )
    return Section("Gradient through time", [Text(said), *charts])


def _gradients_of(layer: Layer) -> Iterator[Chart]:
    wide = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), tree)
    read = layer.trace.xs, layer.trace.before
    if layer.name.endswith(".backward"):  # in the order in which the layer reads
        read = jax.tree.map(lambda a: a[::-1], read)
    xs, before = wide(jax.tree.map(lambda a: a[-GRADIENT_STEPS:], read))
    fields = dict(_states(layer))
    if len(xs) < 2 or "h" not in fields or len(fields) < len(state_fields(layer.cell)):
        return
    start = jax.tree.map(lambda a: a[0], before)
    run = jax.jit(
        lambda params, carry, xs: state_gradients(
            layer.cell, params, xs, lambda hs: jnp.sum(hs[-1] ** 2), carry=carry
        )
    )
    norms = run(wide(layer.params), start, xs)._asdict()
    found = {name: np.asarray(a) for name, a in norms.items()}
    top = max(a.max() for a in found.values()) or 1.0
    steps = np.arange(-len(xs) + 1, 1)
    lines = [Line(f"by {name}", steps, a / top) for name, a in found.items()]
    title = f"Gradient through time of {layer.name}"
    yield Chart(
        title, "steps before the last one", "relative gradient", lines, log=True
    )


def text_section(examined: Examined) -> Section:
    """The text of the example, colored by units that follow something in it."""
    example = examined.example
    if not example.is_text:
        return Section("Units on text", [])
    layers = [one for one in examined.layers if len(one.trace.hs) == len(example.steps)]
    units = {
        f"{layer.name}.{unit} ({why})": _state(layer)[:, unit]
        for layer in layers
        for unit, why in _units(layer, [*example.steps])
    }
    if not units:
        return Section("Units on text", [])
    said = (
        "The color of a piece is the state of one unit after the model has read it: "
        "tanh(c) of an LSTM, h of other cells. Units are listed that follow something "
        "in this text, with a score from -1 to 1 (0 is no relation), and then those "
        "that change most. The best of many units follows even noise a little, so "
        "check a unit on other text."
    )
    pieces = [piece + example.between for piece in example.steps]
    return Section(
        "Units on text", [Text(said), Colored("Unit", pieces, [*units.items()])]
    )


def _state(layer):
    carry = layer.trace.carry
    state = np.asarray(carry.c if hasattr(carry, "c") else layer.trace.hs, float)
    return np.tanh(state) if hasattr(carry, "c") else state


def _units(layer, pieces) -> Iterator[tuple[int, str]]:
    state, seen = _state(layer), set()
    if all(len(piece) == 1 for piece in pieces) and len(pieces) >= SIGNALS_FROM:
        for name, signal in text_signals("".join(pieces)).items():
            (best,) = find_units(state, signal, count=1)
            if best.unit not in seen:
                seen.add(best.unit)
                yield best.unit, f"{name} {best.score:+.2f}"
    order = np.argsort(-state.std(axis=0), kind="stable").tolist()
    for unit in [unit for unit in order if unit not in seen][:SHOWN_UNITS]:
        yield unit, "changes most"
