"""What came of a sweep: its trials best first, a file for programs, and plots."""

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax import files
from lstm_jax.runs.extras import print_plots
from lstm_jax.sweeps.study import Sweep
from lstm_jax.tables import figure, print_table
from lstm_jax.terminal import say
from lstm_jax.training.plots import is_wide, new_figure, save_figure
from lstm_jax.training.run_errors import cannot_write

STATES = ("complete", "pruned", "running", "interrupted", "failed")
"""The states of trials, in the order of the table."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A trial in short."""

    number: int
    state: str
    """One of `STATES`."""
    value: float | None
    """The metric of the sweep: of a complete trial its best one, the mean over seeds;
    else that of its last evaluation."""
    params: dict[str, Any]
    """The value of every key that varies, by key; numbers of ranges are numbers."""
    overrides: tuple[str, ...]
    """The same as words of a command."""
    directory: Path
    starts: int
    """How often a process has started or continued it."""
    reason: str = ""
    """Why it failed."""

    def as_json(self, metric: str) -> dict[str, Any]:
        """A line of sweep.jsonl."""
        values = dataclasses.asdict(self)
        values["metric"] = metric
        return values | {"directory": str(self.directory)}


def rows(sweep: Sweep) -> list[Row]:
    """The trials of a sweep, the best first."""
    found = [_row(sweep, trial) for trial in sweep.trials()]
    sign = -1 if sweep.monitor.better == "higher" else 1

    def rank(row):
        value = np.inf if row.value is None else sign * row.value
        return STATES.index(row.state), value, row.number

    return sorted(found, key=rank)


def _row(sweep, trial):
    state = trial.state.name.lower()
    state = {"complete": "complete", "pruned": "pruned", "fail": "failed"}.get(state)
    if state is None:
        state = "running" if sweep.is_claimed(trial.number) else "interrupted"
    value = trial.value if trial.state.is_finished() else None
    if value is None and trial.intermediate_values and state != "failed":
        value = trial.intermediate_values[max(trial.intermediate_values)]
    return Row(
        trial.number,
        state,
        value,
        dict(trial.params),
        tuple(trial.user_attrs.get("overrides", ())),
        sweep.folder(trial.number),
        trial.user_attrs.get("starts", 0),
        trial.user_attrs.get("reason", ""),
    )


class Progress:
    """Prints a line for every trial that finishes; called now and then.

    Args:
        directory: the folder of the sweep, which may have no study yet.
        count: the number of trials.
    """

    def __init__(self, directory: Path, count: int):
        self._directory = directory
        self._sweep = Sweep.find(directory)
        self._told = {trial.number for trial in self._ended()}
        if self._told:
            say(f"{len(self._told)} of {count} trials have finished.")

    def __call__(self) -> None:
        self._sweep = self._sweep or Sweep.find(self._directory)
        for trial in self._ended():
            if trial.number not in self._told:
                self._told.add(trial.number)
                row = _row(self._sweep, trial)
                value = "" if row.value is None else f" {figure(row.value)}"
                say(f"trial {row.number} {row.state}{value}: {' '.join(row.overrides)}")

    def _ended(self):
        trials = [] if self._sweep is None else self._sweep.trials()
        return [trial for trial in trials if trial.state.is_finished()]


def print_trials(sweep: Sweep, found: Sequence[Row]) -> None:
    """A table of trials, and why some failed."""
    keys = list(sweep.plan["space"])
    columns = ["trial", "state", sweep.monitor.name.replace("_", " "), *keys]
    print_table(
        columns,
        [
            (str(row.number), row.state, row.value, *map(row.params.get, keys))
            for row in found
        ],
    )
    for row in found:
        if row.reason:
            say(f"trial {row.number} failed: {row.reason}")


