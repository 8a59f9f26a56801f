"""One layer of ``stack.json``: its cell and sizes, and its activations and clips.

    {"cell": "lstm", "directions": 1, "in_size": 3, "hidden_size": 5,
     "activations": {"gate": {"name": "hard_sigmoid", "alpha": 0.25}, "clip": 3.0}}

Only activations that differ from the textbook are listed, with the field names of
`lstm_jax.Activations`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.primitives.activations import TEXTBOOK, Activation, Activations
from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.weights.layer import cell_kind

FUNCTIONS, CLIPS = ("gate", "candidate", "output"), ("clip", "cell_clip")


def describe(ways: Sequence[Any], cell: Any) -> dict[str, Any]:
    """Describes a layer, from the parameters of its directions and its cell."""
    first, size = ways[0], {}
    if hasattr(first, "w_hr"):
        size = {
            "hidden_size": first.w_hr.shape[0],
            "projection_size": first.w_hr.shape[1],
        }
    if cell.feature_axes > 1:
        size = {"kernel": [*cell.kernel]}
    sizes = {"in_size": first.w_x.shape[-2], "hidden_size": first.w_h.shape[-2]} | size
    functions = _functions(getattr(cell, "activations", TEXTBOOK))
    facts = {"cell": cell_kind(first), "directions": len(ways)} | sizes
    return facts | ({"activations": functions} if functions else {})


def _functions(activations: Activations) -> dict[str, Any]:
    """The activations that differ from the textbook, with the field names of
    `Activations`.
    """
    differ = lambda name: getattr(activations, name) != getattr(TEXTBOOK, name)
    clips = {n: float(getattr(activations, n)) for n in CLIPS if differ(n)}
    found: dict[str, Any] = {**clips}
    for name in filter(differ, FUNCTIONS):
        function = getattr(activations, name)
        if isinstance(function, Activation):
            numbers = {"alpha": function.alpha, "beta": function.beta}
            numbers = {k: float(v) for k, v in numbers.items() if v is not None}
            found[name] = {"name": function.name} | numbers
        elif isinstance(function, str):
            found[name] = function
        else:
            raise UnsupportedError(
                f"{name} is {function!r}, a function without a name, which a folder "
                f"cannot hold; those of lstm_jax.core.primitives.activations have one."
            )
    return found


def _activations(said: Mapping[str, Any]) -> Activations:
    """The inverse of `_functions`."""
    numbers = [said[n] for n in CLIPS if n in said]
    for given in said.values():
        numbers += [v for k, v in given.items() if k != "name"] if _own(given) else []
    if not all(isinstance(number, int | float) for number in numbers):
        raise TypeError("a clip, alpha or beta is not a number, expected one.")
    read: dict[str, Any] = {
        name: Activation(**given) if _own(given) else given
        for name, given in said.items()
    }
    return Activations(**read)


def _own(given):
    """Whether a function has its own numbers."""
    return isinstance(given, dict)


def with_activations(cell: Any, layer: Mapping[str, Any]) -> Cell:
    """The cell with the activations and clips of its description."""
    if "activations" not in layer:
        return cell
    try:
        return dataclasses.replace(cell, activations=_activations(layer["activations"]))
    except (TypeError, ValueError, AttributeError) as error:
        raise InteropError(
            f"stack.json has activations {layer['activations']!r} for {cell}: {error}"
        ) from error


def without_activations(cell: Any) -> Cell:
    """The textbook cell."""
    if not hasattr(cell, "activations"):
        return cell
    return dataclasses.replace(cell, activations=TEXTBOOK)
