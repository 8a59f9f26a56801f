"""The plots of ``lstm-jax memory``; they need the extra ``plots``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.runs.load import Trained
from lstm_jax.tasks.memory import Memory
from lstm_jax.training.plots import new_figure, save_figure
from lstm_jax.training.run_errors import RunError

COLORS = {
    "lstm": "#08519c",
    "lstm_chrono": "#238b45",
    "gru": "#d94801",
    "rnn": "#6a51a3",
}

NO_GRADIENT = 1e-30
"""Stands for 0, which has no logarithm."""


def task_of(run: Trained) -> Memory:
    """The task of a run of long memory; RunError where it is of another."""
    if not isinstance(run.task, Memory):
        raise RunError(f"{run.run.directory} is no run of the task memory.")
    return run.task


def plot_losses(folder: Path, runs: Mapping[str, Trained]) -> Path:
    """``loss.png``: validation loss against steps, every seed thin and their median.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    figure, axes = new_figure()
    for cell, run in runs.items():
        lines = run.run.evaluations()
        steps = [m["step"] for m in lines]
        each = [m.get("valid_loss_each", [m["valid_loss"]]) for m in lines]
        seeds = np.array(each, float)  # NaN after a seed has stopped or diverged
        axes.plot(steps, seeds, color=COLORS[cell], lw=0.6, alpha=0.5)
        axes.plot(steps, np.nanmedian(seeds, 1), color=COLORS[cell], lw=1.6, label=cell)
    task = task_of(next(iter(runs.values())))
    name, length = task.config.problem.name, task.problem.length
    axes.axhline(task.problem.memoryless, color="0.5", ls=":", label="without a memory")
    axes.set(xlabel="step", ylabel="validation loss", yscale="log")
    axes.set_title(f"{name}, {length:,} steps")
    axes.legend(frameon=False)
    return save_figure(figure, folder / "loss.png")


def plot_gradients(folder: Path, gradients: Mapping[str, Any]) -> Path:
    """``gradient.png``: how much of the loss reaches the state after step t.

    Args:
        folder: where it is written.
        gradients: cell to ``before`` and ``after``, to state, to a norm a step.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    figure, panels = new_figure(columns=2)
    for axes, when in zip(panels, ("before", "after"), strict=True):
        for cell, found in gradients.items():
            for state, norms in found[when].items():
                style = dict(ls="-") if state == "h" else dict(ls="--", lw=1)
                label = cell if state == "h" else None
                # Nothing reads the last c: it has no gradient that could be drawn.
                shown = np.where(np.asarray(norms) > 2 * NO_GRADIENT, norms, np.nan)
                axes.plot(shown, color=COLORS[cell], label=label, **style)
        axes.set(xlabel="t", yscale="log", title=f"{when} training")
        axes.set_ylim(bottom=1e-16)
    panels[0].set_ylabel("|dL/dh_t|, dashed |dL/dc_t|")
    panels[0].legend(frameon=False)
    return save_figure(figure, folder / "gradient.png")
