"""Bidirectional layers."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float, Key

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
    reset_carry: Bidirectional | None = None,
    merge: Merge = "concat",
    key: Key[Array, ""] | None = None,
    **sequence: Any,
) -> tuple[Bidirectional, Any]:
    """Runs a layer in both directions and merges their outputs.

    ``run(params, carry, xs, reset_carry=, reverse=, **sequence)`` runs a layer in one
    direction, such as `lstm_jax.lstm`. The outputs of both directions are aligned with
    the inputs. ``merge="none"`` returns a `Bidirectional` of both outputs, and ``xs``
    may be a `Bidirectional` too. With a key, the two directions have different masks.
    """
    none = Bidirectional(None, None)
    carry = none if carry is None else carry
    reset_carry = none if reset_carry is None else reset_carry
    xs = xs if isinstance(xs, Bidirectional) else Bidirectional(xs, xs)
    keys = [{}, {}] if key is None else [{"key": k} for k in jax.random.split(key)]
    ways = zip(params, carry, xs, reset_carry, keys, (False, True), strict=True)
    carries, outputs = zip(
        *(
            run(p, c, x, reset_carry=r, reverse=reverse, **k, **sequence)
            for p, c, x, r, k, reverse in ways
        ),
        strict=True,
    )
    return Bidirectional(*carries), _merge(merge, *outputs)


def _merge(merge, forward, backward):
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
