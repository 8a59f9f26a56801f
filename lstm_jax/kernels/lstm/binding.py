"""The three primitives of a kernel, as functions of named arguments."""

from typing import Any, NamedTuple

import jax
from jax.extend.core import Primitive

from lstm_jax._types import Array
from lstm_jax.core.precision import asked_precision
from lstm_jax.core.primitives.debugging import show_nan
from lstm_jax.kernels.lstm.kernel import Kernel
from lstm_jax.kernels.lstm.operands import Operands, Outputs


def bind(primitive: Primitive, *leaves: Array, **static: Any) -> list[Array]:
    """Calls a primitive. The precision that holds now holds for its rules, too."""
    return primitive.bind(*leaves, asked=asked_precision(), **static)


class Primitives(NamedTuple):
    """A kernel, and the primitives that call it."""

    kernel: Kernel
    forward_p: Primitive
    tangent_p: Primitive
    backward_p: Primitive

    def forward(self, at: Operands, *, reverse: bool, least_rows: int = 0) -> Outputs:
        """The outputs only, for calls that are not differentiated.

        The kernel runs if all steps together have ``least_rows`` rows or more.
        """
        leaves, tree = jax.tree.flatten((at,))
        static = dict(reverse=reverse, least_rows=least_rows)
        out = bind(self.forward_p, *leaves, tree=tree, residuals=False, **static)
        return show_nan(Outputs(*out))

    def forward_with_residuals(
        self, at: Operands, *, reverse: bool, least_rows: int = 0
    ) -> tuple[Outputs, Any]:
        """The outputs, and the residuals for `tangent` and `backward`."""
        leaves, tree = jax.tree.flatten((at,))
        static = dict(reverse=reverse, least_rows=least_rows)
        out = bind(self.forward_p, *leaves, tree=tree, residuals=True, **static)
        residuals = type(self.kernel.residual_axes)
        return show_nan(Outputs(*out[:3])), residuals(*out[3:])

    def tangent(
        self,
        at: Operands,
        residuals: Any,
        d: dict[str, Array],
        *,
        reverse: bool,
        least_rows: int = 0,
        groups: int = 0,
    ) -> Outputs:
        """The derivative of the outputs in the directions ``d``, by name of the
        operand.

        Directions of weights start with the first ``groups`` batch axes.
        """
        leaves, tree = jax.tree.flatten((at, residuals, d))
        static = dict(reverse=reverse, least_rows=least_rows, groups=groups)
        out = bind(self.tangent_p, *leaves, tree=tree, **static)
        return show_nan(Outputs(*out))

    def backward(
        self,
        at: Operands,
        residuals: Any,
        d_out: Outputs,
        *,
        wrt: tuple[str, ...],
        reverse: bool,
        least_rows: int = 0,
        groups: int = 0,
    ) -> dict[str, Array]:
        """Gradients by the operands ``wrt``, by name, from gradients by the outputs.

        Each has the shape of its operand. Gradients by weights start with the first
        ``groups`` batch axes.
        """
        leaves, tree = jax.tree.flatten((at, residuals, d_out))
        static = dict(reverse=reverse, least_rows=least_rows, groups=groups)
        out = bind(self.backward_p, *leaves, tree=tree, wrt=wrt, **static)
        return dict(zip(sorted(wrt), show_nan(out), strict=True))
