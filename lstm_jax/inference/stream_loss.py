"""The exact loss of one long stream of tokens, in parallel rows.

A stream cut into rows is read faster, but a row would have to start from the state that
the row before it ends in:

    s_0 = carry          s_r = F_{r-1}(s_{r-1})          r = 1, ..., rows - 1

with ``F_r`` reading row ``r``. That is solved as a fixed point: rows start from guesses
until the ends of a pass are the starts it began with, and the stream has been read as
if in one row. A network that forgets needs a pass or two, the second up to the window
where its states meet those of the first. One that does not would need as many as there
are rows, and trained ones have such units: cells whose forget gate has come to 1 count
for as long as they are let. It is read in one row for its starts, without any losses,
and then once more in all rows.

Such an iteration over pieces of time is known from differential equations (Lions,
Maday & Turinici, "A parareal in time discretization of PDEs", 2001).
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
"""``(params, carry, inputs, targets)`` to the carry after them and ``-log p(target)``
of every one. A pure function; what is not in ``params``, it must not change."""

PASSES = 2
"""Over all rows side by side, before one row is read after the other."""
STEPS = 1024
"""Of a row in one call, at the most, where its losses are not asked for."""
STATES = 1024
"""States of a pass that are kept, at the most, to see where the next pass meets it."""
LOSSES = 2**24
"""Of so many tokens losses are added together; of more, those of each window first, so
that they need not be kept."""


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
    """``sum_t -log p(tokens[t] | tokens[:t])`` over all tokens but the first.

    Any number of rows gives the same number, up to rounding and ``tolerance``; how many
    is a question of speed alone. Divide by ``len(tokens) - 1`` for the mean.

    Args:
        nats: the model. It is compiled once for each function, so pass the same one
            every time.
        params: its parameters.
        carry: the state of one row at the beginning; every leaf is ``[1, ...]``.
        tokens: integers ``[N]``.
        rows: how many parts are read side by side.
        context: how many tokens at the end of the row before it every row reads for its
            first guess of a start. More of them save a second pass, where the model
            forgets fast enough.
        window: the most steps in one call of ``nats``.
        tolerance: two states agree if no number in them differs by more, relative to
            its size, or absolutely where that is below 1.

    Raises:
        DataError: there are fewer than two tokens.
        ValueError: ``nats`` hands on another carry than it was given, or a size is
            negative, or 0 where that makes no sense.
        TypeError: ``tokens`` are no integers ``[N]``, or a size is no whole number.

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
    nats: Nats, params: PyTree, carry: PyTree, tokens: np.ndarray, **options: Any
) -> np.ndarray:
    """``-log p(tokens[t] | tokens[:t])`` of each token but the first, ``[N - 1]``.

    Arguments and errors are those of `stream_nats`, which adds these losses.

    >>> import jax.numpy as jnp, numpy as np
    >>> from lstm_jax.inference import stream_losses
    >>> def nats(half, carry, inputs, targets):  # p(last two tokens are alike) = half
    ...     likely = jnp.where(inputs == targets, half, 1 - half)
    ...     return carry, -jnp.log(likely)
    >>> start = jnp.zeros((1, 1))
    >>> tokens = np.array([0, 0, 1, 1, 1])
    >>> stream_losses(nats, 0.75, start, tokens, rows=2).round(2).tolist()
    [0.29, 1.39, 0.29, 0.29]
    """
    options = {"rows": 8, "context": 256, "window": 1024, "tolerance": 1e-5} | options
    reading = _Reading(nats, params, carry, tokens, **options)
    return reading.rows.in_order(reading.run(lambda loss, _: np.asarray(loss)))


def _sum(losses, counted):
    return float(np.sum(losses, where=counted, dtype=np.float64))


class _Reading:
    """A stream that is read in rows until their states agree."""

    def __init__(self, nats, params, carry, tokens, rows, context, window, tolerance):
        self.rows = EvaluationRows(tokens, rows, window)
        self._nats, self._params, self._carry = nats, params, carry
        self._context = check_count("context", context, least=0)
        self._window, self._tolerance = window, tolerance
        check_carry(nats, params, carry)

    def run(self, keep: Callable[[Any, np.ndarray], Any]) -> list[Any]:
        """``keep(losses [T, rows], counted [T, rows])`` of every window."""
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
                if met:  # What follows would be what has been.
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
        """The states that rows start from, where they end in ``ends``."""
        join = lambda first, end: jnp.concatenate([first, end[:-1]])
        return jax.tree.map(join, self._carry, ends)

    def _agree(self, a, b):
        """Whether the states of rows that are used are the same."""
        return _agree(a, b, rows=self.rows.used, tolerance=self._tolerance)

    def _warm_up(self):
        """The states in which rows end, as far as their last tokens tell."""
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
        """The states that rows begin with, one row read after the other."""
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
    """Raises where a step leads from ``carry`` to another kind of state, so that it
    could not be carried."""
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
    """Without the loss, which XLA then leaves out, a large vocabulary included."""
    return nats(params, carry, inputs, inputs)[0]


def _agree(a, b, rows, tolerance):
    """Whether the states of the first ``rows`` are the same; others are not used."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = (np.asarray(leaf[:rows], np.float64) for leaf in (x, y))
        if not (np.abs(x - y) <= tolerance * np.maximum(1, np.abs(y))).all():
            return False
    return True
