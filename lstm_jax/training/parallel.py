"""How a config splits training over devices."""

from collections import Counter
from typing import Annotated

import jax
import numpy as np
from jax.sharding import AxisType, Mesh
from pydantic import AfterValidator

from lstm_jax.config import ConfigError, config
from lstm_jax.training.placement import DATA, MODEL, ONE_DEVICE, OnMesh, Placement


def _check_parts(parts: int) -> int:
    if parts < 1 and parts != -1:
        raise ValueError("must be 1 or more, or -1 for all devices")
    return parts


KEYS = frozenset({"parallel.data", "parallel.model", "parallel.shard_parameters"})
"""The keys of a config that say how training is split, and change no result."""

Parts = Annotated[int, AfterValidator(_check_parts)]


@config
class ParallelConfig:
    """How training is split over devices. It changes no result but for rounding."""

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
            ConfigError: there are too few devices, or they cannot be divided for -1.

        >>> ParallelConfig(data=-1, model=2).mesh_shape(8)
        (4, 2)
        """
        data, model = self.data, self.model
        if -1 in (data, model):
            known = -data * model
            if devices % known:
                raise ConfigError(
                    f"parallel.data={data} with parallel.model={model} needs a "
                    f"multiple of {known} devices, but there are {devices}; set both "
                    f"to numbers."
                )
            data, model = (devices // known if n == -1 else n for n in (data, model))
        if data * model > devices:
            raise ConfigError(
                f"parallel.data={self.data} and parallel.model={self.model} need "
                f"{data * model} devices, but there are {devices}; lower one of them."
            )
        return data, model

    def placement(self) -> Placement:
        """Where arrays lie, on the devices of all processes.

        Raises:
            ConfigError: see `mesh_shape`; or a process would have no device to use.
        """
        devices = jax.devices()
        shape = self.mesh_shape(len(devices))
        count = shape[0] * shape[1]
        if count == 1 and jax.process_count() == 1:
            if self.shard_parameters:
                raise ConfigError(
                    "parallel.shard_parameters=true needs several devices; set "
                    "parallel.data=-1 for all devices, or shard_parameters=false."
                )
            return ONE_DEVICE
        used = devices[:count]
        own = Counter(d.process_index for d in used)
        each = count // jax.process_count()
        rows = each % shape[1] == 0 or shape[1] % max(each, 1) == 0
        if {*own.values()} != {each} or len(own) < jax.process_count() or not rows:
            raise ConfigError(
                f"parallel.data={self.data} and parallel.model={self.model} use "
                f"{count} of {len(devices)} devices, which are not split evenly over "
                f"{jax.process_count()} processes; set parallel.data=-1."
            )
        types = (AxisType.Auto, AxisType.Auto)
        mesh = Mesh(np.array(used).reshape(shape), (DATA, MODEL), axis_types=types)
        return OnMesh(mesh, self.shard_parameters)