def print_best(config: str, sweep: Sweep, best: Row) -> None:
    """The best trial, and the command that trains its config.

    Args:
        config: the config as the command line has it.
        sweep: the sweep.
        best: a complete trial.
    """
    name = sweep.monitor.name.replace("_", " ")
    say(f"best: trial {best.number} with a {name} of {figure(best.value)}")
    say(f"its run: {best.directory}")
    folder = f"run.directory={sweep.directory}-best"
    words = [*sweep.plan["constants"], *best.overrides, folder]
    say(f"train it again: {shlex.join(['lstm-jax', 'train', config, *words])}")


def write_trials(sweep: Sweep, found: Sequence[Row]) -> Path:
    """Writes sweep.jsonl.

    Raises:
        RunError: it cannot be written.
    """
    path = sweep.directory / "sweep.jsonl"
    lines = [json.dumps(row.as_json(sweep.monitor.name)) + "\n" for row in found]
    try:
        files.write_text(path, "".join(lines))
    except OSError as error:
        raise cannot_write(path, error, "the trials are kept") from error
    return path


def draw(sweep: Sweep, found: Sequence[Row]) -> None:
    """Draws the history, and every parameter against the metric; prints their paths.

    Without matplotlib, or before the first value, says so.
    """
    measured = [row for row in found if row.state in ("complete", "pruned")]
    measured = [row for row in measured if row.value is not None]
    if not measured:
        say("no plots: no trial has a value yet.")
        return

    def plots():
        yield _history(sweep, measured)
        for key, text in sweep.plan["space"].items():
            yield _parameter(sweep, measured, key, text)

    print_plots(plots)


def _history(sweep, found):
    figure, axes = new_figure()
    _scatter(axes, found, [row.number for row in found])
    done = sorted((r for r in found if r.state == "complete"), key=lambda r: r.number)
    if done:
        higher = sweep.monitor.better == "higher"
        best = (np.maximum if higher else np.minimum).accumulate(
            [r.value for r in done]
        )
        at = [row.number for row in done]
        axes.step(at, best, where="post", color="#d94801", label="best so far")
    axes.xaxis.get_major_locator().set_params(integer=True)
    return _saved(sweep, figure, axes, found, "trial", "history")


def _parameter(sweep, found, key, text):
    figure, axes = new_figure()
    values = [row.params[key] for row in found]
    if any(isinstance(value, str) for value in values):  # choices, in their order
        choices = list(dict.fromkeys(sorted(values, key=_in_order)))
        axes.set_xticks(range(len(choices)), choices)
        axes.set_xlim(-0.5, len(choices) - 0.5)
        values = [choices.index(value) for value in values]
    elif text.startswith("log:"):
        _logarithmic(axes, text)
    _scatter(axes, found, values)
    return _saved(sweep, figure, axes, found, key, key)


def _logarithmic(axes, text):
    """An axis over the whole range, whose labels do not overlap."""
    low, high = map(float, text.removeprefix("log:").split("..", 1))
    axes.set_xscale("log")
    axes.set_xlim(low / (high / low) ** 0.02, high * (high / low) ** 0.02)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("" if high >= 100 * low else "{x:g}")


def _in_order(choice):
    """Sorts numbers by size, and before text."""
    try:
        return (0, float(choice), "")
    except ValueError:
        return (1, 0.0, choice)


def _scatter(axes, found, xs):
    styles = {"complete": ("o", "#08519c"), "pruned": ("x", "#969696")}
    for state, (marker, color) in styles.items():
        points = [
            (x, r.value) for x, r in zip(xs, found, strict=True) if r.state == state
        ]
        if points:
            axes.scatter(
                *zip(*points, strict=True), marker=marker, color=color, label=state
            )


def _saved(sweep, figure, axes, found, xlabel, name):
    values = np.array([row.value for row in found])
    scale = "log" if is_wide(values) else "linear"
    ylabel = sweep.monitor.name.replace("_", " ")
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale=scale)
    axes.legend(frameon=False)
    return save_figure(figure, sweep.directory / f"{name}.png")
