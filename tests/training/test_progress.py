"""What a person sees of a run on a terminal, and what a log gets."""

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lstm_jax.training import progress
from lstm_jax.training.hooks import Progress
from lstm_jax.training.metrics import Metric
from lstm_jax.training.progress import ProgressReport
from lstm_jax.training.trainer import Steps

BITS = Metric("bits", of="loss", convert=lambda nats: 2 * nats)


def told(capsys, monkeypatch, *, terminal):
    """What is printed of two reports and a sentence, without its colours."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    console = Console(force_terminal=terminal, width=120)
    monkeypatch.setattr(progress, "Console", lambda: console)
    with ProgressReport(20, 0, 3, "tokens", {"bits": BITS}) as report:
        # The first steps are compiled; later ones are no slower for it.
        for step, loss, seconds in ((5, 1.5, 400.0), (10, 0.5, 5.0)):
            clock.now += seconds
            report.update(step, {"loss": loss, "accuracy": 0.25})
        report.say("step 10 · validation [best]")
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().out)


def test_on_a_terminal(capsys, monkeypatch):
    said = told(capsys, monkeypatch, terminal=True)
    assert "step 10/20" in said
    assert "loss 0.5000 · 1.0000 bits · accuracy 0.2500 · 3 tokens/s" in said
    assert "validation [best]" in said


def test_in_a_log(capsys, monkeypatch):
    lines = told(capsys, monkeypatch, terminal=False).splitlines()
    assert lines[1:] == [
        "step 10/20 · loss 0.5000 · 1.0000 bits · accuracy 0.2500 · 3 tokens/s · "
        "10 s left",
        "step 10 · validation [best]",
    ]


@pytest.mark.parametrize(("loss", "said"), [(0.0, "0.0000"), (0.0012, "2.40e-03")])
def test_small_losses(loss, said):
    assert BITS.say(loss) == f"{said} bits"


def test_a_large_batch_counts_more():
    """And a seed that has diverged does not count at all."""
    seen: list[Any] = []
    hook = Progress(SimpleNamespace(update=lambda *args: seen.append(args)))
    values = {"loss": np.array([[1.0, 2.0], [5.0, np.nan]])}
    hook.steps(None, Steps(1, values, {"loss": np.array([[3.0, 2.0], [1.0, 1.0]])}))
    nothing = {"loss": np.array([[np.nan]])}
    hook.steps(None, Steps(3, nothing, {"loss": np.array([[0.0]])}))
    assert seen == [(2, {"loss": 2.0}), (3, {"loss": None})]
