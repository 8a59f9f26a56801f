"""Forecasts of a series with their prediction intervals as a plot; needs the extra
``plots``."""

from pathlib import Path

import numpy as np

from lstm_jax.tasks.abilities import Fan
from lstm_jax.terminal import escape
from lstm_jax.training.plots import new_figure, save_figure


def draw_fan(path: Path, fan: Fan) -> Path:
    """The truth, every forecast, and a band for each pair of quantiles.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        RunError: it cannot be written.
    """
    figure, axes = new_figure()
    axes.plot(fan.times, fan.values, color="#525252", lw=1, label="truth")
    horizon = fan.forecasts.shape[1]
    for n, start in enumerate(fan.starts):
        times = fan.times[start : start + horizon]
        # Only the first of each kind is named in the legend.
        name = (lambda text: text) if n == 0 else (lambda text: f"_{text}")
        for k, (percent, low, high) in enumerate(fan.bands):
            shade = 0.15 + 0.5 * k / max(len(fan.bands), 1)
            axes.fill_between(
                times,
                low[n],
                high[n],
                color="#6baed6",
                alpha=shade,
                lw=0,
                label=name(f"{percent:g}%"),
            )
        line = fan.forecasts[n]
        axes.plot(times, line, color="#d94801", lw=1.2, label=name("forecast"))
    axes.set(title=escape(fan.name, keep=""), xlabel="time")
    if not np.issubdtype(fan.times.dtype, np.integer):
        figure.autofmt_xdate()
    axes.legend(frameon=False, fontsize=8)
    return save_figure(figure, path)
