"""The description of a kernel, from which `primitives_of` makes JAX primitives."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple


class Loops(NamedTuple):
    """The three functions of `lstm_jax.kernels.lstm.derivatives`, as scans in XLA.

    ``forward(at, reverse=, residuals=)`` returns ``Outputs``, and the residuals or
    ``None``. ``tangent(at, residuals, d, reverse=, groups=)`` returns ``Outputs``.
    ``backward(at, residuals, d_out, wrt=, reverse=, groups=)`` returns gradients by
    name.
    """

    forward: Callable[..., tuple[Any, Any]]
    tangent: Callable[..., Any]
    backward: Callable[..., dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Kernel:
    """What is particular to one kernel."""

    name: str
    """The primitives are ``<name>_forward``, ``<name>_tangent``, ``<name>_backward``.
    """

    platforms: tuple[str, ...]
    """Where the kernel runs. Elsewhere the `scans` run."""

    forward: Callable[..., tuple[Any, Any]]
    """As `Loops.forward`, for one row or more."""

    backward: Callable[..., dict[str, Any]]
    """As `Loops.backward`, for one row or more."""

    scans: Loops
    """They run on other platforms, and where a call has too few rows. All tangents come
    from here.

    `Kernel.backward` may get residuals of ``scans.forward``, and the other way round,
    if ``least_rows`` is not 0: ``vmap`` can give one of them more rows.
    """

    residuals: Callable[..., Any]
    """``(at, rows)``: zeros like the residuals, a NamedTuple. ``rows`` is the sharding
    of the rows, or ``None``."""

    residual_axes: Any
    """The same NamedTuple: the index at which the batch axes of each residual start.

    ``None`` is for an opaque residual of all rows together. Its size may depend on the
    number of rows. ``vmap`` folds a mapped axis into the rows before the kernel runs,
    so an opaque residual is never mapped with them."""

    @property
    def opaque(self) -> bool:
        """Whether some residual cannot be divided by rows."""
        return None in self.residual_axes
