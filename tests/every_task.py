"""A small run of every task, trained for a few steps.

python -m tests.every_task FOLDER TASK ...    trains some of them
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lstm_jax.cli import main
from lstm_jax.config import read
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.runs.shipped import config_path
from lstm_jax.runs.train import Start
from tests import tiny
from tests.tasks import labelled, spoken, translated

SHORT = {
    "translation": translated.SHORT,
    "transcription": ("train.steps=40", "train.evaluate_every=20"),
}


def write_forecasting(folder: Path) -> list[str]:
    """A series with a period of 12 steps."""
    rng, t = np.random.default_rng(0), np.arange(240)
    y = np.sin(t * 2 * np.pi / 12) + 0.1 * rng.normal(size=len(t))
    days = np.datetime64("2024-01-01") + t
    lines = [f"{day},{value:.4f}\n" for day, value in zip(days, y, strict=True)]
    path = folder / "load.csv"
    path.write_text("".join(["date,load\n", *lines]))
    return [
        "forecast",
        f"data.path={path}",
        "data.time=date",
        'data.target=["load"]',
        "model.context=24",
        "model.horizon=6",
        "model.segment=6",
        "model.hidden_size=8",
        "train.steps=20",
        "train.batch_size=8",
        "train.evaluate_every=10",
    ]


WRITERS = {
    "language_model": tiny.write,
    "memory": tiny.write_memory,
    "classification": labelled.write_series,
    "tagging": lambda folder: labelled.write_sentences(folder, crf=True),
    "forecasting": write_forecasting,
    "translation": translated.write,
    "transcription": spoken.write,
}


def start_of(folder: Path, write: Callable[[Path], list[str]], *more: str) -> Start:
    """The start of the run that ``write`` describes."""
    path, *rest = write(folder)
    return Start.of(make_task(read_config(read(config_path(path)), [*rest, *more])))


def train(task: str, folder: Path) -> Path:
    """The run of a task, in a folder of its own."""
    folder.mkdir(parents=True)
    args = [*WRITERS[task](folder), *SHORT.get(task, ())]
    assert main(["train", *args, f"run.directory={folder / 'run'}"]) == 0
    return folder / "run"


if __name__ == "__main__":
    for name in sys.argv[2:]:
        train(name, Path(sys.argv[1]) / name)
