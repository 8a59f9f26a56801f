"""The report of one run."""

import contextlib
from collections.abc import Callable, Iterator

from lstm_jax.config import flat
from lstm_jax.data.text import DataError
from lstm_jax.report.curves import curves, gate_curves
from lstm_jax.report.elements import Section, Table, Text
from lstm_jax.report.gates import gate_section, gradient_section, text_section
from lstm_jax.report.page import render
from lstm_jax.report.samples import sample_section
from lstm_jax.runs.examined import examine
from lstm_jax.runs.load import Trained
from lstm_jax.runs.summary import Summary
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.step import one_seed


def report(trained: Trained, warn: Callable[[str], None]) -> str:
    """The report of a trained run, as HTML.

    What needs data that cannot be read is left out. The report says so.

    Args:
        trained: the run.
        warn: told about every section that is left out.
    """
    summary = Summary.of(trained.run.directory)
    task = trained.task
    params = one_seed(trained.params, trained.best_seed, trained.seeds)
    sections = [
        metrics_section(summary),
        Section("Curves", curves({"run": trained.run.metrics()}, task.metrics)),
        Section("Gates during training", gate_curves(trained.run.metrics())),
        *_parts("What the model does", lambda: [sample_section(task, params)], warn),
        *_parts("Gates and states", lambda: _looks_inside(task, params), warn),
        config_section(summary),
        machine_section(summary),
    ]
    name = trained.run.directory.resolve().name
    lead = f"A run of the task {task.config.task}, {summary.state}. "
    with contextlib.suppress(DataError):  # it may count the tokens of its data
        lead += task.summary(dict(summary.metadata))
    if trained.seeds > 1:
        best = task.config.seed + trained.best_seed
        lead += (
            f" Metrics and curves are means of {trained.seeds} seeds. Samples, gates "
            f"and gradients are of seed {best}, the best in validation; gates during "
            f"training are of seed {task.config.seed}."
        )
    return render(f"Report of {name}", lead, sections)


def _looks_inside(task, params):
    examined = examine(task, params)
    return [
        text_section(examined),
        gate_section(examined),
        gradient_section(examined),
    ]


def _parts(
    title: str, make: Callable[[], list[Section]], warn: Callable[[str], None]
) -> Iterator[Section]:
    """Sections that need the data of the run, or one that says why they are missing."""
    try:
        yield from make()
    except (DataError, RunError, ModuleNotFoundError) as error:
        warn(f"missing in the report: {title}: {error}")
        yield Section(title, [Text(f"This section is missing: {error}")])


def metrics_section(summary: Summary) -> Section:
    """The final metrics, with baselines where there are any."""
    named = summary.named()
    rows = [[name, value] for name, value in named.items()]
    if summary.best is not None:
        monitor = summary.monitor.name.replace("_", " ")
        rows = [
            [f"best {monitor}", summary.best],
            ["at step", summary.best_step],
            *rows,
        ]
    caption = "Metrics; baselines are measured on the same split"
    return Section("Metrics", [Table(caption, ["metric", "value"], rows)])


def config_section(summary: Summary) -> Section:
    """Every key of the config."""
    rows = [[key, _said(value)] for key, value in flat(summary.config).items()]
    return Section("Config", [Table("Keys and values", ["key", "value"], rows)])


def machine_section(summary: Summary) -> Section:
    """Time, sizes, versions and machine."""
    data = summary.metadata
    versions = data.get("versions", {})
    rows = [
        ["steps", summary.step],
        ["parameters", data.get("parameters")],
        ["training time (s)", _rounded(data.get("seconds"))],
        ["steps per second", _speed(summary)],
        ["device", f"{data.get('device_count', 1)} x {data.get('device', '-')}"],
        ["processor", data.get("cpu", "-")],
        ["cores", data.get("cores")],
        ["Python", data.get("python", "-")],
        *([name, version] for name, version in versions.items()),
    ]
    caption = "Timing, versions and machine of the training"
    return Section("Timing and versions", [Table(caption, ["what", "value"], rows)])


def _speed(summary):
    seconds = summary.metadata.get("seconds")
    return _rounded(summary.step / seconds) if seconds else None


def _rounded(value):
    return None if value is None else float(f"{value:.3g}")


def _said(value):
    if value == "":
        return "-"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_said, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
