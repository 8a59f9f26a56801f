"""Options of a Keras layer that change its outputs but are not in its weights."""

from collections.abc import Callable
from typing import Any

TEXTBOOK = {"activation": "tanh", "recurrent_activation": "sigmoid"}
ONES = {"strides", "dilation_rate"}
CONVOLUTION = (
    TEXTBOOK
    | {"padding": "same", "data_format": "channels_last"}
    | dict.fromkeys(ONES, 1)
)

FACTS: dict[str, dict[str, Any]] = {
    "LSTM": TEXTBOOK,
    "GRU": TEXTBOOK,
    "SimpleRNN": {"activation": "tanh"},
    "ConvLSTM1D": CONVOLUTION,
    "ConvLSTM2D": CONVOLUTION,
    "ConvLSTM3D": CONVOLUTION,
    "ConvLSTM": CONVOLUTION,
    "CuDNNLSTM": {},
    "CuDNNGRU": {},
}
"""For each layer class, without the ending ``Cell``: the options that our cell has."""

MERGES = {"concat": "concat", "sum": "sum", "mul": "mul", "ave": "mean", None: "none"}
"""Keras's names for the ways to join two directions."""


def differences(kind: str, get: Callable[[str], Any]) -> list[str]:
    """The options in which a layer differs from our cell. ``get`` returns an option by
    name.
    """
    found = []
    for name, wanted in FACTS.get(kind.removesuffix("Cell"), {}).items():
        got = get(name)
        got = got.get("class_name") if isinstance(got, dict) else got
        got = got if isinstance(got, str) else getattr(got, "__name__", got)
        if name in ONES:
            same = all(
                n == 1 for n in (got if isinstance(got, list | tuple) else [got])
            )
        else:
            same = got == wanted
        if not same:
            found.append(f"{name}={got!r}, expected {wanted!r}")
    return found
