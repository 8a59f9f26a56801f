"""Keras 3: ``LSTM``, ``GRU``, ``SimpleRNN``, ``ConvLSTM1D`` to ``3D``, their cells,
``Bidirectional``, and lists of such."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_jax.core.layers.bidirectional import Bidirectional, Merge
from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.layout import Cell
from lstm_jax.interop.weights.cells import map_cells, read_cell, write_cell
from lstm_jax.interop.weights.keras_facts import MERGES, differences
from lstm_jax.interop.weights.layer import cell_kind, is_cell, layout_of
from lstm_jax.interop.weights.tensors import fit

NAMES = ("kernel", "recurrent_kernel", "bias")
KINDS: dict[str, Cell] = {
    "LSTMCell": "lstm",
    "GRUCell": "gru",
    "SimpleRNNCell": "rnn",
    "ConvLSTMCell": "conv_lstm",
}


def from_keras(
    source: Any, *, cell: Cell | None = None, merge: Merge = "concat"
) -> Any:
    """Parameters from Keras layers, cells or arrays.

    Args:
        source: a built layer (``LSTM``, ``GRU``, ``SimpleRNN``, ``ConvLSTM1D``, ``2D``
            or ``3D``, ``RNN`` around their cells, ``Bidirectional`` around any of
            these); a cell; the dict or list ``[kernel, recurrent_kernel, bias]`` of its
            weights; a list of these, one per layer; or a ``Sequential`` of only such
            layers.
        cell: the kind of cell of arrays: ``lstm`` (the default), ``gru`` (with
            ``reset_after=True``), ``gru_reset_before``, ``rnn`` or ``conv_lstm``.
        merge: how ``Bidirectional`` joins outputs, as in `lstm_jax.Stack`. The weights
            do not say this. If it is not ``concat``, name it here and in
            `lstm_jax.Stack`.

    Returns:
        The parameters of one layer (a `lstm_jax.Bidirectional` if it has two
        directions), or for a list or a model a tuple of these, for
        `lstm_jax.interop.stack_of`.

    Raises:
        InteropError: the layer is not built, or arrays have other shapes.
        UnsupportedError: the activations are not sigmoid and tanh, ``go_backwards`` is
            set, a convolution has strides, dilation or no padding, or a layer is of
            another kind. The message names what is wrong.

    >>> import numpy as np
    >>> from lstm_jax.interop import from_keras, to_keras
    >>> weights = [np.ones((3, 20)), np.ones((5, 20)), np.ones(20)]
    >>> params = from_keras(weights)
    >>> params.w_h.shape, list(to_keras(params))
    ((5, 20), ['kernel', 'recurrent_kernel', 'bias'])
    """
    layers = getattr(source, "layers", None)
    if layers is not None:
        return tuple(from_keras(layer, cell=cell, merge=merge) for layer in layers)
    if _is_weights(source):
        source = dict(zip(NAMES, source, strict=False))
    if isinstance(source, Bidirectional | list | tuple):
        if all(hasattr(a, "__array__") for a in source):
            raise InteropError(
                f"source is {len(source)} arrays, expected [kernel, recurrent_kernel, "
                f"bias] of one layer; of the weights of a Bidirectional layer pass "
                f"lstm_jax.Bidirectional(weights[:n], weights[n:])."
            )
        read = (from_keras(one, cell=cell, merge=merge) for one in source)
        return Bidirectional(*read) if isinstance(source, Bidirectional) else (*read,)
    if isinstance(source, Mapping):
        return read_cell(layout_of("keras", cell or "lstm"), source)
    cells = _cells(source, merge)
    if isinstance(cells, Bidirectional | tuple):
        return map_cells(lambda one: from_keras(one, cell=cell), cells)
    kind = _kind(cells)
    if cell not in (None, kind):
        raise InteropError(f"cell is {cell!r}, but {_name(source)} is {kind}.")
    import keras

    # A variable's own conversion to numpy warns since numpy 2.
    read = lambda variable: keras.ops.convert_to_numpy(variable.value)
    arrays = {name: read(variable) for name, variable in _variables(cells).items()}
    return read_cell(layout_of("keras", kind), arrays)


def to_keras(params: Any, into: Any = None) -> Any:
    """Dicts of numpy arrays with the structure of ``params``, or a layer with new
    weights.

    Args:
        params: of one layer, or one entry per layer.
        into: a built layer, cell, list of layers or ``Sequential`` of the same sizes.

    Raises:
        InteropError: ``into`` has other sizes, or is not built.
        UnsupportedError: Keras has no such cell, or ``into`` has no bias for a bias
            that is not zero.

    >>> import jax
    >>> from lstm_jax import init_lstm
    >>> from lstm_jax.interop import to_keras
    >>> params = init_lstm(jax.random.key(0), in_size=3, hidden_size=5)
    >>> [(name, a.shape) for name, a in to_keras(params).items()]
    [('kernel', (3, 20)), ('recurrent_kernel', (5, 20)), ('bias', (20,))]
    """
    if into is None:
        return map_cells(lambda one: write_cell("keras", one), params)
    for cell, tensors in _pairs(params, into):
        variables = _variables(cell)
        shapes = {name: tuple(v.shape) for name, v in variables.items()}
        for name, array in fit(tensors, shapes, f"into ({_name(cell)})").items():
            variables[name].assign(np.asarray(array))
    return into


def _pairs(params, into):
    """Pairs every cell of ``into`` with its tensors. All pairs are made before any is
    used.
    """
    layers = getattr(into, "layers", into)
    if isinstance(params, Bidirectional):
        cells = _cells(into, None)
        if not isinstance(cells, Bidirectional):
            raise InteropError(f"into is {_name(into)}, expected two directions.")
        return [
            pair for p, c in zip(params, cells, strict=True) for pair in _pairs(p, c)
        ]
    if is_cell(params):
        cell = _cells(into, None)
        if isinstance(cell, Bidirectional | tuple) or _kind(cell) != cell_kind(params):
            raise InteropError(f"into is {_name(into)}, but params {type(params)}.")
        return [(cell, write_cell("keras", params))]
    if not isinstance(layers, list | tuple) or len(layers) != len(params):
        raise InteropError(f"into is {_name(into)}, expected {len(params)} layers.")
    pairs = zip(params, layers, strict=True)
    return [pair for p, layer in pairs for pair in _pairs(p, layer)]


def _is_weights(source):
    """``layer.get_weights()``: arrays in Keras's order.

    Any other list counts as a list of layers.
    """
    if not isinstance(source, list | tuple) or isinstance(source, Bidirectional):
        return False
    return 2 <= len(source) <= 3 and all(hasattr(a, "__array__") for a in source)


def _cells(layer, merge):
    """The cell of a layer, both cells of a ``Bidirectional``, or all cells of stacked
    ones.
    """
    if hasattr(layer, "forward_layer"):
        mode = MERGES.get(layer.merge_mode, layer.merge_mode)
        if merge not in (None, mode):
            raise UnsupportedError(
                f"{_name(layer)} joins its outputs by {mode!r}, not {merge!r}; pass "
                f"merge={mode!r}, and to stack_of too."
            )
        back = layer.backward_layer
        back = getattr(back, "cell", back)
        return Bidirectional(_cells(layer.forward_layer, merge), _cells_of(back))
    if getattr(layer, "go_backwards", False):
        raise UnsupportedError(
            f"{_name(layer)} has go_backwards=True, which is not in the weights; "
            f"call ours with reverse=True and turn the outputs around."
        )
    return _cells_of(getattr(layer, "cell", layer))


def _cells_of(cell):
    return tuple(cell.cells) if hasattr(cell, "cells") else cell


def _kind(cell):
    """The kind of this cell; raises an error if it differs from ours."""
    name = type(cell).__name__
    if not type(cell).__module__.startswith("keras") or name not in KINDS:
        raise UnsupportedError(
            f"{_name(cell)} is not converted; pass LSTM, GRU, SimpleRNN, ConvLSTM or "
            f"Bidirectional layers, such as model.layers[1]."
        )
    if found := differences(name, lambda field: getattr(cell, field)):
        raise UnsupportedError(
            f"{_name(cell)} has {'; '.join(found)}; its weights alone would compute "
            f"something else."
        )
    kind = KINDS[name]
    return kind if kind != "gru" or cell.reset_after else "gru_reset_before"


def _variables(cell):
    found = {name: getattr(cell, name, None) for name in NAMES}
    if found["kernel"] is None:
        raise InteropError(f"{_name(cell)} is not built; call it once, or its build().")
    return {name: variable for name, variable in found.items() if variable is not None}


def _name(layer):
    kind, name = type(layer).__name__, getattr(layer, "name", None)
    return f"{kind} {name!r}" if name else kind
