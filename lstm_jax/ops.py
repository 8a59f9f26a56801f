"""The plain LSTM as one call: a layer, layers on each other, and what modules call."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Bool, Float, Key, Lengths
from lstm_jax.core import init
from lstm_jax.core.arguments import check_floating, check_size, renamed
from lstm_jax.core.cells.checks import check_flags, check_layers
from lstm_jax.core.cells.lstm import LSTMCarry, LSTMCell, LSTMParams, cell_of
from lstm_jax.core.layers.bidirectional import Merge, two_directions
from lstm_jax.core.layers.stack import Skip, Stack
from lstm_jax.core.recurrence import backends
from lstm_jax.core.recurrence.unroll import unroll
from lstm_jax.kernels.cpu import backend as native
from lstm_jax.kernels.cpu import library
from lstm_jax.kernels.cudnn import backend as cudnn
from lstm_jax.kernels.pallas import backend as pallas


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

        i, f, g, o = split(x_t w_x + h_{t-1} w_h + b)
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = sigmoid(o) * tanh(c_t)

    Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    Args:
        params: the weights; see `lstm_jax.init_lstm` and ``LSTMParams.from_gates``.
        carry: ``LSTMCarry(h, c)``, each ``[..., H]``; ``None`` is zeros.
        xs: inputs ``[T, ..., D]``.
        lengths, mask, resets, reset_carry, reverse, dtype, remat: as in
            `lstm_jax.unroll`.
        implementation: ``None`` takes the fastest that supports the call; see
            `lstm_jax.unroll` for the others.

    Returns:
        The final carry and the outputs ``hs``, ``[T, ..., H]``.

    Raises:
        TypeError, ValueError: as `lstm_jax.unroll`; an unknown implementation.
        NotImplementedError: the named implementation does not support the call.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import init_lstm
    >>> params = init_lstm(jax.random.key(0), in_size=3, hidden_size=5)
    >>> carry, hs = lstm(params, None, jnp.ones((7, 2, 3)), lengths=[7, 4])
    >>> hs.shape, bool((hs[4:, 1] == 0).all())
    ((7, 2, 5), True)
    """
    return unroll(
        cell_of(params),
        params,
        carry,
        xs,
        implementation=implementation,
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
    hidden_size: int | Sequence[int],
    *,
    num_layers: int | None = None,
    bidirectional: bool = False,
    w_x: init.Initializer = init.glorot,
    w_h: init.Initializer = init.orthogonal,
    forget_bias: init.ForgetBias = 1.0,
    dtype: Any = jnp.float32,
) -> tuple[Any, ...]:
    """Parameters of `lstm_stack`, one entry per layer.

    Args:
        key, in_size: as in `lstm_jax.init_lstm`.
        hidden_size: hidden units of every layer, or one number a layer.
        num_layers: by default 1, or as many as ``hidden_size`` names.
        bidirectional: layers read the outputs of two directions, side by side; for
            other ways to join layers see `lstm_jax.Stack`.
        w_x, w_h, forget_bias, dtype: as in `lstm_jax.init_lstm`.

    >>> import jax
    >>> layers = init_lstm_stack(
    ...     jax.random.key(0), 3, 5, num_layers=2, bidirectional=True)
    >>> layers[1].forward.w_x.shape
    (10, 20)
    """
    cells = lstm_cells(hidden_size, num_layers)
    stack = Stack(cells, bidirectional=bidirectional)
    return stack.init(
        key, in_size, w_x=w_x, w_h=w_h, forget_bias=forget_bias, dtype=dtype
    )


def lstm_cells(
    hidden_size: int | Sequence[int], num_layers: int | None = None
) -> tuple[LSTMCell, ...]:
    """One LSTM cell a layer, all of one size or each of its own."""
    if isinstance(hidden_size, int | np.integer):
        num_layers = 1 if num_layers is None else num_layers
        check_size("num_layers", num_layers)
        return (LSTMCell(hidden_size),) * num_layers
    if not isinstance(hidden_size, Sequence):
        check_size("hidden_size", hidden_size)
    sizes = tuple(hidden_size)
    if num_layers not in (None, len(sizes)):
        raise ValueError(
            f"num_layers is {num_layers}, expected {len(sizes)}, the number of sizes "
            f"in hidden_size={sizes}, or None."
        )
    return tuple(map(LSTMCell, sizes))


