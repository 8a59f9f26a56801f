"""The confusion matrix as a plot; needs the extra ``plots``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lstm_jax.training.plots import new_figure, save_figure

NUMBERS = 20
"""Up to so many classes, the counts stand in the squares."""


def plot_confusion(confusion: np.ndarray, classes: Sequence[str], path: Path) -> Path:
    """Rows are the true classes, columns the predicted ones; shades are fractions of a
    row.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        RunError: it cannot be written.
    """
    figure, axes = new_figure()
    figure.set_size_inches(7, 6)
    axes.grid(False)
    count = len(classes)
    fractions = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shown = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(shown, label="fraction of the class")
    if count <= NUMBERS:
        for i, j in np.ndindex(count, count):
            color = "white" if fractions[i, j] > 0.5 else "black"
            number = f"{confusion[i, j]:,}"
            axes.text(j, i, number, ha="center", va="center", color=color, fontsize=7)
    at = np.unique(np.linspace(0, count - 1, min(count, NUMBERS)).round().astype(int))
    names = [classes[n] for n in at]
    axes.set_xticks(at, names, rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_yticks(at, names)
    axes.set(xlabel="predicted", ylabel="true")
    return save_figure(figure, path)
