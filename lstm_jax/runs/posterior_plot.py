"""What a recogniser heard when, as a plot; needs the extra ``plots``."""

from pathlib import Path

import numpy as np

from lstm_jax.tasks.transcribing import Posteriors
from lstm_jax.terminal import escape
from lstm_jax.training.plots import new_figure, save_figure

LIKELY = 0.2
"""Tokens that are as probable at some step have a curve."""
INCHES_PER_SECOND = 3.0
WIDEST = 60.0
"""In inches; a longer sound is drawn in less detail."""


def plot_posteriors(found: Posteriors, path: Path) -> Path:
    """The features of a sound, and under them the probabilities of its tokens.

    The horizontal axis is time in seconds. The blank is a dotted grey curve, and each
    token stands over its peaks.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        RunError: it cannot be written.
    """
    figure, (above, below) = new_figure(rows=2)
    seconds = max(len(found.features) * found.frame_seconds, 0.1)
    width = min(max(6.0, 2 + INCHES_PER_SECOND * seconds), WIDEST)
    figure.set_size_inches(width, 5)
    above.grid(False)
    if len(found.features):
        above.imshow(
            found.features.T,
            origin="lower",
            aspect="auto",
            cmap="magma",
            extent=(0, seconds, 0, found.features.shape[1]),
        )
    above.set_ylabel("feature")
    times = (np.arange(len(found.probabilities)) + 0.5) * found.step_seconds
    blank = found.probabilities[:, -1]
    below.plot(times, blank, ":", color="grey", lw=1)
    for token, curve in enumerate(found.probabilities[:, :-1].T):
        if curve.max(initial=0) < LIKELY:
            continue
        (line,) = below.plot(times, curve, lw=1)
        # A dollar would begin a formula.
        name = escape(found.tokens[token]).replace("$", r"\$")
        for peak in _peaks(curve):
            at = times[peak], curve[peak]
            below.annotate(name, at, color=line.get_color(), ha="center", va="bottom")
    below.set(xlim=(0, seconds), ylim=(0, 1.2), xlabel="seconds", ylabel="probability")
    return save_figure(figure, path)


def _peaks(curve):
    """The most likely step of every run of steps above `LIKELY`."""
    edges = np.flatnonzero(np.diff(np.pad(curve >= LIKELY, 1).astype(int)))
    return [a + int(curve[a:b].argmax()) for a, b in edges.reshape(-1, 2)]
