"""The curves of a run as PNG files; needs the extra ``plots``."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax import files
from lstm_jax.training.progress import PLAIN, Unit
from lstm_jax.training.record import Run, cannot_write


def plot_run(run: Run, unit: Unit = PLAIN) -> list[Path]:
    """Writes ``loss.png``, in ``unit``, and ``learning_rate.png``; returns their paths.

    There are none of a run that has lost its metrics.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        RunError: the metrics cannot be read.
    """
    metrics = run.metrics()
    train = [line for line in metrics if "loss" in line]
    if not train:
        return []
    valid = [line for line in metrics if "valid_loss" in line]
    steps = np.array([line["step"] for line in train])
    losses = unit.convert(np.array([line["loss"] for line in train]))

    def loss(axes):
        axes.plot(steps, losses, color="#9ecae1", lw=0.6, label="training, each step")
        width = max(len(losses) // 100, 1)
        mean = np.convolve(losses, np.ones(width) / width, "valid")
        label = f"training, mean of {width} steps"
        axes.plot(steps[width - 1 :], mean, color="#08519c", lw=1.5, label=label)
        if valid:
            x = [line["step"] for line in valid]
            y = [unit.convert(line["valid_loss"]) for line in valid]
            axes.plot(x, y, "o-", color="#d94801", ms=3, lw=1.2, label="validation")
            bottom, top = min(y + list(mean)) * 0.95, np.quantile(losses, 0.99)
            if bottom < top:
                axes.set_ylim(bottom, top)
        axes.set(xlabel="step", ylabel=unit.axis)
        axes.legend(frameon=False)

    def learning_rate(axes):
        axes.plot(steps, [line["learning_rate"] for line in train], color="#08519c")
        axes.set(xlabel="step", ylabel="learning rate")

    return [
        _draw(run.path("loss.png"), loss),
        _draw(run.path("learning_rate.png"), learning_rate),
    ]


def _draw(path, curves):
    figure, axes = new_figure()
    curves(axes)
    return save_figure(figure, path)


def new_figure(columns: int = 1) -> tuple[Any, Any]:
    """A matplotlib figure, and its axes or, of several side by side, an array of them.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    Figure = _figure()
    figure = Figure(figsize=(7 if columns == 1 else 10, 4), layout="constrained")
    panels = figure.subplots(1, columns, sharey=True)
    for axes in np.ravel(panels):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure, panels


def _figure():
    """Matplotlib's class, which draws to files with no window and no backend.

    A backend in the environment, such as that of a notebook, may not be installed
    here: matplotlib would refuse to be imported.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        from matplotlib.figure import Figure
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return Figure


def save_figure(figure: Any, path: Path) -> Path:
    """Writes a matplotlib figure; RunError where it cannot be written."""
    try:
        with files.writing(path) as file:
            figure.savefig(file, dpi=120, format=path.suffix[1:])
    except OSError as error:
        raise cannot_write(path, error, "its checkpoints are intact") from error
    return path
