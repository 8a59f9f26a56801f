"""Metrics over the steps of training, as charts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_jax.report.elements import Chart, Line
from lstm_jax.runs.gate_log import PREFIX
from lstm_jax.training.metrics import Metric, Metrics
from lstm_jax.training.plots import curve, is_wide, shown_as

Lines = Sequence[Mapping[str, Any]]
"""The lines of metrics.jsonl."""


def curves(runs: Mapping[str, Lines], metrics: Metrics) -> list[Chart]:
    """A chart of every metric that was measured, and one of the learning rate.

    Args:
        runs: the metrics of every run, by its name; the name of a single run is not
            shown.
        metrics: how the metrics of the task are shown.
    """
    names = ["loss", *(name for name, metric in metrics.items() if not metric.of)]
    charts = [_chart(name, runs, metrics) for name in dict.fromkeys(names)]
    rates = [
        Line(
            _named(run, "learning rate", runs), *curve("learning_rate", Metric(), lines)
        )
        for run, lines in runs.items()
    ]
    charts.append(Chart("Learning rate", "step", "learning rate", rates))
    return [chart for chart in charts if any(len(line.xs) for line in chart.lines)]


def gate_curves(lines: Lines) -> list[Chart]:
    """The gates of every layer while the run was trained, if they were logged."""
    names = dict.fromkeys(n for line in lines for n in line if n.startswith(PREFIX))
    layers: dict[str, list[Line]] = {}
    for name in names:
        layer, *what = name.removeprefix(PREFIX).split(" ")
        if len(what) == 2:
            title, said = f"{layer}, {what[1]}", " ".join(what)
        else:
            title, said = f"{layer}, steps that units remember", "median unit"
        measured = curve(name, Metric(), lines)
        layers.setdefault(title, []).append(Line(said, *measured, points=True))
    return [
        Chart(f"Gates of {title}", "step", title.partition(", ")[2], curves)
        for title, curves in layers.items()
    ]


def _named(run, what, runs):
    return what if len(runs) == 1 else f"{run}, {what}"


def _chart(name, runs, metrics):
    title, metric = shown_as(name, metrics)
    lines = []
    for run, rows in runs.items():
        for kind, prefix in (("training", ""), ("validation", "valid_")):
            steps, values = curve(prefix + name, metric, rows)
            if len(steps):
                named = _named(run, kind, runs)
                lines.append(Line(named, steps, values, points=bool(prefix)))
    values = np.concatenate([*(line.ys for line in lines), []])
    log = bool(len(values)) and (metric.scale == "log" or is_wide(values))
    title = title[:1].upper() + title[1:]
    return Chart(title, "step", title, lines, log=log)
