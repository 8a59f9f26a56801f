"""Automatic sharding: XLA divides the rows of a call over the devices.

On a mesh with axes of type Auto, XLA decides how every array is sharded, after JAX has
lowered the program. It does not know that the rows of the kernel are independent, so it
would gather them all on every device. `by_rows` tells it. While XLA compiles, it calls
back for the program that one device runs.

No other process can call back. So a program of `jax.export` gathers the rows.
"""

import dataclasses
import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental.custom_partitioning import (
    ArrayMapping,
    SdyShardingRule,
    custom_partitioning,
)
from jax.sharding import Mesh, NamedSharding

from lstm_jax._types import Array
from lstm_jax.kernels.lstm.shards import Place, Rows


def lowering(whole: Callable, divided: Callable) -> Callable:
    """The rule ``divided``, which may use `by_rows`, if XLA divides the arrays.

    Otherwise ``whole``: on one device, inside ``shard_map``, and for ``jax.export``.
    """

    def rule(ctx, *operands, **static):
        module = ctx.module_context
        devices = _some_devices(module)
        if len(devices) == 1:
            return whole(ctx, *operands, **static)
        axes = dataclasses.replace(module.axis_context, device_assignment=devices)
        ctx = ctx.replace(module_context=module.replace(axis_context=axes))
        return divided(ctx, *operands, **static)

    return rule


def _some_devices(module):
    """As many devices as XLA divides arrays over.

    JAX describes shardings by devices, but does not say on which ones this program
    will run. Any do: for XLA a sharding only has their numbers.
    """
    count = getattr(module.axis_context, "num_devices", 1)
    devices = tuple(jax.devices()[:count])
    by_shardy = getattr(jax.config, "jax_use_shardy_partitioner", True)
    if module.lowering_parameters.for_export or not by_shardy or len(devices) < count:
        return devices[:1]
    return devices


def name_of(primitive: str, static: dict[str, Any]) -> str:
    """A name for what a primitive computes with these parameters."""
    parameters = repr(sorted(static.items())).encode()
    return f"{primitive}_{hashlib.sha256(parameters).hexdigest()[:16]}"


def by_rows(
    f: Callable[..., list[Array]],
    arrays: Sequence[Array],
    places: Sequence[Place],
    out_types: Sequence[Any],
    out_places: Sequence[Place],
    name: str,
) -> list[Array]:
    """``f(*arrays)``, by each device for its own rows.

    Results with fewer batch axes than the rows are summed over the other axes. No other
    function may have this ``name``: in JAX's cache of compiled programs it stands for
    ``f``, which XLA sees only later.
    """
    numbers, whole = itertools.count(), []

    def axes_of(a, place):
        names = [f"whole{next(numbers)}" for _ in range(a.ndim - place.rank)]
        whole.extend(names)
        begin = place.begin or 0
        names[begin:begin] = [f"rows{n}" for n in range(place.rank)]
        return ArrayMapping(*names)

    rule = SdyShardingRule(
        tuple(map(axes_of, arrays, places)),
        tuple(map(axes_of, out_types, out_places)),
        need_replication_factors=tuple(whole),
    )
    divided = custom_partitioning(lambda *arrays: f(*arrays))
    program = functools.partial(_program, f, [*places, *out_places])
    divided.def_partition(program, sharding_rule=rule, decode_shardings=False)
    named = lambda *arrays: divided(*arrays)
    named.__name__ = name
    return jax.jit(named)(*arrays)


def _program(f, places, _, operands, results):
    """What one device runs, and the shardings of its operands and results."""
    arrays, n = [*operands, *results], len(operands)
    rank = max(place.rank for place in places)
    # XLA may divide arrays of one call differently. The smallest parts need the least
    # communication.
    each = zip(arrays, places, strict=True)
    found = [_rows_of(a, place) for a, place in each if place.rank == rank]
    rows = max(found, key=_number_of_parts)

    def own(*arrays):
        out = zip(f(*arrays), places[n:], strict=True)
        return [lax.psum(a, rows.axes(place.rank)) for a, place in out]

    each = zip(arrays, places, strict=True)
    shardings = [NamedSharding(rows.mesh, rows.of(place, a.ndim)) for a, place in each]
    return rows.mesh, own, shardings[n:], tuple(shardings[:n])


def _number_of_parts(rows):
    return math.prod(rows.mesh.shape[name] for name in rows.axes())


def _rows_of(a, place):
    """How the batch axes of an array are sharded, on a mesh made for that.

    The array's own sharding has no mesh, and may split an axis of the user's mesh. An
    axis of a prime length cannot be split.
    """
    batch = slice(place.begin, place.begin + place.rank)
    try:
        parts = a.sharding.devices_indices_map(a.shape)
        lengths = a.sharding.shard_shape(a.shape)[batch]
    except ValueError:  # XLA fills up parts of unequal lengths with meaningless rows
        return _whole(a.sharding.device_set, place.rank)
    begins = [[axis.start or 0 for axis in part[batch]] for part in parts.values()]
    numbers = np.asarray(begins) // lengths
    for sizes in _products_of_primes(len(parts)):
        rows = _rows_on(np.asarray([*parts]).reshape(sizes), numbers)
        sharding = NamedSharding(rows.mesh, rows.of(place, a.ndim))
        same = sharding.devices_indices_map(a.shape)
        if all(same[device][batch] == part[batch] for device, part in parts.items()):
            return rows
    return _whole(parts, place.rank)


def _whole(devices, rank):
    return Rows(Mesh(np.asarray([*devices]), "all"), (None,) * rank)


def _rows_on(devices, numbers):
    """The sharding for parts with these ``numbers`` ``[devices, rank]``, if any."""
    names = [f"axis{n}" for n in range(devices.ndim)]
    numbers = numbers.reshape(*devices.shape, -1)
    # From the first device to the next one along each axis of the mesh.
    steps = numbers[tuple(np.eye(devices.ndim, dtype=int))]
    spec = []
    for axis, along in enumerate(steps.T):
        mine = [n for n in np.argsort(-along) if along[n] and not steps[n, :axis].any()]
        spec.append(tuple(names[n] for n in mine) or None)
    return Rows(Mesh(devices, names), tuple(spec))


def _products_of_primes(n: int) -> Iterator[tuple[int, ...]]:
    """All ways to write ``n`` as an ordered product of primes."""
    if n == 1:
        yield ()
    for p in range(2, n + 1):
        if n % p == 0 and all(p % q for q in range(2, p)):
            yield from ((p, *rest) for rest in _products_of_primes(n // p))
