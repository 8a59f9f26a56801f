"""Where the batches of training come from: the device, or the host.

Both kinds have one interface. `Batches.take` gives the data of the next steps to a
jitted block, and `Batches.at` picks the batch of one step inside of it. The position is
the number of the step alone, so a run resumes at any step without a file of its own.

device      all data lie on the device, or are drawn there: a batch is a function of the
            step
host        a `BatchSource` loads batches; threads load the next ones while the device
            works
"""

import concurrent.futures
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Key, PyTree
from lstm_jax.training.placement import ONE_DEVICE, Placement

BatchAt = Callable[[PyTree, PyTree, Array, Key[Array, ""]], tuple[PyTree, PyTree]]
"""``(data, carry, step, key) -> (batch, carry)``: the batch of a step, and the carry
that it starts from. The key is that of the step, for data that are drawn."""


class Batches(Protocol):
    """Batches of training, one per step."""

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps in which all data are seen once; ``None`` where data never end."""
        ...

    def take(self, step: int, limit: int) -> tuple[PyTree, int]:
        """Data of up to ``limit`` steps from ``step`` on, and the number of steps."""
        ...

    @property
    def at(self) -> BatchAt:
        """Picks the batch of a step inside a jitted block."""
        ...

    @property
    def has_weights(self) -> bool:
        """Whether rows of weight 0 may fill up a batch."""
        ...

    def place(self, placement: Placement) -> None:
        """Splits the batches over the devices of a mesh from here on."""
        ...

    def close(self) -> None:
        """Ends threads that load batches."""
        ...


class DeviceBatches:
    """Batches that are functions of the step, from data on the device.

    Args:
        data: what ``at`` reads; all of it stays on the device.
        at: see `BatchAt`.
        steps_per_epoch: see `Batches`.
        axes: the axis of the rows in every array of a batch, as for `Placement.batch`.
        data_axes: likewise in ``data``; ``None``: every device has all of it.
    """

    has_weights = False

    def __init__(
        self,
        data: PyTree,
        at: BatchAt,
        steps_per_epoch: int | None = None,
        *,
        axes: PyTree = None,
        data_axes: PyTree = None,
    ):
        self._data, self._at, self._axes = data, at, axes
        self._data_axes, self._placement = data_axes, ONE_DEVICE
        self.steps_per_epoch = steps_per_epoch

    def place(self, placement: Placement) -> None:
        self._placement = placement
        self._data = placement.put_rows(self._data, self._data_axes)

    def take(self, step: int, limit: int) -> tuple[PyTree, int]:
        del step
        return self._data, limit

    def at(self, data, carry, step, key):
        batch, carry = self._at(data, carry, step, key)
        return self._placement.batch(batch, self._axes), carry

    def close(self) -> None:
        pass


class BatchSource(Protocol):
    """What host batches are loaded from."""

    def plan(self, epoch: int) -> Sequence[Any]:
        """The batches of an epoch in order, each in whatever form `load` takes.

        A function of the epoch and of a seed that the source knows. Every epoch has
        the same number of batches.
        """
        ...

    def load(self, batch: Any) -> PyTree:
        """The arrays of a batch, of NumPy. Only a few shapes should occur: each is
        compiled once. Called from other threads."""
        ...


@runtime_checkable
class Splits(Protocol):
    """What a `BatchSource` also has if its batches can be split over devices."""

    @property
    def axes(self) -> PyTree:
        """The axis of the rows in every array of a batch; see `Placement.batch`."""
        ...

    def rows(self, batch: Any) -> int:
        """The number of rows of a planned batch."""
        ...

    def part(self, batch: Any, first: int, last: int) -> Any:
        """Some rows of a planned batch, in the form that `load` takes.

        A process loads the rows of its own devices only. Rows after the last one of the
        batch are empty and have weight 0.
        """
        ...


class _Held(NamedTuple):
    first: Array
    batches: PyTree


class HostBatches:
    """Batches that threads load while the device works.

    A block takes consecutive batches of one shape. Their arrays go to the device
    together, in room for a fixed number of batches, so that the block is compiled once
    for each shape.

    Args:
        source: see `BatchSource`.
        block: how many batches a block takes at most.
        block_bytes: how large a block may become; a batch that is larger goes alone.
        threads: threads that load batches.
        restarts: whether the carry is zeros at the start of every epoch, as it is for
            a stream that begins again.

    Raises:
        ValueError: from `take`, if epochs have different numbers of batches.
    """

    def __init__(
        self,
        source: BatchSource,
        block: int,
        block_bytes: int = 32 * 2**20,
        threads: int = 2,
        restarts: bool = False,
    ):
        # The rows of a stream have no weights.
        self._restarts, self.has_weights = restarts, not restarts
        self._placement, self._axes = ONE_DEVICE, None
        self._source, self._block, self._block_bytes = source, block, block_bytes
        self._plan = functools.lru_cache(maxsize=2)(source.plan)
        self._threads = threads
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._loading: dict[int, concurrent.futures.Future] = {}

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        if not (steps := len(self._plan(0))):
            raise ValueError("the source plans no batches, expected one or more.")
        return steps

    def take(self, step: int, limit: int) -> tuple[PyTree, int]:
        first = self._batch(step)
        room = self._room(first)
        batches, shapes = [first], _shapes(first)
        while len(batches) < min(limit, room):
            following = self._batch(step + len(batches))
            if _shapes(following) != shapes:
                break
            batches.append(following)
        for done in [at for at in self._loading if at < step + len(batches)]:
            del self._loading[done]
        self._load_ahead(step + len(batches), room)

        def stack(*leaves):
            stacked = np.zeros((room, *leaves[0].shape), leaves[0].dtype)
            for n, leaf in enumerate(leaves):
                stacked[n] = leaf
            return stacked

        stacked = jax.tree.map(stack, *batches)
        held = self._placement.put_batches(stacked, self._axes)
        first = self._placement.everywhere(jnp.asarray(step, jnp.int32))
        return _Held(first, held), len(batches)

    def place(self, placement: Placement) -> None:
        if placement is ONE_DEVICE:
            return
        if not isinstance(self._source, Splits):
            raise ValueError(
                f"{type(self._source).__name__} cannot split its batches over devices; "
                f"add axes, rows and part of lstm_jax.training.batches.Splits to it, "
                f"or train on one device."
            )
        self._placement, self._axes = placement, self._source.axes

    def at(self, data, carry, step, key):
        del key
        n = step - data.first
        pick = lambda a: jax.lax.dynamic_index_in_dim(a, n, keepdims=False)
        if self._restarts:
            carry = restarted(carry, step % self.steps_per_epoch == 0)
        batch = jax.tree.map(pick, data.batches)
        return self._placement.batch(batch, self._axes), carry

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None
        self._loading.clear()

    def _room(self, batch):
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(batch))
        return max(min(self._block, self._block_bytes // max(size, 1)), 1)

    def _batch(self, step):
        """The batch of a step. What goes wrong in a thread is raised here."""
        loading = self._loading.get(step)
        return self._load(step) if loading is None else loading.result()

    def _load_ahead(self, step, count):
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(self._threads, "batches")
        for at in range(step, step + 2 * count):
            if at not in self._loading:
                self._loading[at] = self._pool.submit(self._load, at)

    def _load(self, step):
        epoch, n = divmod(step, self.steps_per_epoch)
        plan = self._plan(epoch)
        if len(plan) != self.steps_per_epoch:
            raise ValueError(
                f"epoch {epoch} has {len(plan)} batches and epoch 0 has "
                f"{self.steps_per_epoch}, expected the same number in every epoch."
            )
        batch = plan[n]
        if isinstance(self._source, Splits) and self._placement is not ONE_DEVICE:
            own = self._placement.own_rows(self._source.rows(batch))
            batch = self._source.part(batch, *own)
        return jax.tree.map(np.asarray, self._source.load(batch))


def restarted(carry: PyTree, starts: Array) -> PyTree:
    """Zeros where a stream ``starts``, and the carry elsewhere."""
    return jax.tree.map(lambda c: jnp.where(starts, 0, c), carry)


def _shapes(batch):
    leaves, structure = jax.tree.flatten(batch)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]
