"""A run small enough for a test, on a text that the test makes."""

import json
import signal
from pathlib import Path
from typing import Any

from lstm_jax.config import build, config
from lstm_jax.training import progress
from lstm_jax.training.metrics_file import TIMES
from lstm_jax.training.optimizer import Adam, OptimizerConfig
from lstm_jax.training.run_folder import Run

TEXT = "".join(
    f"line {n} of a small text, {n * n} is its square.\n" for n in range(200)
)

CONFIG = """
task = "language_model"
[model]
embed_size = 4
hidden_size = 8
input_dropout = 0.2
[optimizer]
learning_rate = 0.05
[optimizer.schedule]
warmup_steps = 2
[train]
steps = 12
batch_size = 4
window = 16
block = 4
evaluate_every = 6
checkpoint_every = 4
[evaluation]
batch_size = 2
context = 8
"""


def write(folder: Path) -> list[str]:
    """Writes text and config; returns the arguments of ``train``."""
    (folder / "text.txt").write_text(TEXT)
    (folder / "tiny.toml").write_text(CONFIG)
    return [str(folder / "tiny.toml"), f"data.path={folder / 'text.txt'}"]


@config
class OneOptimizer:
    """A config with nothing but an optimizer."""

    optimizer: OptimizerConfig = Adam()


def optimizer(values: dict[str, Any]) -> Any:
    """The optimizer of these values of a config."""
    return build(OneOptimizer, {"optimizer": values}).optimizer


def new_run(folder: Path) -> Run:
    """A run that has begun, of no config."""
    run = Run.make(folder)
    with run.alone():
        run.begin("", {})
    return run


def metrics(run: Path) -> list[dict]:
    """The metrics of a run but for their times, which no two runs share."""
    lines = [
        json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()
    ]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


MEMORY = """
task = "memory"
[problem]
name = "adding"
length = 6
[model]
hidden_size = 4
[optimizer]
learning_rate = 0.05
[train]
steps = 12
batch_size = 4
block = 4
evaluate_every = 3
checkpoint_every = 4
[evaluation]
sequences = 8
batch_size = 4
"""


def write_memory(folder: Path, *more: str) -> list[str]:
    """Writes a config of the other task; returns the arguments of ``train``."""
    (folder / "memory.toml").write_text(MEMORY)
    return [str(folder / "memory.toml"), *more]


def interrupt_at(monkeypatch, step):
    """Ctrl-C arrives while the block that reaches ``step`` is reported."""
    update = progress.ProgressReport.update

    def interrupt(self, at, loss):
        update(self, at, loss)
        if at >= step:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(progress.ProgressReport, "update", interrupt)
