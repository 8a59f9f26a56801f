"""Logs how open the gates are while a run is trained."""

from typing import Any

import numpy as np

from lstm_jax.runs.examined import examine
from lstm_jax.training.metrics import finite
from lstm_jax.training.run_folder import Run
from lstm_jax.training.step import one_seed
from lstm_jax.training.task import Task
from lstm_jax.training.trainer import Hook, Trainer

PREFIX = "gate "
"""The names in metrics.jsonl begin with this: ``gate lstm.0 f mean``."""


class LogGates(Hook):
    """Writes the gates of the first seed to ``metrics.jsonl``.

    Every layer has the mean of each gate, the fractions of its values that are closed
    and open, and the median number of steps that a unit remembers.

    Args:
        every: steps between two logs.
        task: has the example that the model reads.
        run: where the numbers are written.
    """

    def __init__(self, every: int, task: Task, run: Run):
        self.every, self._task, self._run = every, task, run

    def at(self, trainer: Trainer) -> None:
        if not trainer.live[0]:
            return
        seeds = trainer.config.seeds
        params = one_seed(trainer.weights, 0, seeds)
        found: dict[str, Any] = {}
        for layer in examine(self._task, params).layers:
            for gate, numbers in layer.gate_numbers().items():
                for name, value in numbers._asdict().items():
                    found[f"{PREFIX}{layer.name} {gate} {name}"] = value
            if (steps := layer.memory()) is not None:
                found[f"{PREFIX}{layer.name} remembers"] = float(np.median(steps))
        values = dict(zip(found, finite(found.values()), strict=True))
        self._run.log([{"step": trainer.step} | values | trainer.times()])
