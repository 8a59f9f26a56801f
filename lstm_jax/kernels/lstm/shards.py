"""Rows sharded over a mesh with explicit axes: each device runs its own rows.

On such a mesh, the type of an array contains its sharding. The kernel accepts any
sharding of the batch axes, and its outputs are sharded like its inputs. Along time,
features and weights it needs whole arrays, which are gathered first.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lstm_jax._types import Array, PyTree


class Place(NamedTuple):
    """The index of the first batch axis of an array, and the number of batch axes."""

    begin: int | None
    rank: int


class Rows(NamedTuple):
    """The sharding of the batch axes: mesh axes, or ``None``, for each."""

    mesh: Mesh | AbstractMesh
    spec: tuple[Any, ...]

    def of(self, place: Place, ndim: int) -> P:
        """The sharding of an array that is not sharded along its other axes."""
        spec: list[Any] = [None] * ndim
        if place.begin is not None:
            spec[place.begin : place.begin + place.rank] = self.spec[: place.rank]
        return P(*spec)

    def axes(self, begin: int = 0) -> tuple[str, ...]:
        """The mesh axes of the batch axes from ``begin`` on."""
        return tuple(name for entry in self.spec[begin:] for name in _names(entry))

    def gathered(self) -> "Rows":
        """All rows on every device."""
        return self._replace(spec=(None,) * len(self.spec))


def rows_of(arrays: Sequence[Array], places: list[Place]) -> Rows | None:
    """The sharding of the rows, from the first array whose type contains it.

    ``None`` if the type of no array contains a sharding. Types do not show mesh axes of
    type Auto and Manual.
    """
    spec: list[Any] = [None] * max((place.rank for place in places), default=0)
    mesh, used = None, set()
    for array, (begin, rank) in zip(arrays, places, strict=True):
        sharding = jax.typeof(array).sharding
        if any(sharding.spec):
            mesh = sharding.mesh
        if begin is None:
            continue
        for axis, entry in enumerate(sharding.spec[begin : begin + rank]):
            names = set(_names(entry))
            if names and spec[axis] is None and not names & used:
                spec[axis] = entry
                used |= names
    return None if mesh is None else Rows(mesh, tuple(spec))


def _names(entry):
    if entry is None:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)


def zeros(shape: tuple[int, ...], dtype: Any, rows: Rows | None, place: Place) -> Array:
    """Zeros whose batch axes are sharded like the rows."""
    if rows is None:
        return jnp.zeros(shape, dtype)
    sharding = NamedSharding(rows.mesh, rows.of(place, len(shape)))
    return jnp.zeros(shape, dtype, out_sharding=sharding)


def gather(arrays: Sequence[Array], places: list[Place], rows: Rows) -> list[Array]:
    """The arrays, sharded only along their batch axes, all in the same way."""
    put = lambda a, place: jax.reshard(
        a, NamedSharding(rows.mesh, rows.of(place, a.ndim))
    )
    return [put(a, place) for a, place in zip(arrays, places, strict=True)]


def like(arrays: list[Array], types: PyTree) -> list[Array]:
    """The arrays, with the sharding of these types."""
    put = lambda a, type: a if jax.typeof(a) == type else jax.reshard(a, type.sharding)
    return [put(a, type) for a, type in zip(arrays, types, strict=True)]


def by_members(f: Callable, members: list[Array], shared: list[Array]) -> list[Array]:
    """Runs ``f(members, shared)`` on each device for its part of the first axis.

    Other axes keep their sharding, unless they use the mesh axes of the first.
    """
    rows = rows_of(members, [Place(0, 1)] * len(members))
    if rows is None or rows.spec == (None,):
        return f(members, shared)
    own = P(*rows.spec)

    def put(a, first):
        spec = [*first, *jax.typeof(a).sharding.spec[len(first) :]]
        taken = [set(_names(entry)) & set(rows.axes()) for entry in spec]
        for axis in range(len(first), a.ndim):
            spec[axis] = None if taken[axis] else spec[axis]
        return jax.reshard(a, NamedSharding(rows.mesh, P(*spec)))

    run = jax.shard_map(
        f,
        mesh=rows.mesh,
        in_specs=([own] * len(members), [P()] * len(shared)),
        out_specs=own,
        axis_names=set(rows.axes()),
    )
    return run([put(a, own) for a in members], [put(a, ()) for a in shared])
