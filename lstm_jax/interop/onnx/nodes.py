"""Our cells and ONNX's recurrent operators: one table for both directions.

    LSTM    LSTMCell, PeepholeLSTMCell (input ``P``), CIFGLSTMCell (``input_forget=1``)
    GRU     GRUCell (``linear_before_reset=1``), ResetBeforeGRUCell
    RNN     RNNCell

Where the text of ONNX is unclear, the behaviour of onnxruntime counts. ``clip`` limits
only pre-activations (`lstm_jax.Activations`). The lists ``activation_alpha`` and
``activation_beta`` have one entry for each function that takes such a number, in order.
https://onnx.ai/onnx/operators/onnx__LSTM.html
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.cifg import CIFGLSTMCell
from lstm_jax.core.cells.gru import GRUCell, ResetBeforeGRUCell
from lstm_jax.core.cells.lstm import LSTMCell
from lstm_jax.core.cells.peephole import PeepholeLSTMCell
from lstm_jax.core.cells.recurrent_dropout import CandidateDropout, RecurrentDropout
from lstm_jax.core.cells.rnn import RNNCell
from lstm_jax.core.cells.zoneout import Zoneout
from lstm_jax.core.primitives.activations import FUNCTIONS, Activation, Activations
from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.layout import Cell as CellName


class Kind(NamedTuple):
    """A cell as an ONNX operator.

    ``layout`` is the name of the cell in `from_onnx_arrays`. ``functions`` are the
    fields of `Activations` that the operator lists for each direction, in order.
    """

    operator: str
    cell: Any
    layout: CellName
    attributes: dict[str, int]
    functions: tuple[str, ...]
    peepholes: bool = False


_LSTM, _GRU = ("gate", "candidate", "output"), ("gate", "candidate")
KINDS = (
    Kind("LSTM", LSTMCell, "lstm", {}, _LSTM),
    Kind("LSTM", PeepholeLSTMCell, "lstm", {}, _LSTM, peepholes=True),
    Kind("LSTM", CIFGLSTMCell, "cifg", {"input_forget": 1}, _LSTM),
    Kind("GRU", GRUCell, "gru", {"linear_before_reset": 1}, _GRU),
    Kind("GRU", ResetBeforeGRUCell, "gru_reset_before", {}, _GRU),
    Kind("RNN", RNNCell, "rnn", {}, ("candidate",)),
)
OPERATORS = frozenset(kind.operator for kind in KINDS)

FLAGS = ("input_forget", "linear_before_reset")
"""Attributes that distinguish the kinds of an operator."""

CAMEL = {name: name.title().replace("_", "") for name in FUNCTIONS}
"""ONNX's names of our functions."""

_SNAKE = {camel.lower(): name for name, camel in CAMEL.items()}
_DIRECTIONS = {1: "forward", 2: "bidirectional"}


def node_of(cell: Cell, directions: int) -> tuple[Kind, Cell, dict[str, Any]]:
    """The operator for a cell, the cell without its dropout, and all attributes.

    Raises:
        UnsupportedError: ONNX has no operator for the cell, or no attribute for one of
            its activations.
    """
    bare: Any = _in_evaluation(cell)
    kind = next((kind for kind in KINDS if type(bare) is kind.cell), None)
    if kind is None:
        raise UnsupportedError(
            f"{type(bare).__name__} has no operator in ONNX, expected one of "
            f"{', '.join(k.cell.__name__ for k in KINDS)}; export it as stablehlo."
        )
    attributes = {
        "hidden_size": int(bare.hidden_size),
        "direction": _DIRECTIONS[directions],
        **kind.attributes,
        **_activation_attributes(kind, bare.activations, directions),
    }
    return kind, bare, attributes


def _in_evaluation(cell):
    """The cell in evaluation. Dropout then does nothing, but zoneout mixes old and new
    states.
    """
    while isinstance(cell, RecurrentDropout | CandidateDropout | Zoneout):
        if isinstance(cell, Zoneout) and (cell.h or cell.c):
            raise UnsupportedError(
                f"Zoneout(h={cell.h}, c={cell.c}) has no operator in ONNX, since in "
                f"evaluation it mixes states; export it as stablehlo."
            )
        cell = cell.cell
    return cell


