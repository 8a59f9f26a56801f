"""The curves of a run as PNG files; needs the extra ``plots``."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax import files
from lstm_jax.training.metrics import PLAIN, Metric, Metrics
from lstm_jax.training.run_errors import cannot_write
from lstm_jax.training.run_folder import Run

WIDE = 20.0
"""Curves whose values have a larger ratio are drawn on a logarithmic axis."""


def plot_run(run: Run, metrics: Metrics = PLAIN) -> list[Path]:
    """Writes a plot of each metric, and ``learning_rate.png``; returns their paths.

    A metric is drawn in the unit of the first metric that is computed from it. A run
    without metrics has no plots.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        RunError: the metrics cannot be read.
    """
    lines = run.metrics()
    if not any("loss" in line for line in lines):
        return []
    paths = []
    for name in ["loss", *(name for name, m in metrics.items() if not m.of)]:
        path = run.path(f"{name}.png")
        if path not in paths and (curves := _curves_of(name, metrics, lines)):
            paths.append(_draw(path, curves))
    return [*paths, _draw(run.path("learning_rate.png"), _learning_rate(lines))]


def _curves_of(name, metrics, lines):
    """Draws training and validation of a metric; ``None`` if it was not measured."""
    title, metric = shown_as(name, metrics)
    train = curve(name, metric, lines)
    valid = curve(f"valid_{name}", metric, lines)
    if not len(train[0]) and not len(valid[0]):
        return None

    def curves(axes):
        smooth = np.array([])
        if len(train[0]):
            steps, values = train
            axes.plot(
                steps, values, color="#9ecae1", lw=0.6, label="training, each step"
            )
            width = max(len(values) // 100, 1)
            smooth = np.convolve(values, np.ones(width) / width, "valid")
            label = f"training, mean of {width} steps"
            axes.plot(steps[width - 1 :], smooth, color="#08519c", lw=1.5, label=label)
        if len(valid[0]):
            axes.plot(*valid, "o-", color="#d94801", ms=3, lw=1.2, label="validation")
        if len(train[0]) and len(valid[0]) and metric.better == "lower":
            lowest, top = min([*valid[1], *smooth]), np.quantile(train[1], 0.99)
            bottom = lowest - 0.05 * abs(lowest)
            if bottom < top:
                axes.set_ylim(bottom, top)
        values = np.concatenate([train[1], valid[1]])
        scale = "log" if metric.scale == "log" or is_wide(values) else "linear"
        axes.set(xlabel="step", ylabel=title, yscale=scale)
        axes.legend(frameon=False)

    return curves


def shown_as(name: str, metrics: Metrics) -> tuple[str, Metric]:
    """The title of a metric, and how it is shown: as the first one that is computed
    from it, if there is one.
    """
    derived = (
        (other, metric) for other, metric in metrics.items() if metric.of == name
    )
    shown, metric = next(derived, (name, metrics.get(name, Metric())))
    said = shown.replace("_", " ")
    unit = "" if metric.unit in said else f" ({metric.unit})"
    return metric.label or said + unit, metric


def is_wide(values: np.ndarray) -> bool:
    """Whether values span so much that a linear axis would hide the lower ones."""
    lowest = values.min()
    return bool(lowest > 0 and values.max() > WIDE * lowest)


def curve(
    name: str, metric: Metric, lines: Sequence[Mapping[str, Any]]
) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a metric, at the steps where it was measured."""
    found = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
    steps, values = np.array(found, float).reshape(-1, 2).T
    return steps, np.asarray(metric.convert(values))


def _learning_rate(lines):
    def curves(axes):
        steps, rates = curve("learning_rate", Metric(), lines)
        axes.plot(steps, rates, color="#08519c")
        axes.set(xlabel="step", ylabel="learning rate")

    return curves


def _draw(path, curves):
    figure, axes = new_figure()
    curves(axes)
    return save_figure(figure, path)


def new_figure(columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    """A matplotlib figure and its axes, or an array of axes if there are several.
    Columns share the vertical axis, rows the horizontal one.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    Figure = _figure()
    figure = Figure(figsize=(7 if columns == 1 else 10, 4), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=rows > 1, sharey=columns > 1)
    for axes in np.ravel(panels):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure, panels


def _figure():
    """Matplotlib's figure class, which draws to files without a window or backend.

    The environment may name a backend that is not installed, such as that of a
    notebook. Then the usual import of matplotlib fails.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        from matplotlib.figure import Figure
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return Figure


def save_figure(figure: Any, path: Path) -> Path:
    """Writes a matplotlib figure; raises RunError if it cannot be written."""
    try:
        with files.writing(path) as file:
            figure.savefig(file, dpi=120, format=path.suffix[1:])
    except OSError as error:
        raise cannot_write(path, error, "its checkpoints are intact") from error
    return path
