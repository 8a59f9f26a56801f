"""Runs a cell in parallel over time, and says how Newton's method went."""

import functools
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec

from lstm_jax._types import Array, Bool, Float, Int, Lengths
from lstm_jax.core.arguments import check_bool
from lstm_jax.core.cells.cell import Cell, require_cell
from lstm_jax.core.recurrence.newton.backend import run, unsupported
from lstm_jax.core.recurrence.newton.settings import Newton
from lstm_jax.core.recurrence.sequence import prepare, without_padding, zero_carry
from lstm_jax.core.sharding import leave_to_compiler, spec_of, vary_alike

DEFAULT = Newton()


class NewtonResult(NamedTuple):
    """What `newton_unroll` returns."""

    carry: Any
    """The carry after the last step, as from `lstm_jax.unroll`."""

    hs: Float[Array, "T *B H"]
    """The outputs, as from `lstm_jax.unroll`."""

    converged: Bool[Array, "*B"]
    """Whether Newton's method solved every step of the row. Where it did not, the steps
    that were left ran one by one."""

    iterations: Int[Array, "*B"]
    """The iterations that the row needed."""

    difference: Float[Array, "*B"]
    """The largest relative difference between a state and the step of the state before
    it, when the iteration ended."""


def newton_unroll(
    cell: Cell,
    params: Any,
    carry: Any,
    xs: Float[Array, "T ... D"],
    *,
    settings: Newton = DEFAULT,
    lengths: Lengths | None = None,
    mask: Bool[Array, "T *B"] | None = None,
    resets: Bool[Array, "T *B"] | None = None,
    reset_carry: Any = None,
    reverse: bool = False,
    dtype: Any = None,
) -> NewtonResult:
    """`lstm_jax.unroll` in parallel over time, by Newton's method.

    The unknown is the sequence of all states, ``s_t = f_t(s_{t-1})``, where ``f_t`` is
    step ``t`` of the cell. An iteration evaluates all steps at once, and solves a
    linear recurrence with an associative scan:

        J_t  = df_t / ds at s_{t-1}, or only its diagonal
        d_t  = (1 - damping) J_t d_{t-1} + f_t(s_{t-1}) - s_t        d_0 = 0
        s_t <- s_t + d_t

    It ends when every state equals the step of the state before it, within
    ``settings.tolerance``, or after ``settings.iterations``. The steps that are then
    not solved run one by one. So the outputs and all derivatives are those of
    `lstm_jax.unroll`, whether it converged or not; without convergence the call is
    slower than ``"scan"``. ``implementation="newton"`` of the other functions is this
    function with the default settings.

    A derivative is one more linear recurrence, with the Jacobians at the solution. The
    iterations are not differentiated.

    Lim et al., "Parallelizing non-linear sequential models over the sequence length",
    ICLR 2024. Gonzalez et al., "Towards scalable and stable parallelization of
    nonlinear RNNs", NeurIPS 2024: the diagonal.

    Args:
        cell, params, carry, xs: as in `lstm_jax.unroll`; ``xs`` is ``[T, ..., D]``, in
            float32 or float64.
        settings: a `lstm_jax.Newton`: full or diagonal Jacobians, the tolerance, the
            most iterations, damping.
        lengths, mask, resets, reset_carry, reverse, dtype: as in `lstm_jax.unroll`.

    Returns:
        A ``NewtonResult``: ``carry`` and ``hs`` as from `lstm_jax.unroll`, and for
        every row ``[...]`` whether it converged, in how many iterations, and the
        largest relative difference at their end.

    Raises:
        TypeError, ValueError: as `lstm_jax.unroll`; ``settings`` is not a `Newton`.
        NotImplementedError: the compute dtype has 16 bits, the carry has integers or
            numbers of another dtype, or sizes are symbols of ``jax.export``.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMCell, newton_unroll
    >>> cell = LSTMCell(hidden_size=5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> found = newton_unroll(cell, params, None, jnp.ones((100, 2, 3)))
    >>> found.hs.shape, found.converged.tolist()
    ((100, 2, 5), [True, True])
    >>> bool((found.iterations < 10).all())
    True
    """
    require_cell("cell", cell)
    if not isinstance(settings, Newton):
        raise TypeError(
            f"settings is {settings!r}, expected a Newton, such as "
            f'Newton(jacobian="diagonal").'
        )
    reverse = check_bool("reverse", reverse)
    seq = prepare(
        cell, params, carry, xs, lengths, mask, resets, reset_carry, reverse, dtype
    )
    if reason := unsupported(cell, seq.xs):
        raise NotImplementedError(f"{reason} Use lstm_jax.unroll.")
    return _run((settings, cell, reverse), params, seq)


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _run(static, params, seq):
    """Runs the checked sequence, on any mesh."""
    settings, cell, reverse = static
    rows = spec_of(seq.xs)[1 : seq.xs.ndim - cell.feature_axes]
    if seq.carry is None:
        seq = seq._replace(carry=zero_carry(cell, seq.xs))

    def run_all(params, seq):
        seq = without_padding(cell, seq)
        seq = seq._replace(carry=vary_alike(seq.carry, (params, seq)))
        carry, hs, outcome = run(settings, cell, params, seq, reverse)
        return carry, hs, *outcome

    specs = (
        jax.tree.map(spec_of, seq.carry),
        PartitionSpec(*spec_of(seq.xs)[:-1], None),
        *[PartitionSpec(*rows)] * 3,
    )
    return NewtonResult(*leave_to_compiler(run_all, (params, seq), specs))
