"""Metrics over the steps of training, as charts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_jax.report.elements import Chart, Line
from lstm_jax.runs.gate_log import PREFIX
from lstm_jax.training.metrics import Metric, Metrics
from lstm_jax.training.plots import WIDE

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
        Line(_named(run, "learning rate", runs), *_measured(lines, "learning_rate"))
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
            curve = Line(" ".join(what), *_measured(lines, name), points=True)
            layers.setdefault(f"{layer}, {what[1]}", []).append(curve)
        else:
            curve = Line("median unit", *_measured(lines, name), points=True)
            layers.setdefault(f"{layer}, steps that units remember", []).append(curve)
    return [
        Chart(f"Gates of {title}", "step", title.partition(", ")[2], curves)
        for title, curves in layers.items()
    ]


def _named(run, what, runs):
    return what if len(runs) == 1 else f"{run}, {what}"


def _chart(name, runs, metrics):
    # A metric that is computed from this one says it in a better unit.
    derived = ((n, m) for n, m in metrics.items() if m.of == name)
    shown, metric = next(derived, (name, metrics.get(name, Metric())))
    lines = []
    for run, rows in runs.items():
        for kind, prefix in (("training", ""), ("validation", "valid_")):
            steps, values = _measured(rows, prefix + name)
            if len(steps):
                values = np.asarray(metric.convert(values), float)
                named = _named(run, kind, runs)
                lines.append(Line(named, steps, values, points=bool(prefix)))
    unit = "" if not metric.unit or metric.unit in shown else f" ({metric.unit})"
    title = metric.label or shown.replace("_", " ") + unit
    values = np.concatenate([*(line.ys for line in lines), []])
    low = values.min(initial=np.inf)
    wide = bool(len(values)) and low > 0 and values.max() > WIDE * low
    title = title[:1].upper() + title[1:]
    return Chart(title, "step", title, lines, log=wide or metric.scale == "log")


def _measured(rows, name):
    found = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    steps, values = np.array(found, float).reshape(-1, 2).T
    return steps, values
