"""Runs a sequence in pieces."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from lstm_jax._types import Array, Bool, Float, Int, Key, Lengths
from lstm_jax.core.arguments import renamed
from lstm_jax.core.layers.stack import Stack


class Stream(NamedTuple):
    """The position in a sequence: the carry of every layer, and the number of steps so
    far.

    ``Stream(None, 0)`` is the start. Masks depend on the absolute step, so any split of
    a sequence, even into empty pieces, sees the masks of one call.
    """

    carries: Sequence[Any] | None = None
    step: int | Int[Array, ""] = 0


@renamed(reset_carries="reset_carry", run="implementation")
def feed(
    stack: Stack,
    params: Sequence[Any],
    stream: Stream,
    xs: Float[Array, "T *B D"],
    *,
    lengths: Lengths | None = None,
    mask: Bool[Array, "T *B"] | None = None,
    resets: Bool[Array, "T *B"] | None = None,
    reset_carry: Sequence[Any] | None = None,
    key: Key[Array, ""] | None = None,
    dtype: Any = None,
    remat: bool | int | None = None,
    implementation: str | None = None,
) -> tuple[Stream, Float[Array, "T *B H"]]:
    """Runs the next piece of a sequence; returns the new stream and the outputs.

    Args:
        stack: a stack that is not bidirectional.
        params: the parameters of the stack.
        stream: the position after the previous piece.
        xs: the piece, ``[T, ..., D]``, of any length.
        lengths, mask, resets, reset_carry, key, dtype, remat, implementation: as in a
            call of the stack.

    Raises:
        TypeError, ValueError: the stack is bidirectional; or as in a call of the stack.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMCell, Stack, Stream, feed
    >>> stack = Stack([LSTMCell(5)])
    >>> params = stack.init(jax.random.key(0), in_size=3)
    >>> stream, hs = feed(stack, params, Stream(), jnp.ones((7, 2, 3)))
    >>> stream, hs = feed(stack, params, stream, jnp.ones((1, 2, 3)))
    >>> int(stream.step), hs.shape
    (8, (1, 2, 5))
    """
    if stack.bidirectional:
        raise ValueError(
            "stack is bidirectional, expected one direction, forwards: "
            "the other begins at the end of the sequence."
        )
    carries, hs = stack(
        params,
        stream.carries,
        xs,
        lengths=lengths,
        mask=mask,
        resets=resets,
        reset_carry=reset_carry,
        key=key,
        start=stream.step,
        dtype=dtype,
        remat=remat,
        implementation=implementation,
    )
    step = jnp.asarray(stream.step, jnp.int32) + jnp.int32(hs.shape[0])
    return Stream(carries, step), hs
