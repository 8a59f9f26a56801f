"""Layers on top of each other, in one direction or in two."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from lstm_jax._types import Array, Float, Key
from lstm_jax.core.bidirectional import Bidirectional, bidirectional
from lstm_jax.core.cell import Cell
from lstm_jax.core.dropout import dropout


def init_stack(
    cell: Cell,
    key: Key[Array, ""],
    in_size: int,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    **init: Any,
) -> tuple[Any, ...]:
    """Parameters of a stack, a tuple with one entry a layer.

    An entry is what ``cell.init(key, in_size, **init)`` returns, or a `Bidirectional`
    of two. Layers after the first read ``cell.out_size`` features, twice as many
    after two directions.
    """
    if num_layers < 1:
        raise ValueError(f"num_layers is {num_layers}, expected 1 or more.")
    layers, features = [], in_size
    for layer_key in jax.random.split(key, num_layers):
        if bidirectional:
            keys = jax.random.split(layer_key)
            layers.append(
                Bidirectional(*(cell.init(k, features, **init) for k in keys))
            )
        else:
            layers.append(cell.init(layer_key, features, **init))
        features = cell.out_size * (2 if bidirectional else 1)
    return tuple(layers)


def stack(
    run: Callable[..., tuple[Any, Array]],
    params: Sequence[Any],
    carries: Sequence[Any] | None,
    xs: Float[Array, "T *B D"],
    *,
    reset_carries: Sequence[Any] | None = None,
    dropout_rate: float = 0.0,
    key: Key[Array, ""] | None = None,
    start: int | Array = 0,
    **sequence: Any,
) -> tuple[tuple[Any, ...], Float[Array, "T *B _"]]:
    """Runs layers one after the other and returns every layer's final carry.

    Args:
        run: one layer in one direction, ``run(params, carry, xs, **sequence)``.
        params: one entry a layer; a `Bidirectional` runs in both directions.
        carries: likewise; ``None`` is zeros everywhere.
        xs: inputs ``[T, ..., D]``.
        reset_carries: likewise, the states at the start of an episode.
        dropout_rate: share of the values zeroed between layers (not after the last).
        key: key of the dropout masks, which are a function of (key, layer, absolute
            step); ``None`` switches dropout off.
        start: absolute step of ``xs[0]``, for a sequence that comes in pieces.
        **sequence: lengths, mask, resets, dtype, as in `lstm_jax.unroll`.

    Raises:
        ValueError: ``carries`` or ``reset_carries`` do not have one entry a layer.
    """
    carries = _one_a_layer("carries", carries, len(params))
    reset_carries = _one_a_layer("reset_carries", reset_carries, len(params))
    final = []
    for layer, (p, c, r) in enumerate(zip(params, carries, reset_carries, strict=True)):
        if layer > 0 and key is not None:
            xs = dropout(jax.random.fold_in(key, layer), xs, dropout_rate, start)
        if isinstance(p, Bidirectional):
            c, xs = bidirectional(run, p, c, xs, reset_carry=r, **sequence)
        else:
            c, xs = run(p, c, xs, reset_carry=r, **sequence)
        final.append(c)
    return tuple(final), xs


def _one_a_layer(name, entries, layers):
    if entries is None:
        return (None,) * layers
    if len(entries) != layers:
        raise ValueError(
            f"{name} has {len(entries)} entries, expected {layers}, one a layer; "
            f"pass None for zeros."
        )
    return entries
