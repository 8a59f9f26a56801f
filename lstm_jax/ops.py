"""The LSTM as one call: checks what it is given and chooses an implementation."""

import difflib
import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from lstm_jax._types import Array, Bool, Float, Key, Lengths
from lstm_jax.core import init
from lstm_jax.core.lstm import LSTMCarry, LSTMCell, LSTMParams, cell_of
from lstm_jax.core.stack import init_stack, stack
from lstm_jax.core.unroll import unroll

IMPLEMENTATIONS = {"scan": unroll, "plain": functools.partial(unroll, plain=True)}
"""Name to function. ``scan`` is `lstm_jax.unroll` with its derivative rule; ``plain``
is the same loop, differentiated by JAX as it stands."""


def lstm(
    params: LSTMParams,
    carry: LSTMCarry | None,
    xs: Float[Array, "T *B D"],
    *,
    lengths: Lengths | None = None,
    mask: Bool[Array, "T *B"] | None = None,
    resets: Bool[Array, "T *B"] | None = None,
    reset_carry: LSTMCarry | None = None,
    reverse: bool = False,
    dtype: Any = None,
    remat: bool | int | None = None,
    implementation: str | None = None,
) -> tuple[LSTMCarry, Float[Array, "T *B H"]]:
    """One LSTM layer over a time-major sequence with any number of batch axes.

        i, f, o = sigmoid(x_t w_x + h_{t-1} w_h + b)     g = tanh(same, its columns)
        c_t = f * c_{t-1} + i * g                        h_t = o * tanh(c_t)

    Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    Args:
        params: the weights; see `lstm_jax.init_lstm` and ``LSTMParams.from_gates``.
        carry: ``LSTMCarry(h, c)``, each ``[..., H]``; ``None`` is zeros.
        xs: inputs ``[T, ..., D]``.
        lengths, mask, resets, reset_carry, reverse, dtype, remat: as in
            `lstm_jax.unroll`.
        implementation: ``None`` takes the fastest that supports the call. ``"scan"``
            and ``"plain"`` name one, and a named one never falls back to another.

    Returns:
        The final carry and the outputs ``hs``, ``[T, ..., H]``.

    Raises:
        TypeError, ValueError: as `lstm_jax.unroll`; an unknown implementation.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import init_lstm
    >>> params = init_lstm(jax.random.key(0), in_size=3, hidden_size=5)
    >>> carry, hs = lstm(params, None, jnp.ones((7, 2, 3)), lengths=[7, 4])
    >>> hs.shape, bool((hs[4:, 1] == 0).all())
    ((7, 2, 5), True)
    """
    run = _implementation(implementation)
    return run(
        cell_of(params),
        params,
        carry,
        xs,
        lengths=lengths,
        mask=mask,
        resets=resets,
        reset_carry=reset_carry,
        reverse=reverse,
        dtype=dtype,
        remat=remat,
    )


def init_lstm_stack(
    key: Key[Array, ""],
    in_size: int,
    hidden_size: int,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    w_x: init.Initializer = init.glorot,
    w_h: init.Initializer = init.orthogonal,
    forget_bias: init.ForgetBias = 1.0,
    dtype=jnp.float32,
) -> tuple[Any, ...]:
    """Parameters of `lstm_stack`, one entry a layer; arguments as `init_lstm`.

    >>> import jax
    >>> layers = init_lstm_stack(
    ...     jax.random.key(0), 3, 5, num_layers=2, bidirectional=True)
    >>> layers[1].forward.w_x.shape
    (10, 20)
    """
    return init_stack(
        LSTMCell(hidden_size),
        key,
        in_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        w_x=w_x,
        w_h=w_h,
        forget_bias=forget_bias,
        dtype=dtype,
    )


def lstm_stack(
    params: Sequence[Any],
    carries: Sequence[Any] | None,
    xs: Float[Array, "T *B D"],
    *,
    implementation: str | None = None,
    **options: Any,
) -> tuple[tuple[Any, ...], Float[Array, "T *B _"]]:
    """LSTM layers on top of each other; arguments as `lstm` and `lstm_jax.stack`.

    A layer whose parameters are a ``Bidirectional`` runs in both directions and
    concatenates their outputs. Returns every layer's final carry, and the outputs of
    the last.

    >>> import jax, jax.numpy as jnp
    >>> layers = init_lstm_stack(
    ...     jax.random.key(0), 3, 5, num_layers=2, bidirectional=True)
    >>> carries, hs = lstm_stack(layers, None, jnp.ones((7, 2, 3)))
    >>> hs.shape, carries[1].backward.h.shape
    ((7, 2, 10), (2, 5))
    """
    run = functools.partial(lstm, implementation=implementation)
    return stack(run, params, carries, xs, **options)


def _implementation(name):
    if name is None:
        return IMPLEMENTATIONS["scan"]
    if name not in IMPLEMENTATIONS:
        near = difflib.get_close_matches(str(name), IMPLEMENTATIONS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(
            f"implementation is {name!r}, expected None or one of "
            f"{', '.join(map(repr, IMPLEMENTATIONS))}{hint}"
        )
    return IMPLEMENTATIONS[name]
