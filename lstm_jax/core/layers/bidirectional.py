"""Bidirectional layers."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Bool, Float, Key, Lengths

Merge = Literal["concat", "sum", "mul", "mean", "none"]


class Bidirectional(NamedTuple):
    """One value for each direction, such as parameters or carries."""

    forward: Any
    backward: Any


def bidirectional(
    run: Callable[..., tuple[Any, Array]],
    params: Bidirectional,
    carry: Bidirectional | None,
    xs: Float[Array, "T *B D"] | Bidirectional,
    *,
    lengths: Lengths | None = None,
    mask: Bool[Array, "T *B"] | None = None,
    resets: Bool[Array, "T *B"] | None = None,
    reset_carry: Bidirectional | None = None,
    merge: Merge = "concat",
    key: Key[Array, ""] | None = None,
    start: int | Array | None = None,
    dtype: Any = None,
    remat: bool | int | None = None,
    implementation: str | None = None,
) -> tuple[Bidirectional, Any]:
    """Runs a layer in both directions and merges their outputs.

    The outputs of both directions are aligned with the inputs. Schuster & Paliwal,
    "Bidirectional Recurrent Neural Networks", 1997.

    Args:
        run: runs a layer in one direction, such as `lstm_jax.lstm`. It is called as
            ``run(params, carry, xs, reset_carry=, reverse=)``, with the arguments below
            that are not ``None``. `lstm_jax.lstm` takes neither ``key`` nor ``start``;
            for these, pass ``functools.partial(lstm_jax.unroll, cell)``.
        params: the parameters of both directions.
        carry: the states of both directions; ``None`` is zeros.
        xs: inputs ``[T, ..., D]``, or a `Bidirectional` with the inputs of each
            direction.
        lengths, mask, resets, start, dtype, remat, implementation: as in
            `lstm_jax.unroll`.
        reset_carry: the states at the start of an episode; ``None`` is zeros.
        merge: how to join the two outputs, as in `lstm_jax.Stack`. ``"none"`` returns
            both, in a `Bidirectional`.
        key: split into one key per direction, so their masks differ.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import Bidirectional, bidirectional, init_lstm, lstm
    >>> params = Bidirectional(
    ...     *(init_lstm(key, 3, 5) for key in jax.random.split(jax.random.key(0))))
    >>> carry, hs = bidirectional(
    ...     lstm, params, None, jnp.ones((7, 2, 3)), lengths=[7, 4])
    >>> hs.shape, carry.backward.c.shape
    ((7, 2, 10), (2, 5))
    """
    sequence = dict(
        lengths=lengths,
        mask=mask,
        resets=resets,
        start=start,
        dtype=dtype,
        remat=remat,
        implementation=implementation,
    )
    given = {name: value for name, value in sequence.items() if value is not None}
    none = Bidirectional(None, None)
    carry = none if carry is None else carry
    reset_carry = none if reset_carry is None else reset_carry
    xs = xs if isinstance(xs, Bidirectional) else Bidirectional(xs, xs)
    keys = [{}, {}] if key is None else [{"key": k} for k in jax.random.split(key)]
    ways = zip(params, carry, xs, reset_carry, keys, (False, True), strict=True)
    carries, outputs = zip(
        *(
            run(p, c, x, reset_carry=r, reverse=reverse, **k, **given)
            for p, c, x, r, k, reverse in ways
        ),
        strict=True,
    )
    return Bidirectional(*carries), merged(merge, *outputs)


def merged(merge: Merge, forward: Array, backward: Array) -> Any:
    """Joins the outputs of two directions."""
    match merge:
        case "concat":
            return jnp.concatenate([forward, backward], axis=-1)
        case "sum":
            return forward + backward
        case "mul":
            return forward * backward
        case "mean":
            return (forward + backward) / 2
        case "none":
            return Bidirectional(forward, backward)


def merged_size(merge: Merge, size: int) -> int:
    """Features of the merged output; ``none`` counts one direction."""
    return 2 * size if merge == "concat" else size


def map_ways(f: Callable[..., Any], *values: Any) -> Any:
    """Applies ``f`` to values, or per direction if a value is a `Bidirectional`."""
    if not any(isinstance(v, Bidirectional) for v in values):
        return f(*values)
    both = (v if isinstance(v, Bidirectional) else Bidirectional(v, v) for v in values)
    return Bidirectional(*map(f, *both))


def two_directions(name: str, entries: Sequence[Any]) -> bool:
    """Whether the layers are bidirectional: all of them, or none.

    Raises:
        ValueError: some layers are bidirectional and some are not.
    """
    two = [isinstance(entry, Bidirectional) for entry in entries]
    if len({*two}) > 1:
        said = ", ".join("two" if way else "one" for way in two)
        raise ValueError(
            f"the layers in {name} have different numbers of directions ({said}), "
            f"expected one in all of them or two in all; run a stack of each kind, one "
            f"after the other."
        )
    return bool(two) and two[0]
