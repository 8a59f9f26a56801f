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
from lstm_jax.data.token_rows import evaluation_rows
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
    inputs, targets, counted = evaluation_rows(tokens, rows, window)
    context = check_count("context", context, least=0)
    check_carry(nats, params, carry)
    used = int(counted.any((0, 1)).sum())
    agree = functools.partial(_agree, rows=used, tolerance=tolerance)

    def handed_on(ends):
        join = lambda first, end: jnp.concatenate([first, end[:-1]])
        return jax.tree.map(join, carry, ends)

    windows = len(inputs)
    guess = _warm_up(nats, params, spread(carry, rows), inputs, context, window)
    states: list[Any] = [handed_on(guess), *[None] * windows]
    losses: list[Any] = [None] * windows

    def read():
        for k in range(windows):
            end, losses[k] = _window(nats, params, states[k], inputs[k], targets[k])
            met = states[k + 1] is not None and agree(end, states[k + 1])
            states[k + 1] = end
            if met:  # What follows would be what has been.
                break

    for _ in range(PASSES):
        read()
        start = handed_on(states[-1])
        if agree(start, states[0]):
            break
        states[0] = start
    else:
        states[0] = _starts(nats, params, carry, inputs)
        read()
    return float(np.sum(np.stack(losses), where=counted, dtype=np.float64))


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


def _warm_up(nats, params, carry, inputs, context, window):
    """The states in which rows end, as far as their last tokens tell."""
    flat = inputs.reshape(-1, inputs.shape[-1])
    context = min(context, len(flat))
    if not context:
        return carry
    windows = -(-context // window)
    steps = context // windows
    for piece in np.split(flat[len(flat) - windows * steps :], windows):
        carry = _state_after(nats, params, carry, piece)
    return carry


def _starts(nats, params, carry, inputs):
    """The states that rows begin with, one row read after the other.

    ``carry`` is that of the first row, inputs are ``[windows, window, rows]``; the
    states have a row for each.
    """
    flat = inputs.reshape(-1, inputs.shape[-1])
    pieces = np.array_split(flat, -(-len(flat) // STEPS))
    starts = [carry]
    for row in range(flat.shape[1] - 1):
        state = starts[-1]
        for piece in pieces:
            state = _state_after(nats, params, state, piece[:, row : row + 1])
        starts.append(state)
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *starts)


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
