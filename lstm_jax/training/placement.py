"""Where the arrays of a training lie: on one device, or on the devices of a mesh.

    batch         split along its rows over the mesh axis ``data``
    tables        embeddings and output layers: split over ``model``, also in a step
    the rest      whole on every device; with ``shard_parameters`` split over all devices
                  between the steps, and gathered for a step

The optimizer state is split like the parameters. A sharding says where numbers lie, not
which numbers they are. So the loss of a run does not depend on the mesh, except for the
order in which sums are rounded.

Only JAX's own tools are used: a `jax.sharding.Mesh` with automatic axes, on which XLA
splits the step and adds the communication. Splitting parameters between the steps is
the idea of ZeRO (Rajbhandari et al. 2020).
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from pydantic import AfterValidator

from lstm_jax._types import PyTree
from lstm_jax.config import ConfigError, config

DATA, MODEL = "data", "model"

TABLES = {"embed": -2, "head": -1}
"""Words in the names of parameters with a row or a column for every token or class, and
the axis of these rows or columns."""


def _check_parts(parts: int) -> int:
    if parts < 1 and parts != -1:
        raise ValueError("must be 1 or more, or -1 for all devices")
    return parts


Parts = Annotated[int, AfterValidator(_check_parts)]


@config
class ParallelConfig:
    """How training is split over devices. It changes no result."""

    data: Parts = 1
    """Number of devices that a batch is split over; -1: all that are left."""
    model: Parts = 1
    """Number of devices that embeddings and output layers are split over; -1: all that
    are left."""
    shard_parameters: bool = False
    """Whether each device stores only a part of the parameters and of the optimizer
    state. It takes less memory and more communication."""

    def __post_init__(self):
        if self.data == self.model == -1:
            raise ValueError("data and model are both -1; set one of them to a number")

    def mesh_shape(self, devices: int) -> tuple[int, int]:
        """The sizes of the mesh axes ``data`` and ``model``.

        Raises:
            ConfigError: there are fewer devices, or not a multiple for -1.

        >>> ParallelConfig(data=-1, model=2).mesh_shape(8)
        (4, 2)
        """
        data, model = self.data, self.model
        if -1 in (data, model):
            known = -data * model
            if devices % known:
                raise ConfigError(
                    f"parallel.data={data} with parallel.model={model} needs a multiple "
                    f"of {known} devices, but there are {devices}; set both to numbers."
                )
            data, model = (devices // known if n == -1 else n for n in (data, model))
        if data * model > devices:
            raise ConfigError(
                f"parallel.data={self.data} and parallel.model={self.model} need "
                f"{data * model} devices, but there are {devices}; lower them, or set "
                f"parallel.data=-1 for all devices."
            )
        return data, model


class Placement:
    """Places arrays on the devices of a mesh.

    Args:
        mesh: has the axes ``data`` and ``model``; ``None`` is one device, where all
            methods return their arrays unchanged.
        shard_parameters: see `ParallelConfig`.
    """

    def __init__(self, mesh: Mesh | None = None, shard_parameters: bool = False):
        self.mesh, self._shard = mesh, shard_parameters

    @classmethod
    def of(cls, config: ParallelConfig) -> "Placement":
        """The placement of a config, on the devices of all processes.

        Raises:
            ConfigError: there are not enough devices, or a process would have none.
        """
        devices = jax.devices()
        data, model = shape = config.mesh_shape(len(devices))
        if data * model == 1 and jax.process_count() == 1:
            return cls()
        used = devices[: data * model]
        idle = {d.process_index for d in devices} - {d.process_index for d in used}
        if idle:
            raise ConfigError(
                f"parallel.data={config.data} and parallel.model={config.model} use "
                f"{data * model} of {len(devices)} devices and leave processes without "
                f"one; set parallel.data=-1."
            )
        types = (AxisType.Auto, AxisType.Auto)
        mesh = Mesh(np.array(used).reshape(shape), (DATA, MODEL), axis_types=types)
        return cls(mesh, config.shard_parameters)

    @property
    def data(self) -> int:
        """The number of parts of a batch."""
        return 1 if self.mesh is None else self.mesh.shape[DATA]

    @property
    def devices(self) -> int:
        """The number of devices."""
        return 1 if self.mesh is None else self.mesh.size

    # Shardings

    @property
    def replicated(self) -> NamedSharding | None:
        """Of arrays that are whole on every device."""
        return None if self.mesh is None else NamedSharding(self.mesh, P())

    def _at_rest(self, path, leaf) -> P:
        """How a parameter is split between the steps."""
        assert self.mesh is not None
        sizes = dict(self.mesh.shape)
        split: list[Any] = [*self._in_step(path, leaf)]
        if not self._shard:
            return P(*split)
        left = [name for name in (DATA, MODEL) if name not in split and sizes[name] > 1]
        # All axes on one axis of the array where possible, else one each.
        for names in [tuple(left), *([name] for name in left)]:
            parts = math.prod(sizes[name] for name in names)
            axis = _largest(leaf.shape, parts, split)
            if axis is not None and not set(names) & set(_flat(split)):
                split[axis] = tuple(names)
        return P(*split)

    def _in_step(self, path, leaf) -> P:
        """How a parameter is split within a step."""
        assert self.mesh is not None
        split: list[Any] = [None] * leaf.ndim
        parts, name = self.mesh.shape[MODEL], jax.tree_util.keystr(path)
        for word, axis in TABLES.items():
            is_table = word in name and leaf.ndim >= -axis
            if parts > 1 and is_table and leaf.shape[axis] % parts == 0:
                split[axis] = MODEL
        return P(*split)

    def _shardings(self, tree, spec):
        make = lambda path, leaf: NamedSharding(self.mesh, spec(path, leaf))
        return jax.tree_util.tree_map_with_path(make, tree)

    def of_state(self, state: Any, rows: int, seeds: int = 1) -> Any:
        """The shardings of a `lstm_jax.training.step.TrainState`.

        Args:
            state: the state, or its shapes.
            rows: rows of a batch, which the carry has along its first axis.
            seeds: number of seeds, which stand before all other axes.
        """
        first = 0 if seeds == 1 else 1

        def of_carry(path, leaf):
            has_rows = leaf.ndim > first and leaf.shape[first] == rows
            return P(*[None] * first, DATA) if has_rows and rows % self.data == 0 else P()

        if self.mesh is None:
            return None
        whole = lambda path, leaf: P()
        return type(state)(
            self._shardings(state.params, self._at_rest),
            self._shardings(state.opt_state, self._at_rest),
            self._shardings(state.average, self._at_rest),
            self._shardings(state.carry, of_carry),
            *(self._shardings(part, whole) for part in state[4:]),
        )

    def _of_rows(self, leaf, axis, before=0) -> NamedSharding:
        assert self.mesh is not None
        split: list[Any] = [None] * leaf.ndim
        if axis is not None:
            split[axis + before] = DATA
        return NamedSharding(self.mesh, P(*split))

    # Inside of a jitted step

    def batch(self, batch: PyTree, axes: PyTree) -> PyTree:
        """A batch, split along its rows.

        Args:
            batch: the arrays.
            axes: the axis of the rows in every array; ``None`` of what has none, or of
                what XLA places. One number may stand for a whole subtree.
        """
        if self.mesh is None:
            return batch

        def split(axis, leaf):
            if axis is None or leaf.shape[axis] % self.data:
                return leaf
            return jax.lax.with_sharding_constraint(leaf, self._of_rows(leaf, axis))

        return map_rows(split, axes, batch)

    def gathered(self, params: PyTree) -> PyTree:
        """Parameters as a step computes with them."""
        return self._constrained(params, self._in_step)

    def scattered(self, gradients: PyTree) -> PyTree:
        """Gradients as the optimizer takes them."""
        return self._constrained(gradients, self._at_rest)

    def _constrained(self, tree, spec):
        if self.mesh is None:
            return tree
        constrain = jax.lax.with_sharding_constraint
        return jax.tree.map(constrain, tree, self._shardings(tree, spec))

    # Outside

    def put(self, tree: PyTree, shardings: PyTree) -> PyTree:
        """Arrays that every process has as a whole, split as ``shardings`` say."""
        if self.mesh is None:
            return tree
        return jax.tree.map(_put, tree, shardings)

    def everywhere(self, tree: PyTree) -> PyTree:
        """Arrays that every process has as a whole, whole on every device."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: _put(leaf, self.replicated), tree)

    def put_rows(self, tree: PyTree, axes: PyTree) -> PyTree:
        """Arrays that every process has as a whole, split along their rows."""
        if self.mesh is None:
            return tree
        return map_rows(
            lambda axis, leaf: _put(leaf, self._of_rows(leaf, axis)), axes, tree
        )

    def own_rows(self, rows: int) -> tuple[int, int]:
        """The first row of this process, and the one after its last.

        The rows are filled up to a multiple of `data`.
        """
        assert self.mesh is not None
        full = -(-rows // self.data) * self.data
        split = NamedSharding(self.mesh, P(DATA))
        own = split.addressable_devices_indices_map((full,)).values()
        bounds = [at[0].indices(full)[:2] for at in own if at is not None]
        return min(first for first, _ in bounds), max(last for _, last in bounds)

    def put_own_rows(self, tree: PyTree, axes: PyTree) -> PyTree:
        """Several batches as one array each, from the rows of this process.

        Args:
            tree: arrays of NumPy; their first axis counts batches.
            axes: the axis of the rows in an array of one batch; see `batch`.
        """
        make = jax.make_array_from_process_local_data

        def put(axis, leaf):
            sharding = self._of_rows(leaf, axis, before=1)
            shape = [*leaf.shape]
            if axis is not None:
                shape[axis + 1] *= self._processes
            return make(sharding, leaf, tuple(shape))

        return map_rows(put, axes, tree)

    @property
    def _processes(self):
        """The number of processes that have different rows."""
        first, last = self.own_rows(self.data)
        return self.data // (last - first)

    def whole(self, tree: PyTree) -> PyTree:
        """Arrays as a whole, on the first device of every process.

        Every process must call it at the same time.
        """
        if self.mesh is None:
            return tree
        same = jax.jit(lambda tree: tree, out_shardings=self.replicated)
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), same(tree))


ONE_DEVICE = Placement()


def map_rows(f, axes: PyTree, batch: PyTree) -> PyTree:
    """``f(axis, leaf)`` of every leaf; an axis of ``axes`` may stand for a subtree.

    >>> map_rows(lambda axis, leaf: (axis, leaf), (1, None), ("xs", {"y": "ys"}))
    ((1, 'xs'), {'y': (None, 'ys')})
    """
    is_axis = lambda axis: axis is None or isinstance(axis, int)
    spread = lambda axis, part: jax.tree.map(lambda leaf: f(axis, leaf), part)
    return jax.tree.map(spread, axes, batch, is_leaf=is_axis)


def _put(leaf, sharding):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
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


def _flat(split):
    for entry in split:
        yield from entry if isinstance(entry, tuple) else (entry,)
