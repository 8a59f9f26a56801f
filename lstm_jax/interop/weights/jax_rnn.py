"""The flat vector of ``jax.experimental.rnn``, in cuDNN's order.

for every layer and way: weight_ih [4H, D], weight_hh [4H, H]
then for every layer and way: bias_ih [4H], bias_hh [4H]
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lstm_jax._types import Array, Float
from lstm_jax.core.arguments import check_size
from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.weights.layer import layout_of
from lstm_jax.interop.weights.stack import read_stack, to_jax, write_stack
from lstm_jax.interop.weights.tensors import numpy_array


def from_jax_rnn(
    weights: Float[Array, "N"],
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bidirectional: bool = False,
) -> tuple[Any, ...]:
    """One entry per layer, from the vector of ``jax.experimental.rnn.lstm``.

    Args:
        weights: the vector. Pass the sizes that it was made with.

    Raises:
        InteropError: the vector has another length than these sizes need.
        ValueError: a size is less than 1.

    >>> import jax
    >>> from jax.experimental import rnn
    >>> from lstm_jax.interop import from_jax_rnn, to_jax_rnn
    >>> weights = rnn.init_lstm_weight(jax.random.key(0), 3, 5, 2, bidirectional=True)
    >>> params = from_jax_rnn(weights, 3, 5, num_layers=2, bidirectional=True)
    >>> params[1].forward.w_x.shape, to_jax_rnn(params).shape == weights.shape
    ((10, 20), True)
    """
    sizes = dict(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
    for name, size in sizes.items():
        check_size(name, size)
    vector = numpy_array(weights, "weights")
    shapes = _shapes(input_size, hidden_size, num_layers, bidirectional)
    ends = np.cumsum([rows * max(columns, 1) for _, (rows, columns) in shapes])
    if vector.shape != (ends[-1],):
        raise InteropError(
            f"weights has shape {vector.shape}, expected ({ends[-1]},) for "
            f"{', '.join(f'{k}={v}' for k, v in sizes.items())}, "
            f"bidirectional={bidirectional}."
        )
    pieces = zip(shapes, np.split(vector, ends[:-1]), strict=True)
    tensors = {
        name: piece.reshape(shape) if shape[1] else piece
        for (name, shape), piece in pieces
    }
    return to_jax(read_stack(layout_of("jax_rnn", "lstm"), tensors))


def to_jax_rnn(params: Sequence[Any]) -> np.ndarray:
    """The vector, from one entry per layer. ``bias_ih`` holds the whole bias.

    Raises:
        UnsupportedError: a cell is not the plain LSTM.

    >>> import jax
    >>> from lstm_jax import init_lstm_stack
    >>> from lstm_jax.interop import to_jax_rnn
    >>> params = init_lstm_stack(jax.random.key(0), in_size=3, hidden_size=5)
    >>> to_jax_rnn(params).shape
    (200,)
    """
    tensors = write_stack(layout_of("jax_rnn", "lstm"), params)
    kernels = [a for name, a in tensors.items() if name.startswith("weight")]
    biases = [a for name, a in tensors.items() if name.startswith("bias")]
    return np.concatenate([a.reshape(-1) for a in kernels + biases])


def _shapes(D, H, layers, two_ways):
    """Name and shape of every tensor, in order. A bias has 0 columns."""
    ways = ["", "_reverse"] if two_ways else [""]
    places = [(layer, way) for layer in range(layers) for way in ways]
    of = lambda name, columns: [
        (f"{name}_l{layer}{way}", (4 * H, columns(layer))) for layer, way in places
    ]
    reads = lambda layer: D if layer == 0 else H * len(ways)
    two = lambda one, other: [t for p in zip(one, other, strict=True) for t in p]
    return two(of("weight_ih", reads), of("weight_hh", lambda _: H)) + two(
        of("bias_ih", lambda _: 0), of("bias_hh", lambda _: 0)
    )
