"""``torch.nn.LSTM``, ``GRU``, ``RNN`` and their cells; also without torch."""

from collections.abc import Mapping
from typing import Any

from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.layout import Cell
from lstm_jax.interop.weights.cells import read_cell, write_cell
from lstm_jax.interop.weights.entries import of_arrays
from lstm_jax.interop.weights.fold import tidy
from lstm_jax.interop.weights.layer import cell_kind, is_cell, layout_of
from lstm_jax.interop.weights.stack import (
    check_layers,
    read_stack,
    to_jax,
    ways_of,
    write_stack,
)
from lstm_jax.interop.weights.tensors import fit, flatten

MODULES: dict[str, Cell] = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}


def from_torch(source: Any, *, cell: Cell | None = None, prefix: str = "") -> Any:
    """Parameters from torch: ``b = b_ih + b_hh``, kernels transposed.

    Args:
        source: a ``torch.nn.LSTM``, ``GRU``, ``RNN`` or one of their cells, or a state
            dict, of arrays of any library. ``weight_norm`` and what WeightDrop calls
            ``weight_hh_l0_raw`` are folded into the weight.
        cell: what a state dict is of: ``lstm`` (the default), ``gru`` or ``rnn``.
        prefix: of the names in the state dict, such as ``"encoder.lstm."``; the others
            are left alone.

    Returns:
        One entry a layer, each a `lstm_jax.Bidirectional` where there are two
        directions: what `lstm_jax.lstm_stack` takes. Of a cell its parameters alone,
        `lstm_jax.LSTMParams`; with ``proj_size`` `lstm_jax.LSTMPParams`.

    Raises:
        InteropError: tensors that are missing or unknown, or in other shapes.
        UnsupportedError: a module of another kind.

    >>> import numpy as np
    >>> from lstm_jax.interop import from_torch, to_torch
    >>> state = {"weight_ih_l0": np.ones((20, 3)), "weight_hh_l0": np.ones((20, 5)),
    ...          "bias_ih_l0": np.ones(20), "bias_hh_l0": np.ones(20)}
    >>> state = {"lstm." + name: array for name, array in state.items()}
    >>> params = from_torch(state, prefix="lstm.")
    >>> len(params), params[0].w_x.shape, float(params[0].b[0])
    (1, (3, 20), 2.0)
    >>> sorted(to_torch(params, prefix="lstm.")) == sorted(state)
    True
    """
    if not isinstance(source, Mapping):
        kind = _kind_of(source)
        if cell not in (None, kind):
            raise InteropError(f"cell is {cell!r}, but the module is {kind}.")
        source, cell = source.state_dict(), kind
    layout, flat = layout_of("torch", cell or "lstm"), _flat(source, prefix)
    if not flat and prefix:
        raise InteropError(f"no name begins with prefix {prefix!r}.")
    if "weight_ih" in flat:
        return read_cell(layout, flat)
    return to_jax(read_stack(layout, flat))


def _flat(source, prefix):
    """Arrays by their names, those of ``weight_norm`` and the like as one weight."""
    arrays = tidy(of_arrays(flatten(source, prefix)))
    return {name: one.read() for name, one in arrays.items()}


def to_torch(params: Any, into: Any = None, *, prefix: str = "") -> Any:
    """A state dict of numpy arrays, or a module with its weights replaced.

    All of a bias goes to ``bias_ih``, ``bias_hh`` is zero: outputs are the same, steps
    of an optimizer that trains both are not.

    Args:
        params: one entry a layer, or the parameters of one cell.
        into: a module made with the sizes of ``params``; it keeps its dtype and device.
            ``None`` for the dict.
        prefix: put before all names.

    Raises:
        InteropError: ``into`` has other sizes.
        UnsupportedError: torch has no such cell, or ``into`` lacks the biases.
    """
    if is_cell(params):
        family, tensors = cell_kind(params), write_cell("torch", params)
    else:
        check_layers(params)
        kinds = {cell_kind(p) for layer in params for p in ways_of(layer)}
        if len(kinds) != 1:
            raise UnsupportedError(
                f"params are of {', '.join(sorted(kinds))} cells, expected one kind in "
                f"all layers."
            )
        (family,) = kinds
        tensors = write_stack(layout_of("torch", family), params)
    if into is None:
        return {prefix + name: array for name, array in tensors.items()}
    if _kind_of(into) != family:
        raise InteropError(f"into is {_kind_of(into)}, but params are {family}.")
    _load(into, tensors)
    return into


def _load(module, tensors):
    import torch

    own = dict(module.named_parameters())
    if any(parameter.is_meta for parameter in own.values()):
        raise InteropError(
            f"into ({type(module).__name__}) is on torch's meta device, which keeps no "
            f"numbers; call its to_empty(device='cpu') first."
        )
    shapes = {name: tuple(p.shape) for name, p in own.items()}
    kept = fit(tensors, shapes, f"into ({type(module).__name__})")
    with torch.no_grad():
        for name, array in kept.items():
            if array.dtype.name == "bfloat16":
                array = array.astype("float32")
            own[name].copy_(torch.tensor(array))


def _kind_of(module):
    """``lstm``, ``gru`` or ``rnn``, by the class of a module."""
    for base in type(module).__mro__:
        name = base.__name__.removesuffix("Cell")
        if base.__module__.startswith("torch.nn.modules.rnn") and name in MODULES:
            if getattr(module, "nonlinearity", "tanh") != "tanh":
                raise UnsupportedError(
                    f"{name} has nonlinearity {module.nonlinearity!r}; torch's weights "
                    f"are converted for tanh alone."
                )
            return MODULES[name]
    if ".quantized" in type(module).__module__:
        raise UnsupportedError(
            f"{type(module).__name__} is a quantised module, whose weights are rounded "
            f"to integers; convert the module that it was made from."
        )
    raise UnsupportedError(
        f"{type(module).__name__} is not converted; pass an nn.LSTM, nn.GRU, nn.RNN or "
        f"one of their cells, such as model.lstm, or a state dict and a prefix."
    )
