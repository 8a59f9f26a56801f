"""What a task can show of its model: texts, forecasts, translations, transcripts."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lstm_jax.inference import Sampling
from lstm_jax.report.elements import Band, Chart, Heat, Line, Quote, Section, Table
from lstm_jax.runs.posterior_plot import LIKELY
from lstm_jax.tasks.abilities import (
    Backtests,
    Generates,
    HasDetails,
    Transcribes,
    Translates,
)

LENGTH = 300
TEMPERATURES = (0.5, 0.8)
SERIES, WINDOWS = 3, 2
SENTENCES = 3
MOST_CLASSES = 20
"""A confusion matrix of more classes is left out."""


def sample_section(task: Any, params: Any) -> Section:
    """Everything that the task can show; it may need the data of the run."""
    items = []
    for ability, show in SHOWS.items():
        if isinstance(task, ability):
            items += show(task, params)
    return Section("What the model does", items)


def _texts(task, params) -> Iterator[Quote]:
    generator = task.generator
    for temperature in TEMPERATURES:
        sampling = Sampling(temperature)
        pieces = generator.generate(params, generator.beginning, LENGTH, sampling, 0)
        yield Quote(f"Sampled text at temperature {temperature:g}", "".join(pieces))


def _classes(task, params) -> Iterator[Table | Heat]:
    split = task.final_split
    details = task.details(params, split)
    yield Table(f"Metrics of each class, {split} split", details.columns, details.rows)
    if len(details.classes) <= MOST_CLASSES:
        yield Heat(
            f"Confusion matrix, {split} split: rows are right, columns are predicted",
            [*details.classes],
            [*details.classes],
            details.confusion,
            "right \\ predicted",
            digits=0,
        )


def _forecasts(task, params) -> Iterator[Chart]:
    found = task.backtest(params, 1, None)
    for fan in found.fans[:SERIES]:
        yield _fan(fan)


def _fan(fan):
    horizon = fan.forecasts.shape[1]
    steps = np.arange(len(fan.values)) - int(fan.starts[-1])
    ahead = steps[int(fan.starts[-1]) :][:horizon]
    bands = [
        Band(f"{percent:g}% interval", ahead, low[-1], high[-1])
        for percent, low, high in fan.bands
    ]
    lines = [
        Line("truth", steps, fan.values),
        Line("forecast", ahead, fan.forecasts[-1]),
    ]
    title = f"Forecast of {fan.name}"
    return Chart(title, "steps after the forecast was made", fan.name, lines, bands)


def _translations(task, params) -> Iterator[Table | Heat]:
    pairs = task.data.split(task.final_split)
    sources, targets = pairs.sources[:SENTENCES], pairs.targets[:SENTENCES]
    said = [best.text for best, *_ in task.translate([params], sources)]
    rows = [*zip(sources, said, targets, strict=True)]
    columns = ["sentence", "translation", "reference"]
    yield Table(f"Translations of the {task.final_split} split", columns, rows)
    for one in task.align(params, sources, said):
        yield Heat(
            f"Attention: {' '.join(one.target)}",
            one.target,
            one.source,
            one.attention,
            "translation \\ sentence",
        )


def _transcripts(task, params) -> Iterator[Table | Chart]:
    recordings = task.data.split(task.final_split)
    sounds = [recordings.sound(n) for n in range(min(3, len(recordings)))]
    found = [best for best, *_ in task.transcribe(params, sounds)]
    rows = [
        (text, one.text, round(float(np.exp(one.score)), 4))
        for text, one in zip(recordings.texts, found, strict=False)
    ]
    columns = ["said", "transcript", "probability"]
    yield Table(f"Transcripts of the {task.final_split} split", columns, rows)
    heard = task.posteriors(params, sounds[0])
    times = np.arange(len(heard.probabilities)) * heard.step_seconds
    likely = np.flatnonzero(heard.probabilities[:, :-1].max(axis=0, initial=0) > LIKELY)
    lines = [
        Line(repr(heard.tokens[k]), times, heard.probabilities[:, k])
        for k in likely.tolist()
    ]
    lines.append(Line("blank", times, heard.probabilities[:, -1]))
    title = f"Posteriors of {recordings.texts[0]!r}"
    yield Chart(title, "seconds", "probability", lines)


SHOWS = {
    Generates: _texts,
    Backtests: _forecasts,
    Translates: _translations,
    Transcribes: _transcripts,
    HasDetails: _classes,
}
"""What is shown of a task with an ability, in this order."""
