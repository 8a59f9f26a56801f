"""The ONNX operators that the reader evaluates before a graph runs.

Operators that move numbers are methods of the values (`tracked`). Operators that
compute use numpy on known numbers. For all other operators there is a table of shapes:
their numbers stay unknown, but a shape may be enough.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from lstm_jax.interop.onnx.sizes import Size, exact_quotient, fresh, product, same
from lstm_jax.interop.onnx.tensors import DTYPES
from lstm_jax.interop.onnx.tracked import Hidden, Known, Moved, Value, resolve

MALFORMED = (AttributeError, TypeError, ValueError, LookupError, ArithmeticError)
"""The errors of an operator with wrong inputs. A missing input is ``None``, which has
no shape."""

MOST, SIZES = 2**16, 64
"""The most numbers that are written out to join them with others, and the most sizes
that are computed together. Shapes have few."""


def numbers(value: Any) -> list[Any]:
    """Axes, sizes or starts from a value or an attribute: whole numbers and sizes."""
    if isinstance(value, Known):
        if value.ndim > 1 or value.array.dtype.kind not in "iuO":
            raise ValueError("not a list of whole numbers")
        value = np.broadcast_to(value.array, value.shape).ravel().tolist()
    if isinstance(value, Value):
        raise ValueError("a list that is computed")
    return [n if isinstance(n, Size) else int(n) for n in value]


# Operators that move numbers


def _squeeze(x, axes=None):
    return x.squeeze(None if axes is None else numbers(axes))


def _reshape(x, shape, allowzero=0):
    return x.reshape(resolve(x, numbers(shape), allowzero))


def _slice(x, starts, ends, axes=None, steps=None):
    starts, ends = numbers(starts), numbers(ends)
    axes = range(len(starts)) if axes is None else numbers(axes)
    steps = [1] * len(starts) if steps is None else numbers(steps)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        x = x.cut(axis, start, end, step)
    return x


def _concat(*xs, axis):
    axis = xs[0].axis(axis)
    if all(isinstance(x, Moved) for x in xs):
        joined = xs[0]
        for x in xs[1:]:
            joined = joined and joined.join(x, axis)
        if joined is not None:
            return joined
    shape = [*xs[0].shape]
    shape[axis] = sum((x.shape[axis] for x in xs[1:]), shape[axis])
    if not all(isinstance(x, Known) for x in xs):
        return Hidden(tuple(shape), "Concat")
    arrays = [_written_out(x, axis) for x in xs]
    others = [a.shape[:axis] + a.shape[axis + 1 :] for a in arrays]
    common = np.broadcast_shapes(*others)
    count = product(common) * sum(a.shape[axis] for a in arrays)
    if count > max(MOST, sum(a.size for a in arrays)):
        raise ValueError(f"{count} numbers")
    spread = [
        np.broadcast_to(a, (*common[:axis], a.shape[axis], *common[axis:]))
        for a in arrays
    ]
    return Known(_tidy(np.concatenate(spread, axis)), tuple(shape))


def _written_out(x, axis):
    size = x.shape[axis]
    if x.array.shape[axis] == size:
        return x.array
    if isinstance(size, Size) or size * x.array.size > MOST:
        raise ValueError(f"an axis of {size}")
    return np.repeat(x.array, size, axis)


def _gather(x, indices, axis=0):
    axis = x.axis(axis)
    if isinstance(indices, Known) and indices.whole and indices.array.dtype.kind == "i":
        if indices.array.size == 1:
            # A single index is a slice, which works even for unknown numbers.
            at = int(indices.array.ravel()[0])
            if not isinstance(x.shape[axis], Size) and at < 0:
                at += x.shape[axis]
            end = at + 1 if at != -1 else 2**63 - 1
            return _at(x.cut(axis, at, end), axis, indices.ndim)
        if isinstance(x, Known) and x.array.shape[axis] == x.shape[axis]:
            taken = np.take(x.array, indices.array, axis=axis)
            shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
            return Known(_tidy(taken), shape)
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    return Hidden(shape, "Gather")


def _at(one, axis, ndim):
    """One index of an axis, as an index array of ``ndim`` axes of size 1."""
    if one.shape[axis] != 1:
        raise IndexError("a place that is not there")
    one = one.squeeze([axis])
    return one.unsqueeze([axis + n for n in range(ndim)]) if ndim else one


def _split(x, split=None, axis=0, num_outputs=None, outputs=0):
    axis = x.axis(axis)
    if split is not None:
        sizes = numbers(split)
    else:
        each = -(-x.shape[axis] // outputs)
        sizes = [each] * (outputs - 1) + [x.shape[axis] - each * (outputs - 1)]
    ends = np.cumsum(sizes).tolist()
    if len(sizes) != outputs or ends[-1] != x.shape[axis] or min(sizes) < 0:
        raise ValueError(f"sizes {sizes} of {x.shape[axis]}")
    pairs = zip([0, *ends[:-1]], ends, strict=True)
    return [x.cut(axis, start, end) for start, end in pairs]


def _shape(x, start=0, end=None):
    sizes = list(x.shape)[start:end]
    array = np.empty(len(sizes), object)
    array[:] = sizes
    return Known.of(_tidy(array))


def _constant_of_shape(shape, value=None):
    value = np.zeros(1, np.float32) if value is None else value
    sizes = tuple(numbers(shape))
    return Known(np.asarray(value).reshape([1] * len(sizes)), sizes)


def _expand(x, shape):
    target = _broadcast(x.shape, numbers(shape))
    if isinstance(x, Known):
        array = x.array.reshape([1] * (len(target) - x.ndim) + [*x.array.shape])
        return Known(array, target)
    return x if target == tuple(x.shape) else Hidden(target, "Expand")


def _tile(x, repeats):
    repeats = numbers(repeats)
    if len(repeats) != x.ndim:
        raise ValueError(f"repeats {repeats} of {x.ndim} axes")
    shape = tuple(size * n for size, n in zip(x.shape, repeats, strict=True))
    if not isinstance(x, Known):
        return x if shape == tuple(x.shape) else Hidden(shape, "Tile")
    given = [
        1 if size == 1 else n for size, n in zip(x.array.shape, repeats, strict=True)
    ]
    if any(isinstance(n, Size) or n > MOST for n in given):
        raise ValueError(f"repeats {repeats}")
    return Known(_tidy(np.tile(x.array, given)), shape)


def _broadcast(*shapes):
    """The broadcast shape; sizes that may differ raise a ``ValueError``."""
    rank, common = max(map(len, shapes)), []
    for sizes in zip(*([1] * (rank - len(s)) + [*s] for s in shapes), strict=True):
        larger = [size for size in sizes if isinstance(size, Size) or size != 1]
        if any(size != larger[0] for size in larger):
            raise ValueError(f"sizes {', '.join(map(str, sizes))} may differ")
        common.append(larger[0] if larger else 1)
    return tuple(common)


def _cast(x, to, saturate=1):
    dtype = np.dtype(DTYPES[to])
    if isinstance(x, Moved):
        # Casting keeps the numbers if no digit is lost; lengths fit in 32 bits.
        whole = x.dtype.kind == dtype.kind == "i" and dtype.itemsize >= 4
        return x if whole or np.can_cast(x.dtype, dtype) else Hidden(x.shape, "Cast")
    if not isinstance(x, Known):
        return x
    if x.array.dtype == object:
        if dtype.kind != "i":
            raise ValueError("a size as a float")
        return x
    with np.errstate(all="ignore"):
        return Known(x.array.astype(dtype), x.shape)


def _elementwise(name, function):
    def operator(*xs):
        shape = _broadcast(*(x.shape for x in xs))
        if not all(isinstance(x, Known) for x in xs):
            return Hidden(shape, name)
        arrays = [x.array for x in xs]
        if any(a.dtype == object for a in arrays):
            if product(np.broadcast_shapes(*(a.shape for a in arrays))) > SIZES:
                raise ValueError("too many sizes")
        elif len({a.dtype for a in arrays[-2:]}) > 1:
            raise ValueError("numbers of different types")
        with np.errstate(all="ignore"):
            return Known(_tidy(np.asarray(function(*arrays))), shape)

    return operator


def _divide(a, b):
    if a.dtype.kind == "f" and b.dtype == a.dtype:
        return a / b
    if object in (a.dtype, b.dtype):
        return np.frompyfunc(exact_quotient, 2, 1)(a, b)
    if np.any(b == 0):
        raise ValueError("a division by 0")
    sign = np.sign(a) * np.sign(b)
    return sign * (np.abs(a) // np.abs(b))  # ONNX rounds towards 0, as C does.


def _equal(a, b):
    if object in (a.dtype, b.dtype):
        return np.asarray(np.frompyfunc(same, 2, 1)(a, b), bool)
    return a == b


def _where(condition, a, b):
    if condition.dtype != bool:
        raise ValueError("a condition of numbers")
    return np.where(condition, a, b)


def _tidy(array):
    """Converts an array of sizes to integers if all sizes are whole numbers."""
    if array.dtype != object:
        return array
    if array.size > SIZES:
        raise ValueError("too many sizes")
    if any(isinstance(n, Size) for n in array.ravel()):
        return array
    return array.astype(np.int64)


def _dropout(x, ratio=None, training_mode=None, seed=None, opset=7, **old):
    if opset >= 12 and training_mode is not None:
        mode = training_mode
        off = isinstance(mode, Known) and mode.array.size == 1 and not mode.array.any()
    else:
        off = opset >= 7 or old.get("is_test", 0) == 1
    return x if off else Hidden(x.shape, "Dropout in training")


OPERATORS: dict[str, Callable[..., Any]] = {
    "Identity": lambda x: x,
    "Dropout": _dropout,
    "Squeeze": _squeeze,
    "Unsqueeze": lambda x, axes: x.unsqueeze(numbers(axes)),
    "Transpose": lambda x, perm=None: x.transpose(perm),
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Gather": _gather,
    "Shape": _shape,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Tile": _tile,
    "Cast": _cast,
    "Add": _elementwise("Add", lambda a, b: a + b),
    "Sub": _elementwise("Sub", lambda a, b: a - b),
    "Mul": _elementwise("Mul", lambda a, b: a * b),
    "Div": _elementwise("Div", _divide),
    "Neg": _elementwise("Neg", lambda a: -a),
    "Equal": _elementwise("Equal", _equal),
    "Where": _elementwise("Where", _where),
}


# Shapes of what stays hidden


def _matmul(a, b, **attributes):
    if min(a.ndim, b.ndim) < 2:
        raise ValueError("a vector")
    return (*_broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])


def _conv(x, *rest, **attributes):
    return (x.shape[0], *(fresh("conv") for _ in x.shape[1:]))


_first = lambda x, *rest, **attributes: x.shape
_all = lambda *xs, **attributes: _broadcast(*(x.shape for x in xs))
SHAPES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(
        [
            "Relu",
            "LeakyRelu",
            "PRelu",
            "Elu",
            "Selu",
            "Celu",
            "Gelu",
            "Sigmoid",
            "HardSigmoid",
            "HardSwish",
            "Tanh",
            "Softplus",
            "Softsign",
            "Softmax",
            "LogSoftmax",
            "Clip",
            "Abs",
            "Exp",
            "Log",
            "Sqrt",
            "Erf",
            "Floor",
            "Ceil",
            "Not",
            "Round",
            "Sign",
            "BatchNormalization",
            "InstanceNormalization",
            "LayerNormalization",
            "RMSNormalization",
            "GroupNormalization",
            "LpNormalization",
        ],
        _first,
    ),
    **dict.fromkeys(
        ["Pow", "Min", "Max", "Greater", "Less", "GreaterOrEqual", "And", "Or"], _all
    ),
    "MatMul": _matmul,
    "Conv": _conv,
    "MaxPool": _conv,
    "AveragePool": _conv,
}
"""The shape of the first output. Its numbers are unknown."""
