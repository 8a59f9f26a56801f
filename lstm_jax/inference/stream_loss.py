"""The exact loss of one long stream of tokens, in parallel rows.

A stream that is cut into rows is read faster. But each row has to start from the final
state of the row before it:

    s_0 = carry          s_r = F_{r-1}(s_{r-1})          r = 1, ..., rows - 1

where ``F_r`` reads row ``r``. This is solved as a fixed point. The rows start from
guesses. A pass is right if the final states of the rows equal the states that the next
rows started from. Then the result is the same as for one row.

A network that forgets needs one or two passes. The second pass stops at the window
where its states equal those of the first pass. A network that does not forget would
need as many passes as there are rows. Trained networks have such units: a cell whose
forget gate is 1 counts without end. For such a network, one pass reads the stream in
one row to find the initial states, without any losses. A second pass then reads all
rows.

This iteration over pieces of time is known from differential equations (Lions, Maday &
Turinici, "A parareal in time discretization of PDEs", 2001).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Float, Int, PyTree
from lstm_jax.data.checks import check_count
from lstm_jax.data.token_rows import EvaluationRows
from lstm_jax.inference.stepwise import spread

Nats = Callable[
    [PyTree, PyTree, Int[Array, "T B"], Int[Array, "T B"]],
    tuple[PyTree, Float[Array, "T B"]],
]
"""A pure function of ``(params, carry, inputs, targets)`` that returns the new carry
and ``-log p(target)`` of every target. It must not change anything outside ``params``.
"""

PASSES = 2
"""Passes over all rows in parallel, before the rows are read one after the other."""
STEPS = 1024
"""The most steps of a row in one call that computes no losses."""
STATES = 1024
"""The most states of a pass that are kept, to see where the next pass
agrees with it."""
LOSSES = 2**24
"""Up to this many tokens, all losses are summed at the end. With more tokens, each
window is summed first, so its losses need not be kept."""


def stream_nats(
    nats: Nats,
    params: PyTree,
    carry: PyTree,
    tokens: np.ndarray,
    *,
    rows: int = 8,
    context: int = 256,
    window: int = 1024,
    tolerance: float = 1e-5,
) -> float:
    """The sum over ``t`` of ``-log p(tokens[t] | tokens[:t])``, for all tokens but the
    first.

    The number of rows changes only the speed: the result is the same up to rounding and
    ``tolerance``. Divide by ``len(tokens) - 1`` for the mean.

    Args:
        nats: the model. It is compiled once for each function, so pass the same one
            every time.
        params: its parameters.
        carry: the initial state of one row; every leaf is ``[1, ...]``.
        tokens: integers ``[N]``.
        rows: number of rows that are read in parallel.
        context: number of tokens that are read before each row, to guess its initial
            state. A larger context saves a second pass if the model forgets fast
            enough.
        window: the most steps in one call of ``nats``.
        tolerance: two states agree if all their numbers differ by at most this much,
            relative to their size, or absolutely for numbers below 1.

    Raises:
        DataError: there are fewer than two tokens.
        ValueError: ``nats`` returns a carry of another structure than it was given, or
            a size is too small.
        TypeError: ``tokens`` are not integers ``[N]``, or a size is not a whole number.

    >>> import jax.numpy as jnp, numpy as np
    >>> from lstm_jax.inference import stream_nats
    >>> def nats(half, carry, inputs, targets):  # p(last two tokens are alike) = half
    ...     likely = jnp.where(inputs == targets, half, 1 - half)
    ...     return carry, -jnp.log(likely)
    >>> start = jnp.zeros((1, 1))
    >>> tokens = np.array([0, 0, 1, 1, 1])
    >>> print(f"{stream_nats(nats, 0.75, start, tokens, rows=2):.4f}")
    2.2493
    """
    reading = _Reading(nats, params, carry, tokens, rows, context, window, tolerance)
    if reading.rows.predictions > LOSSES:
        return float(np.sum(reading.run(_sum)))
    losses = reading.run(lambda loss, _: loss)
    counted = [reading.rows.window(k)[2] for k in range(len(losses))]
    return _sum(np.stack(losses), np.stack(counted))


def stream_losses(
    nats: Nats,
    params: PyTree,
    carry: PyTree,
    tokens: np.ndarray,
    *,
    rows: int = 8,
    context: int = 256,
    window: int = 1024,
    tolerance: float = 1e-5,
) -> np.ndarray:
    """``-log p(tokens[t] | tokens[:t])`` of each token but the first, ``[N - 1]``.

    Arguments and errors as in `stream_nats`, which returns the sum of these losses.

    >>> import jax.numpy as jnp, numpy as np
    >>> from lstm_jax.inference import stream_losses
    >>> def nats(half, carry, inputs, targets):  # p(last two tokens are alike) = half
    ...     likely = jnp.where(inputs == targets, half, 1 - half)
    ...     return carry, -jnp.log(likely)
    >>> start = jnp.zeros((1, 1))
    >>> tokens = np.array([0, 0, 1, 1, 1])
    >>> losses = stream_losses(nats, 0.75, start, tokens, rows=2)
    >>> print(" ".join(f"{loss:.2f}" for loss in losses))
    0.29 1.39 0.29 0.29
    """
    reading = _Reading(nats, params, carry, tokens, rows, context, window, tolerance)
    return reading.rows.in_order(reading.run(lambda loss, _: np.asarray(loss)))


def _sum(losses, counted):
    return float(np.sum(losses, where=counted, dtype=np.float64))


class _Reading:
    """Reads a stream in rows until the states of the rows agree."""

    def __init__(self, nats, params, carry, tokens, rows, context, window, tolerance):
        self.rows = EvaluationRows(tokens, rows, window)
        self._nats, self._params, self._carry = nats, params, carry
        self._context = check_count("context", context, least=0)
        self._window, self._tolerance = window, tolerance
        check_carry(nats, params, carry)

    def run(self, keep: Callable[[Any, np.ndarray], Any]) -> list[Any]:
        """Reads the stream; returns ``keep(losses [T, rows], counted [T, rows])`` of
        every window.
        """
        windows = self.rows.windows
        every = -(-windows // STATES)
        states: dict[int, Any] = {}
        kept: list[Any] = [None] * windows

        def read(state):
            states[0] = state
            for k in range(windows):
                inputs, targets, counted = self.rows.window(k)
                state, losses = _window(
                    self._nats, self._params, state, inputs, targets
                )
                kept[k] = keep(losses, counted)
                met = k + 1 in states and self._agree(state, states[k + 1])
                if (k + 1) % every == 0 or k + 1 == windows:
                    states[k + 1] = state
                if met:  # The rest would repeat the last pass.
                    break

        start = self._handed_on(self._warm_up())
        for _ in range(PASSES):
            read(start)
            start = self._handed_on(states[windows])
            if self._agree(start, states[0]):
                break
        else:
            read(self._starts())
        return kept

    def _handed_on(self, ends):
        """The initial states of the rows, given the final states ``ends``."""
        join = lambda first, end: jnp.concatenate([first, end[:-1]])
        return jax.tree.map(join, self._carry, ends)

    def _agree(self, a, b):
        """Whether the states of the used rows agree."""
        return _agree(a, b, rows=self.rows.used, tolerance=self._tolerance)

    def _warm_up(self):
        """The final states of the rows, guessed from their last tokens."""
        carry, length = spread(self._carry, self.rows.rows), self.rows.length
        context = min(self._context, length)
        if not context:
            return carry
        windows = -(-context // self._window)
        steps = context // windows
        for at in range(length - windows * steps, length, steps):
            inputs = self.rows.read(at, at + steps)[0]
            carry = _state_after(self._nats, self._params, carry, inputs)
        return carry

    def _starts(self):
        """The initial states of the rows, found by reading one row after the other."""
        starts, length = [self._carry], self.rows.length
        pieces = np.array_split(np.arange(length), -(-length // STEPS))
        for row in range(self.rows.rows - 1):
            state = starts[-1]
            for piece in pieces:
                inputs = self.rows.read(piece[0], piece[-1] + 1)[0][:, row : row + 1]
                state = _state_after(self._nats, self._params, state, inputs)
            starts.append(state)
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *starts)


def check_carry(
    function: Callable, params: PyTree, carry: PyTree, rows: int = 1
) -> None:
    """Raises an error if a step changes structure, shapes or dtypes of ``carry``."""
    token = jax.ShapeDtypeStruct((1, rows), jnp.int32)
    kind = lambda c: f"{jnp.result_type(c)}{list(jnp.shape(c))}"
    came = jax.tree.map(kind, carry)
    first = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(carry)}
    if not first <= {(rows,)}:
        raise ValueError(
            f"carry is {came}, expected a first axis of {rows}, the number of rows; "
            f"pass the state that the model makes for them."
        )
    after = jax.eval_shape(function, params, carry, token, token)[0]
    leads = jax.tree.map(kind, after)
    if came != leads:
        raise ValueError(
            f"carry is {came} and leads to {leads}, expected the same; pass the state "
            f"that the model makes, in the dtype that it computes in."
        )


@functools.partial(jax.jit, static_argnums=0)
def _window(nats, params, carry, inputs, targets):
    return nats(params, carry, inputs, targets)


@functools.partial(jax.jit, static_argnums=0)
def _state_after(nats, params, carry, inputs):
    """The state without the loss. XLA then skips the loss, which saves a large
    vocabulary.
    """
    return nats(params, carry, inputs, inputs)[0]


def _agree(a, b, rows, tolerance):
    """Whether the states of the first ``rows`` agree; other rows are not used."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = (np.asarray(leaf[:rows], np.float64) for leaf in (x, y))
        if not (np.abs(x - y) <= tolerance * np.maximum(1, np.abs(y))).all():
            return False
    return True
