"""What takes the steps of a checked sequence, and which of them a call takes.

`lstm_jax.unroll` checks its arguments and cuts chunks, once. Then a backend runs: the
scan of this room, or a kernel of a room above, which `lstm_jax` adds when it is
imported. No backend calls `unroll`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from lstm_jax._types import Array, Float
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.recurrence.scan import plain, scan
from lstm_jax.core.recurrence.sequence import Sequence


class Backend(NamedTuple):
    """One way to take the steps of a sequence."""

    supports: Callable[[Cell, Float[Array, "T ... D"]], str | None]
    """``(cell, xs)``: ``None`` if it takes such a call, else a sentence that says why
    it does not. The dtype of ``xs`` is the compute dtype."""

    run: Callable[[Cell, Any, Sequence, bool], tuple[Any, Array]]
    """``(cell, params, sequence, reverse)``: the carry after the last step, and the
    outputs."""

    pieces: bool = False
    """A long sequence comes in pieces, also where nothing is computed twice."""

    explicit: bool = False
    """It gives its results their types on a mesh with explicit axes."""


def _everything(cell, xs):
    """Supports every call."""
    del cell, xs


SCAN = Backend(_everything, scan, pieces=True)
NAMED = {"scan": SCAN, "plain": Backend(_everything, plain)}
UNNAMED = [SCAN]
"""What a call without a name takes: the first that supports it."""


def add(name: str, backend: Backend, *, unnamed: Backend) -> None:
    """Adds a kernel, and what takes its place where a call names no implementation."""
    NAMED[name] = backend
    UNNAMED.insert(0, unnamed)


def choose(name: str | None, cell: Cell, xs: Float[Array, "T ... D"]) -> Backend:
    """The backend of this name; for ``None``, the fastest that supports the call.

    Raises:
        NotImplementedError: the one that is named does not support the call; the
            message says why.
    """
    if name is None:
        return next(b for b in UNNAMED if b.supports(cell, xs) is None)
    backend = NAMED[name]
    if reason := backend.supports(cell, xs):
        raise NotImplementedError(
            f'implementation="{name}" does not support this call: {reason} '
            f'Use implementation="scan", or None to choose.'
        )
    return backend