@renamed(reset_carries="reset_carry")
def lstm_stack(
    params: Sequence[Any],
    carries: Sequence[Any] | None,
    xs: Float[Array, "T *B D"],
    *,
    merge: Merge = "concat",
    skip: Skip | None = None,
    input_dropout: float = 0.0,
    dropout: float = 0.0,
    output_dropout: float = 0.0,
    locked: bool = False,
    weight_drop: float = 0.0,
    lengths: Lengths | None = None,
    mask: Bool[Array, "T *B"] | None = None,
    resets: Bool[Array, "T *B"] | None = None,
    reset_carry: Sequence[Any] | None = None,
    reverse: bool = False,
    key: Key[Array, ""] | None = None,
    start: int | Array = 0,
    dtype: Any = None,
    remat: bool | int | None = None,
    implementation: str | None = None,
) -> tuple[tuple[Any, ...], Any]:
    """LSTM layers on top of each other.

    Args:
        params: one entry per layer; a layer in two directions is a ``Bidirectional``.
        carries: likewise; ``None`` is zeros.
        xs: inputs ``[T, ..., D]``.
        merge, skip, input_dropout, dropout, output_dropout, locked, weight_drop: how
            layers are joined and regularised; see `lstm_jax.Stack`.
        lengths, mask, resets, reset_carry, reverse, key, start, dtype, remat: as in a
            call of a `lstm_jax.Stack`. Without ``key`` nothing is dropped.
        implementation: as in `lstm`.

    Returns:
        Every layer's final carry, and the outputs of the last.

    Raises:
        TypeError, ValueError: as a call of a `lstm_jax.Stack`, or ``params`` is empty.
        NotImplementedError: the named implementation does not support a layer.

    >>> import jax, jax.numpy as jnp
    >>> layers = init_lstm_stack(
    ...     jax.random.key(0), 3, 5, num_layers=2, bidirectional=True)
    >>> carries, hs = lstm_stack(layers, None, jnp.ones((7, 2, 3)))
    >>> hs.shape, carries[1].backward.h.shape
    ((7, 2, 10), (2, 5))
    """
    params = check_layers("params", params)
    if not params:
        raise ValueError("params is empty, expected one entry per layer.")
    two_ways = two_directions("params", params)
    stack = Stack(
        [cell_of(p.forward if two_ways else p) for p in params],
        bidirectional=two_ways,
        merge=merge,
        skip=skip,
        input_dropout=input_dropout,
        dropout=dropout,
        output_dropout=output_dropout,
        locked=locked,
        weight_drop=weight_drop,
    )
    return stack(
        params,
        carries,
        xs,
        lengths=lengths,
        mask=mask,
        resets=resets,
        reset_carry=reset_carry,
        reverse=reverse,
        key=key,
        start=start,
        dtype=dtype,
        remat=remat,
        implementation=implementation,
    )


def availability() -> dict[str, str]:
    """Every implementation, and whether it runs here or why it does not."""
    states = dict.fromkeys(backends.NAMED, "available")
    for name, unavailable in (
        ("native", native.unavailable),
        ("cudnn", cudnn.unavailable),
        ("pallas", pallas.unavailable),
    ):
        if reason := unavailable():
            states[name] = f"not available: {reason}"
    if states["native"] == "available":
        states["native"] += f", {library.instruction_set()} instructions"
    return states


def run_stack(
    stack: Stack,
    params: Sequence[Any],
    carries: Sequence[Any] | None,
    xs: Float[Array, "*B T D"],
    *,
    lengths: Lengths | None = None,
    mask: Bool[Array, "*B T"] | None = None,
    resets: Bool[Array, "*B T"] | None = None,
    reset_carry: Sequence[Any] | None = None,
    reverse: bool = False,
    key: Key[Array, ""] | None = None,
    start: int | Array = 0,
    dtype: Any = None,
    remat: bool | int | None = None,
    time_major: bool = False,
    implementation: str | None = None,
) -> tuple[tuple[Any, ...], Any]:
    """A call of ``stack`` on batch-first arrays ``[..., T, D]``: what Flax modules do.

    The axes of ``mask`` and ``resets`` stand in the order of those of ``xs``.
    """
    feature_axes, xs = stack.cells[0].feature_axes, check_floating("xs", xs)
    if xs.ndim < 1 + feature_axes:
        raise ValueError(
            f"xs has shape {xs.shape}, expected "
            f"{'[T, ..., D]' if time_major else '[..., T, D]'}; "
            f"the module takes whole sequences."
        )

    def flags(name, a):
        if a is None or time_major:
            return a
        check_flags(name, a, xs.shape[:-feature_axes], axes="batch and time")
        return jnp.moveaxis(jnp.asarray(a), -1, 0)

    move = lambda a, come, go: a if time_major else jnp.moveaxis(a, come, go)
    carries, hs = stack(
        params,
        carries,
        move(xs, -1 - feature_axes, 0),
        lengths=lengths,
        mask=flags("mask", mask),
        resets=flags("resets", resets),
        reset_carry=reset_carry,
        reverse=reverse,
        key=key,
        start=start,
        dtype=dtype,
        remat=remat,
        implementation=implementation,
    )
    return carries, jax.tree.map(lambda h: move(h, 0, -1 - feature_axes), hs)


def missing_key(regularisers: Sequence[str], advice: str) -> ValueError:
    """What a module raises that has to train and cannot draw its masks."""
    return ValueError(
        f"a call in training has no key for {', '.join(regularisers)}; {advice}."
    )
