"""Where the arrays of a training lie: on one device, or on the devices of a mesh.

    batch     split along its rows over the mesh axis ``data``
    tables    embeddings and output layers: split over ``model``, also in a step
    the rest  whole on every device; with ``shard_parameters`` split over all devices
              between the steps, and gathered for a step

The optimizer state is split like the parameters. A sharding says where numbers lie, not
which numbers they are. So the loss of a run does not depend on the mesh, except for the
order in which sums are rounded.

Only JAX's own tools are used: a `jax.sharding.Mesh` with automatic axes, on which XLA
splits the step and adds the communication. Splitting parameters between the steps is
the idea of ZeRO (Rajbhandari et al. 2020).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lstm_jax._types import PyTree

DATA, MODEL = "data", "model"

TABLES = {"embed": -2, "head": -1}
"""Words in the names of parameters with a row or a column for every token or class, and
the axis of these rows or columns."""


class Placement:
    """One device: every method returns its arrays as they are."""

    data = 1
    """Number of parts of a batch."""
    devices = 1
    """Number of devices."""
    replicated: NamedSharding | None = None
    """The sharding of an array that is whole on every device."""

    def of_state(self, state: Any, rows: int, seeds: int = 1) -> Any:
        """The shardings of a `lstm_jax.training.step.TrainState`.

        Args:
            state: the state, or its shapes.
            rows: rows of a batch, which the carry has along its first axis.
            seeds: number of seeds, which stand before all other axes.

        Returns:
            A state of shardings; ``None`` on one device.
        """
        del state, rows, seeds

    # Inside of a jitted step

    def batch(self, batch: PyTree, axes: PyTree) -> PyTree:
        """A batch, split along its rows.

        Args:
            batch: the arrays.
            axes: the axis of the rows in every array; ``None`` of what has none, or of
                what XLA places. One number may stand for a whole subtree.
        """
        del axes
        return batch

    def gathered(self, params: PyTree) -> PyTree:
        """Parameters as a step computes with them."""
        return params

    def scattered(self, gradients: PyTree) -> PyTree:
        """Gradients as the optimizer takes them."""
        return gradients

    # Outside of it

    def put(self, tree: PyTree, shardings: PyTree) -> PyTree:
        """Arrays that every process has as a whole, split as ``shardings`` say."""
        del shardings
        return tree

    def everywhere(self, tree: PyTree) -> PyTree:
        """Arrays that every process has as a whole, whole on every device."""
        return tree

    def put_rows(self, tree: PyTree, axes: PyTree) -> PyTree:
        """Arrays that every process has as a whole, split along their rows.

        Args:
            tree: the arrays.
            axes: see `batch`.
        """
        del axes
        return tree

    def own_rows(self, rows: int) -> tuple[int, int]:
        """The first row of this process, and the one after its last.

        The rows are filled up to a multiple of `data`.
        """
        return 0, rows

    def put_batches(self, tree: PyTree, axes: PyTree) -> PyTree:
        """Several batches in one array each, from the rows of this process.

        Args:
            tree: arrays of NumPy; their first axis counts batches.
            axes: the axis of the rows in an array of one batch; see `batch`.
        """
        del axes
        return jax.tree.map(jnp.asarray, tree)

    def whole(self, tree: PyTree) -> PyTree:
        """Arrays as a whole, on the first device of every process.

        Every process must call it at the same time.
        """
        return tree


ONE_DEVICE = Placement()


class OnMesh(Placement):
    """The devices of a mesh, of one or several processes.

    Args:
        mesh: has the axes ``data`` and ``model``.
        shard_parameters: see `lstm_jax.training.parallel.ParallelConfig`.
    """

    def __init__(self, mesh: Mesh, shard_parameters: bool = False):
        self._mesh, self._shards = mesh, shard_parameters
        self.data, self.devices = mesh.shape[DATA], mesh.size
        self.replicated = NamedSharding(mesh, P())
        self._gather = jax.jit(lambda tree: tree, out_shardings=self.replicated)

    # Shardings

    def _in_step(self, path, leaf) -> P:
        """How a parameter is split within a step."""
        split: list[Any] = [None] * leaf.ndim
        parts, name = self._mesh.shape[MODEL], jax.tree_util.keystr(path)
        for word, axis in TABLES.items():
            is_table = word in name and leaf.ndim >= -axis
            if parts > 1 and is_table and leaf.shape[axis] % parts == 0:
                split[axis] = MODEL
        return P(*split)

    def _at_rest(self, path, leaf) -> P:
        """How a parameter is split between the steps."""
        split: list[Any] = [*self._in_step(path, leaf)]
        sizes = {name: size for name, size in self._mesh.shape.items() if size > 1}
        left = [name for name in sizes if name not in split]
        # All mesh axes on one axis of the array where possible, else one each.
        for names in ([left, *([name] for name in left)]) if self._shards else []:
            parts = math.prod(sizes[name] for name in names)
            axis = _largest(leaf.shape, parts, split)
            if axis is not None and not set(names) & {*_names(split)}:
                split[axis] = tuple(names)
        return P(*split)

    def _shardings(self, tree, spec):
        make = lambda path, leaf: NamedSharding(self._mesh, spec(path, leaf))
        return jax.tree_util.tree_map_with_path(make, tree)

    def of_state(self, state: Any, rows: int, seeds: int = 1) -> Any:
        first = 0 if seeds == 1 else 1

        def of_carry(path, leaf):
            has_rows = leaf.ndim > first and leaf.shape[first] == rows
            return (
                P(*[None] * first, DATA) if has_rows and rows % self.data == 0 else P()
            )

        whole = lambda tree: self._shardings(tree, lambda path, leaf: P())
        return state._replace(
            params=self._shardings(state.params, self._at_rest),
            opt_state=self._shardings(state.opt_state, self._at_rest),
            average=self._shardings(state.average, self._at_rest),
            carry=self._shardings(state.carry, of_carry),
            controls=whole(state.controls),
            step=whole(state.step),
            key=whole(state.key),
        )

    def _of_rows(self, leaf, axis, before=0) -> NamedSharding:
        split: list[Any] = [None] * leaf.ndim
        if axis is not None:
            split[axis + before] = DATA
        return NamedSharding(self._mesh, P(*split))

    # Inside of a jitted step

    def batch(self, batch: PyTree, axes: PyTree) -> PyTree:
        def split(axis, leaf):
            if axis is None or leaf.shape[axis] % self.data:
                return leaf
            return jax.lax.with_sharding_constraint(leaf, self._of_rows(leaf, axis))

        return map_rows(split, axes, batch)

    def gathered(self, params: PyTree) -> PyTree:
        return self._constrained(params, self._in_step)

    def scattered(self, gradients: PyTree) -> PyTree:
        # In two steps. If XLA knew only the second, it would split the backward pass in
        # the same way, and gather weights and activations for that.
        summed = self._constrained(gradients, self._in_step)
        return self._constrained(summed, self._at_rest)

    def _constrained(self, tree, spec):
        shardings = self._shardings(tree, spec)
        return jax.tree.map(jax.lax.with_sharding_constraint, tree, shardings)

    # Outside of it

    def put(self, tree: PyTree, shardings: PyTree) -> PyTree:
        return jax.tree.map(_put, tree, shardings)

    def everywhere(self, tree: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: _put(leaf, self.replicated), tree)

    def put_rows(self, tree: PyTree, axes: PyTree) -> PyTree:
        put = lambda axis, leaf: _put(leaf, self._of_rows(leaf, axis))
        return map_rows(put, axes, tree)

    def own_rows(self, rows: int) -> tuple[int, int]:
        full = -(-rows // self.data) * self.data
        split = NamedSharding(self._mesh, P(DATA))
        own = split.addressable_devices_indices_map((full,)).values()
        bounds = [at[0].indices(full)[:2] for at in own if at is not None]
        return min(first for first, _ in bounds), max(last for _, last in bounds)

    def put_batches(self, tree: PyTree, axes: PyTree) -> PyTree:
        first, last = self.own_rows(self.data)
        others = self.data // (last - first)

        def put(axis, leaf):
            shape = [*leaf.shape]
            if axis is not None:
                shape[axis + 1] *= others
            sharding = self._of_rows(leaf, axis, before=1)
            return jax.make_array_from_process_local_data(sharding, leaf, tuple(shape))

        return map_rows(put, axes, tree)

    def whole(self, tree: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), self._gather(tree))


def map_rows(f: Callable[[int | None, Any], Any], axes: PyTree, batch: PyTree):
    """``f(axis, leaf)`` of every leaf; an axis of ``axes`` may stand for a subtree.

    >>> map_rows(lambda axis, leaf: (axis, leaf), (1, None), ("xs", {"y": "ys"}))
    ((1, 'xs'), {'y': (None, 'ys')})
    """
    is_axis = lambda axis: axis is None or isinstance(axis, int)
    spread = lambda axis, part: jax.tree.map(lambda leaf: f(axis, leaf), part)
    return jax.tree.map(spread, axes, batch, is_leaf=is_axis)


def _put(leaf, sharding):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _put(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda at: whole[at])


def _largest(shape: Sequence[int], parts: int, split: Sequence[Any]) -> int | None:
    """The largest axis that can be split into equal parts, of those that are whole."""
    fitting = [
        (size, axis)
        for axis, size in enumerate(shape)
        if split[axis] is None and size and size % parts == 0
    ]
    return max(fitting)[1] if fitting and parts > 1 else None


def _names(split: Sequence[Any]) -> Iterator[Any]:
    for entry in split:
        yield from entry if isinstance(entry, tuple) else (entry,)
