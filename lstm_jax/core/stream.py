"""A sequence that comes in pieces: what is carried from one to the next."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from lstm_jax._types import Array, Float, Int
from lstm_jax.core.arguments import check_switch
from lstm_jax.core.stack import Stack


class Stream(NamedTuple):
    """Where a sequence has got to: every layer's carry, and the steps taken.

    ``Stream(None, 0)`` is the beginning. Masks are functions of the absolute step, so
    any split of a sequence, empty pieces included, sees those of one call.
    """

    carries: Sequence[Any] | None = None
    step: int | Int[Array, ""] = 0


def feed(
    stack: Stack,
    params: Sequence[Any],
    stream: Stream,
    xs: Float[Array, "T *B D"],
    **options: Any,
) -> tuple[Stream, Float[Array, "T *B H"]]:
    """The next piece of a sequence: the stream after it, and its outputs.

    Args:
        stack: layers in one direction.
        params: their parameters.
        stream: where the sequence has got to.
        xs: the piece, ``[T, ..., D]``, of any length.
        **options: as in a call of the stack: key, lengths, mask, resets, ...

    Raises:
        ValueError: the stack runs in two directions, or backwards; and as a call of
            the stack.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMCell, Stack, Stream, feed
    >>> stack = Stack([LSTMCell(5)])
    >>> params = stack.init(jax.random.key(0), in_size=3)
    >>> stream, hs = feed(stack, params, Stream(), jnp.ones((7, 2, 3)))
    >>> stream, hs = feed(stack, params, stream, jnp.ones((1, 2, 3)))
    >>> int(stream.step), hs.shape
    (8, (1, 2, 5))
    """
    if stack.bidirectional or check_switch("reverse", options.get("reverse", False)):
        came = "stack is bidirectional" if stack.bidirectional else "reverse is True"
        raise ValueError(
            f"{came}, expected one direction, forwards: "
            f"the other begins at the end of the sequence."
        )
    carries, hs = stack(params, stream.carries, xs, start=stream.step, **options)
    step = jnp.asarray(stream.step, jnp.int32) + jnp.int32(hs.shape[0])
    return Stream(carries, step), hs
