"""The settings of Newton's method."""

import dataclasses

import jax.numpy as jnp

from lstm_jax.core.arguments import check_choice, check_size

ROUNDING = 16
"""The default tolerance, in units of the rounding error of a number."""


@dataclasses.dataclass(frozen=True)
class Newton:
    """Settings of `lstm_jax.newton_unroll`. With ``n`` the floating-point numbers in
    the state of a row, such as ``2 H`` for an LSTM:

    Args:
        jacobian: ``"full"`` stores the Jacobians of all steps, ``T B n n`` numbers, and
            converges quadratically. ``"diagonal"`` stores their diagonals, ``T B n``
            numbers. It needs more iterations, also in the derivatives, where every
            iteration is cheaper.
        tolerance: a state is solved if it differs from the step of the previous state
            by at most this much, relative to its magnitude. A magnitude below 1 counts
            as 1, or as the largest of the row if that is below 1. ``None`` is 16 times
            machine epsilon: 1.9e-6 in float32, 3.6e-15 in float64.
        iterations: the maximum number of iterations. Steps that are not solved by then
            run one by one, so the result does not depend on convergence.
        damping: shrinks the Jacobians by the factor ``1 - damping``, for dynamics that
            expand. 0 is Newton's method, 1 is the plain fixed-point iteration.

    Raises:
        ValueError: an unknown ``jacobian``, a negative ``tolerance``, fewer than one of
            ``iterations``, or a ``damping`` outside ``[0, 1]``.

    >>> from lstm_jax import Newton
    >>> Newton(jacobian="diagonal", iterations=30).damping
    0.0
    """

    jacobian: str = "full"
    tolerance: float | None = None
    iterations: int = 50
    damping: float = 0.0

    def __post_init__(self):
        check_choice("jacobian", self.jacobian, ("full", "diagonal"))
        check_size("iterations", self.iterations)
        if self.tolerance is not None and not self.tolerance >= 0:
            raise ValueError(
                f"tolerance is {self.tolerance!r}, expected a number, 0 or more, or "
                f"None for {ROUNDING} times machine epsilon."
            )
        if not 0 <= self.damping <= 1:
            raise ValueError(
                f"damping is {self.damping!r}, expected a number in [0, 1]."
            )

    @property
    def full(self) -> bool:
        """Whether the Jacobians are whole matrices."""
        return self.jacobian == "full"

    def options(self, dtype) -> dict[str, float | int]:
        """The arguments of the solver, for states of ``dtype``."""
        tolerance = self.tolerance
        if tolerance is None:
            tolerance = ROUNDING * float(jnp.finfo(dtype).eps)
        return dict(
            tolerance=tolerance, iterations=self.iterations, damping=self.damping
        )