def _activation_attributes(kind, activations, directions):
    if activations.cell_clip is not None:
        raise UnsupportedError(
            f"cell_clip is {activations.cell_clip}, which ONNX does not know, expected "
            f"None; export it as stablehlo."
        )
    attributes: dict[str, Any] = {}
    if activations.clip is not None:
        attributes["clip"] = float(activations.clip)
    given = {field: getattr(activations, field) for field in kind.functions}
    if all(given[field] == getattr(Activations(), field) for field in given):
        return attributes
    numbers = {field: _numbers(field, f) for field, f in given.items()}
    if kind.cell is CIFGLSTMCell:
        _check_coupling(*numbers["gate"])
    listed = [*numbers.values()] * directions
    attributes["activations"] = [CAMEL[name] for name, _ in listed]
    for key in ("alpha", "beta"):
        if values := [given[key] for _, given in listed if key in given]:
            attributes[f"activation_{key}"] = values
    return attributes


def _numbers(field, activation):
    """The name of a function and all of its numbers, including defaults."""
    if isinstance(activation, Activation):
        given = {"alpha": activation.alpha, "beta": activation.beta}
        name = activation.name
    else:
        given, name = {}, activation
    if not isinstance(name, str):
        raise UnsupportedError(
            f"{field} is {activation!r}, a function that ONNX does not know, expected "
            f"one of {', '.join(FUNCTIONS)}; export it as stablehlo."
        )
    numbers = _defaults(name) | {k: v for k, v in given.items() if v is not None}
    return name, {key: float(number) for key, number in numbers.items()}


def _defaults(name):
    takes = inspect.signature(FUNCTIONS[name]).parameters
    return {k: takes[k].default for k in ("alpha", "beta") if k in takes}


def _check_coupling(gate, numbers):
    """If ``1 - gate(z)`` is not ``gate(-z)``, the two couplings are different cells."""
    around_half = gate in ("hard_sigmoid", "affine") and numbers["beta"] == 0.5
    if not (gate == "sigmoid" or around_half):
        raise UnsupportedError(
            f"gate is {gate!r} in CIFGLSTMCell, whose forget gate ONNX computes as "
            f"1 - gate(-z), expected sigmoid, or hard_sigmoid or affine with beta=0.5."
        )


# And back


def cell_of(
    operator: str,
    attributes: Mapping[str, Any],
    hidden_size: int,
    directions: int,
    peepholes: bool,
) -> tuple[Kind, Cell]:
    """The cell for a node with these attributes.

    Raises:
        InteropError: an activation is unknown, or numbers are missing.
        UnsupportedError: there is no such cell here.
    """
    flags = {name: 1 for name in FLAGS if attributes.get(name)}
    for kind in KINDS:
        facts = (kind.operator, kind.attributes, kind.peepholes)
        if facts == (operator, flags, peepholes):
            break
    else:
        raise UnsupportedError(
            f"an {operator} with {' and '.join([*flags, *['P'] * peepholes])} is "
            f"not a cell of this package."
        )
    ways = _read_functions(kind, attributes, directions)
    if len({*ways}) > 1:
        raise UnsupportedError(
            "activations differ between the two directions, expected the same."
        )
    clip = attributes.get("clip")
    if clip is not None and not clip > 0:
        raise InteropError(f"clip is {clip}, expected a positive number.")
    functions = dict(zip(kind.functions, ways[0], strict=True))
    activations = Activations(**functions, clip=clip)
    if kind.cell is CIFGLSTMCell:
        _check_coupling(*_numbers("gate", activations.gate))
    return kind, kind.cell(hidden_size, activations)


def _read_functions(kind, attributes, directions) -> list[tuple[Any, ...]]:
    """The functions of every direction, each a name or an `Activation`."""
    count = len(kind.functions)
    names = attributes.get("activations")
    if names is None:
        textbook = tuple(getattr(Activations(), field) for field in kind.functions)
        return [textbook] * directions
    if len(names) != count * directions:
        raise InteropError(
            f"activations has {len(names)} names, expected {count * directions}: "
            f"{count} for each of {directions} directions."
        )
    alphas, betas = (
        iter(attributes.get(f"activation_{key}", ())) for key in ("alpha", "beta")
    )
    functions = [_function(name, alphas, betas) for name in names]
    if [*alphas, *betas]:
        raise InteropError(
            f"activation_alpha and activation_beta have more numbers than the "
            f"activations {', '.join(names)} take."
        )
    return [tuple(functions[n : n + count]) for n in range(0, len(names), count)]


def _function(camel: str, alphas: Iterator[float], betas: Iterator[float]):
    name = _SNAKE.get(camel.lower())
    if name is None:
        raise InteropError(
            f"activations has {camel!r}, expected one of {', '.join(CAMEL.values())}."
        )
    takes = _defaults(name)
    numbers = {"alpha": alphas, "beta": betas}
    given = {key: next(numbers[key], None) for key in takes}
    if name == "scaled_tanh" and None in given.values():
        raise InteropError("ScaledTanh has no alpha or beta, expected both.")
    given = {key: float(n) for key, n in given.items() if n is not None}
    return Activation(name, **given) if given else name
