"""The report that compares runs."""

from collections.abc import Sequence
from pathlib import Path

from lstm_jax.config import flat
from lstm_jax.report.curves import curves
from lstm_jax.report.elements import Section, Table, Text
from lstm_jax.report.page import render
from lstm_jax.runs.configs import config_of, make_task
from lstm_jax.runs.summary import Summary
from lstm_jax.training.metrics import PLAIN, Metric


def comparison(directories: Sequence[str | Path]) -> str:
    """The report of several runs side by side, as HTML.

    Raises:
        RunError, ConfigError: one of them is not a run, or is corrupt.
    """
    summaries = {str(path): Summary.of(path) for path in directories}
    sections = [
        Section("Metrics", [*_warnings(summaries), _metrics(summaries)]),
        Section("Curves", _curves(summaries)),
        Section("Config", [_differences(summaries)]),
    ]
    lead = f"{len(summaries)} runs: {', '.join(summaries)}."
    return render("Comparison of runs", lead, sections)


def _warnings(summaries):
    titles = dict.fromkeys(one.measured.title for one in summaries.values())
    if len(titles) > 1:
        yield Text(
            f"The metrics of these runs measure different things, so do not compare "
            f"their values: {'; '.join(titles)}."
        )


def _metrics(summaries):
    each = [one.named() for one in summaries.values()]
    names = dict.fromkeys(name for named in each for name in named)
    rows = [
        ["state", *(one.state for one in summaries.values())],
        ["parameters", *(one.metadata["parameters"] for one in summaries.values())],
        ["training time (s)", *(_time(one) for one in summaries.values())],
        ["best monitored metric", *(one.best for one in summaries.values())],
        ["best at step", *(one.best_step for one in summaries.values())],
        *([name, *(named.get(name) for named in each)] for name in names),
    ]
    return Table("Metrics of every run", ["metric", *summaries], rows)


def _time(summary):
    seconds = summary.metadata.get("seconds")
    return None if seconds is None else round(seconds, 1)


def _curves(summaries):
    lines = {name: one.run.metrics() for name, one in summaries.items()}
    tasks = {one.config.get("task") for one in summaries.values()}
    metrics: dict[str, Metric] = {}
    if len(tasks) == 1:  # the units of other tasks may differ
        for one in summaries.values():
            metrics |= make_task(config_of(one.run), one.metadata).metrics
    return curves(lines, metrics or PLAIN)


def _differences(summaries):
    configs = [flat(one.whole_config) for one in summaries.values()]
    keys = sorted(dict.fromkeys(key for config in configs for key in config))
    rows = [
        [key, *(str(config.get(key, "-")) for config in configs)]
        for key in keys
        if key != "run.directory" and len({str(c.get(key)) for c in configs}) > 1
    ]
    caption = "Keys in which the configs differ" if rows else "The configs are the same"
    return Table(caption, ["key", *summaries], rows)
