"""What the weights of a Keras layer do not tell, though its numbers depend on it."""

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
"""By the class of a layer, without the ending ``Cell``: what our cell computes."""

MERGES = {"concat": "concat", "sum": "sum", "mul": "mul", "ave": "mean", None: "none"}
"""What Keras calls the ways to join two directions."""


def differences(kind: str, get: Callable[[str], Any]) -> list[str]:
    """What of a layer is not as in our cell; ``get`` returns a fact by its name."""
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
