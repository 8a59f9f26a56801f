"""``torch.nn.LSTM``, ``GRU``, ``RNN`` and their cells. Works without torch too."""

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
            dict with arrays of any library. ``weight_norm`` and WeightDrop's
            ``weight_hh_l0_raw`` are folded into the weight.
        cell: the kind of cell of a state dict: ``lstm`` (the default), ``gru`` or
            ``rnn``.
        prefix: start of the names in the state dict, such as ``"encoder.lstm."``. Other
            names are ignored.

    Returns:
        One entry per layer, for `lstm_jax.lstm_stack`; a `lstm_jax.Bidirectional` if
        there are two directions. For a cell only its parameters: `lstm_jax.LSTMParams`,
        or `lstm_jax.LSTMPParams` with ``proj_size``.

    Raises:
        InteropError: tensors are missing or unknown, or have other shapes.
        UnsupportedError: the module is of another kind.

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
    """Arrays by name; ``weight_norm`` and similar pairs are combined
    into one weight.
    """
    arrays = tidy(of_arrays(flatten(source, prefix)))
    return {name: one.read() for name, one in arrays.items()}


def to_torch(params: Any, into: Any = None, *, prefix: str = "") -> Any:
    """A state dict of numpy arrays, or a module with replaced weights.

    ``bias_ih`` holds the whole bias, and ``bias_hh`` is zero. The outputs are the same,
    but an optimizer that trains both biases takes different steps.

    Args:
        params: one entry per layer, or the parameters of one cell.
        into: a module with the sizes of ``params``. It keeps its dtype and device.
            ``None`` for a dict.
        prefix: added to the start of all names.

    Raises:
        InteropError: ``into`` has other sizes.
        UnsupportedError: torch has no such cell, or ``into`` lacks the biases.

    >>> import jax
    >>> from lstm_jax import init_lstm_stack
    >>> from lstm_jax.interop import to_torch
    >>> params = init_lstm_stack(jax.random.key(0), in_size=3, hidden_size=5)
    >>> list(to_torch(params))[:2]
    ['weight_ih_l0', 'weight_hh_l0']
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
    """``lstm``, ``gru`` or ``rnn``, from the class of a module."""
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
