"""The place of the batch axes in every array of a call, in the order of the leaves."""

from lstm_jax.kernels.lstm.kernel import Kernel
from lstm_jax.kernels.lstm.operands import OPERAND_AXES, OUTPUT_AXES, Operands
from lstm_jax.kernels.lstm.shards import Place


def places(
    kernel: Kernel, at: Operands, residuals=None, linear=None, *, groups: int = 0
) -> list[Place]:
    """The places in the arguments of `forward`, `tangent` or `backward`.

    ``linear`` is the last argument: directions by name, or gradients by the outputs.
    """
    n = at.h0.ndim - 1
    found = _places(OPERAND_AXES, at, n)
    if residuals is not None:
        found += _places(kernel.residual_axes, residuals, n)
    if isinstance(linear, dict):
        return found + gradient_places(linear, n, groups)
    return found if linear is None else found + _places(OUTPUT_AXES, linear, n)


def gradient_places(names, n: int, groups: int) -> list[Place]:
    """The places in gradients by these operands, with ``n`` batch axes."""
    axes = OPERAND_AXES._asdict()
    of = lambda axis: Place(0, groups) if axis is None else Place(axis, n)
    return [of(axes[name]) for name in sorted(names)]


def output_places(kernel: Kernel, n: int) -> list[Place]:
    """The places in outputs, and in the residuals that may follow them."""
    return [_place(axis, n) for axis in (*OUTPUT_AXES, *kernel.residual_axes)]


def _places(axes, arrays, n):
    pairs = zip(axes, arrays, strict=True)
    return [_place(axis, n) for axis, a in pairs if a is not None]


def _place(axis, n):
    return Place(None, 0) if axis is None else Place(axis, n)
