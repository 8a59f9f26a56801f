"""The training state on disk, through Orbax: written aside, then renamed into place."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from lstm_jax.training.step import TrainState


class Checkpoints:
    """The last checkpoints of a run, and the best by validation loss."""

    def __init__(self, directory: Path, keep: int = 2):
        options = lambda **kw: ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False, **kw
        )
        directory = directory.absolute()
        self._last = ocp.CheckpointManager(
            directory / "last", options=options(max_to_keep=keep)
        )
        self._best = ocp.CheckpointManager(
            directory / "best", options=options(max_to_keep=1)
        )

    @property
    def last_step(self) -> int | None:
        return self._last.latest_step()

    @property
    def best_step(self) -> int | None:
        return self._best.latest_step()

    def save(self, state: TrainState) -> None:
        step = int(state.step)
        if step != self.last_step:
            self._last.save(step, args=ocp.args.StandardSave(_arrays(state)))

    def save_best(self, state: TrainState) -> None:
        """The parameters at ``state``, in place of the best before."""
        if self.best_step is not None and self.best_step >= int(state.step):
            # Left by a run that was killed later on and resumed from before.
            self._best.delete(self.best_step)
        self._best.save(int(state.step), args=ocp.args.StandardSave(state.params))

    def restore(self, like: TrainState) -> TrainState:
        """The last state, in the structure, dtypes and shapes of ``like``."""
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, _arrays(like))
        state: Any = self._last.restore(
            self.last_step, args=ocp.args.StandardRestore(target)
        )
        return state._replace(key=jax.random.wrap_key_data(state.key))

    def restore_best(self, like):
        """The best parameters, in the structure of ``like``."""
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        return self._best.restore(self.best_step, args=ocp.args.StandardRestore(target))


def _arrays(state):
    """Orbax stores arrays; a typed key goes as its data."""
    return state._replace(key=jax.random.key_data(state.key))
