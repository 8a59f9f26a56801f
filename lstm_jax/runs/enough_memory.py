"""Whether a training fits into memory: an estimate before anything is allocated."""

import contextlib
from pathlib import Path

import jax
import jax.numpy as jnp

from lstm_jax._types import PyTree
from lstm_jax.config import ConfigError
from lstm_jax.core.arguments import seed_key
from lstm_jax.training.step import init_state
from lstm_jax.training.task import Task

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files with the limit of a container."""


def check_training_fits(task: Task, optimizer) -> None:
    """Refuses a training whose state alone is larger than the memory that is available.

        state   parameters, what the optimizer keeps of them, their average, the carry
        needed  seeds * (state + 2 * parameters)     gradients, and the best parameters

    What a step and the data need comes on top, so a training that is let through may
    still be too large.

    Raises:
        ConfigError: with both sizes, and what to change.
    """
    config = task.config
    averaging = config.optimizer.averaging()

    def first(key):
        params = task.init(key)
        return init_state(params, task.init_carry(), optimizer, key, averaging)

    state = jax.eval_shape(first, seed_key(0))
    params = size_of(state.params)
    needed = config.train.seeds * (size_of(state) + 2 * params)
    seeds = f"{config.train.seeds} seeds of " if config.train.seeds > 1 else ""
    _refuse(
        needed,
        f"training {seeds}{_count_of(state.params):,} parameters with optimizer.kind="
        f"{config.optimizer.kind}",
        "lower model.hidden_size or model.num_layers, train.batch_size or train.seeds",
    )


def check_weights_fit(params: PyTree) -> None:
    """Refuses to restore weights that are larger than the memory that is available.

    Args:
        params: their shapes and dtypes.

    Raises:
        ConfigError: with both sizes.
    """
    what = f"a run of {_count_of(params):,} parameters"
    _refuse(size_of(params), what, "use a machine with more memory")


def _refuse(needed, what, remedy):
    available = available_memory()
    if available is not None and needed > available:
        raise ConfigError(
            f"{what} needs {_in_words(needed)} of memory or more, but "
            f"{_in_words(available)} are available; {remedy}."
        )


def size_of(tree: PyTree) -> int:
    """Bytes of all arrays, or of what has their shapes."""
    keys = lambda a: jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
    leaves = [a for a in jax.tree.leaves(tree) if not keys(a)]
    return sum(a.size * a.dtype.itemsize for a in leaves)


def _count_of(params):
    return sum(a.size for a in jax.tree.leaves(params))


def available_memory() -> int | None:
    """Bytes that the device has for us; ``None`` where nothing says so."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    found = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                found.append(int(rest.split()[0]) * 1024)
    for limit in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max" where there is none
            found.append(int(Path(limit).read_text(encoding="ascii")))
    return min(found, default=None)


def _in_words(size):
    """``3.2 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
