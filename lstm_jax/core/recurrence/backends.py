"""The backends that run a checked sequence, and the choice of one for a call.

`lstm_jax.unroll` checks its arguments and cuts chunks, once. Then a backend runs the
steps: the scan of this room, or a kernel of a higher room. `lstm_jax` adds the kernels
when it is imported. No backend calls `unroll`.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from lstm_jax._types import Array, Float
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.recurrence.newton.backend import newton, unsupported
from lstm_jax.core.recurrence.scan import plain, scan
from lstm_jax.core.recurrence.sequence import Sequence


def _any_flags(given):
    """Supports every flag."""
    del given


class Backend(NamedTuple):
    """One way to run the steps of a sequence."""

    supports: Callable[[Cell, Float[Array, "T ... D"]], str | None]
    """``(cell, xs)``: ``None`` if the call is supported, otherwise a sentence that says
    why not. The dtype of ``xs`` is the compute dtype."""

    run: Callable[[Cell, Any, Sequence, bool], tuple[Any, Array]]
    """``(cell, params, sequence, reverse)``: the carry after the last step, and the
    outputs."""

    pieces: bool = False
    """Cut a long sequence into pieces, also without ``remat``."""

    explicit: bool = False
    """The backend itself states the sharding of its results on a mesh with explicit
    axes."""

    flags: Callable[[Collection[str]], str | None] = _any_flags
    """The names of the flags of a call, such as ``{"lengths"}``: ``None`` if they are
    supported, otherwise a sentence that says why not."""

    def unsupported(
        self, cell: Cell, xs: Float[Array, "T ... D"], given: Collection[str]
    ) -> str | None:
        """Says why a call with the flags ``given`` is not supported."""
        return self.supports(cell, xs) or self.flags(given)


def _everything(cell, xs):
    """Supports every call."""
    del cell, xs


SCAN = Backend(_everything, scan, pieces=True)
NAMED = {
    "scan": SCAN,
    "plain": Backend(_everything, plain),
    "newton": Backend(unsupported, newton),
}
UNNAMED = [SCAN]
"""The candidates for a call without a name. The first that supports the call is used.
"""


def add(name: str, backend: Backend, *, unnamed: Backend | None = None) -> None:
    """Adds a kernel ``backend``. Calls that name no implementation use ``unnamed``, or
    never this kernel if it is ``None``.
    """
    NAMED[name] = backend
    if unnamed is not None:
        UNNAMED.insert(0, unnamed)


def choose(
    name: str | None,
    cell: Cell,
    xs: Float[Array, "T ... D"],
    given: Collection[str] = (),
) -> Backend:
    """The named backend; for ``None``, the fastest that supports the call.

    Args:
        given: the names of the flags that the call has: ``lengths``, ``mask``,
            ``resets``.

    Raises:
        NotImplementedError: the named backend does not support the call. The message
            says why.
    """
    if name is None:
        return next(b for b in UNNAMED if b.unsupported(cell, xs, given) is None)
    backend = NAMED[name]
    if reason := backend.unsupported(cell, xs, given):
        raise NotImplementedError(
            f'implementation="{name}" does not support this call: {reason} '
            f'Use implementation="scan", or None for the fastest that supports it.'
        )
    return backend
