"""Nested arrays of any framework, as a flat dict of numpy arrays."""

from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from lstm_jax.interop.errors import InteropError, UnsupportedError, first_line
from lstm_jax.interop.weights.entries import unusual

DEEPEST = 16
"""The most levels of a nested dict. Dicts of frameworks have three or four."""


def numpy_array(value: Any, name: str = "value") -> np.ndarray:
    """Converts an array, tensor or variable of any framework to numpy.

    Raises:
        InteropError: the value does not hold numbers.
    """
    if hasattr(value, "detach"):
        value = _from_torch(value, name)
    elif hasattr(value, "get_value"):  # a variable of NNX
        value = value.get_value()
    if not hasattr(value, "__array__") and not isinstance(value, list | tuple | float):
        raise InteropError(f"{name} is {type(value).__name__}, expected an array.")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InteropError(f"{name} is not an array: {first_line(error)}") from error
    if array.dtype == object:
        raise InteropError(f"{name} holds Python objects, expected numbers.")
    if refusal := unusual(name, array.dtype.name):
        raise UnsupportedError(refusal)
    return array


def _from_torch(tensor, name):
    if getattr(tensor, "is_meta", False):
        raise InteropError(
            f"{name} is on torch's meta device, which keeps no numbers; load the "
            f"weights first, such as with module.to_empty(device='cpu') and "
            f"load_state_dict."
        )
    if tensor.is_quantized or "strided" not in str(tensor.layout):
        raise UnsupportedError(
            f"{name} is quantised or sparse, expected a dense tensor; "
            f"call .dequantize() or .to_dense()."
        )
    dtype = str(tensor.dtype).removeprefix("torch.")
    if refusal := unusual(name, dtype):
        raise UnsupportedError(refusal)
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if dtype != "bfloat16":
        return tensor.numpy()
    import torch

    return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)


def flatten(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays of nested dicts, by names joined with dots.

    A slash in a name, as in Haiku and TensorFlow, becomes a dot. ``None`` is left out.
    With a ``prefix``, only names that start with it are used, and it is removed.

    Raises:
        InteropError: ``tree`` is not a dict, a value is not an array, or two arrays get
            the same name.

    >>> import numpy as np
    >>> flatten({"lstm/linear": {"w": np.ones(2)}}, prefix="lstm.")
    {'linear.w': array([1., 1.])}
    """
    if not isinstance(tree, Mapping):
        raise InteropError(
            f"{type(tree).__name__} is given, expected a dict of arrays."
        )
    flat: dict[str, np.ndarray] = {}
    for name, value in leaves(tree):
        if name.startswith(prefix):
            name = name[len(prefix) :]
            if name in flat:
                raise InteropError(f"{prefix}{name} appears twice, with / and with .")
            flat[name] = numpy_array(value, prefix + name)
    return flat


def leaves(
    tree: Mapping[Any, Any], path: str = "", levels: int = DEEPEST
) -> Iterator[tuple[str, Any]]:
    """Names and values of nested dicts, without ``None``."""
    if levels == 0:
        raise InteropError(f"{path[:60]}... is nested deeper than {DEEPEST} levels.")
    for key, value in tree.items():
        name = f"{path}{key}".replace("/", ".")
        if isinstance(value, Mapping):
            yield from leaves(value, name + ".", levels - 1)
        elif value is not None:
            yield name, value


def nest(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of `flatten`: every dot starts a nested dict."""
    tree: dict[str, Any] = {}
    for name, array in tensors.items():
        *path, last = name.split(".")
        at = tree
        for step in path:
            at = at.setdefault(step, {})
        at[last] = array
    return tree


def fit(
    tensors: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    target: str,
) -> dict[str, np.ndarray]:
    """The tensors for a module of these ``shapes``. Everything is checked first.

    Raises:
        UnsupportedError: the module lacks a bias, and the bias is not zero.
        InteropError: the module lacks another tensor, has more, or has other shapes.
    """
    problems, kept = [], {}
    for name, array in tensors.items():
        if name in shapes:
            kept[name] = array
            if tuple(shapes[name]) != array.shape:
                problems.append(
                    f"{name} has shape {tuple(shapes[name])}, expected {array.shape}"
                )
        elif "bias" not in name:
            problems.append(f"{name} is missing")
        elif np.any(array):
            raise UnsupportedError(
                f"{target} has no {name}, but this bias is not 0; make it with a bias."
            )
    problems += [f"{name} is not expected" for name in shapes if name not in tensors]
    if problems:
        raise InteropError(f"{target} does not fit the weights: {'; '.join(problems)}.")
    return kept
