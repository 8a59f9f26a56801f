"""The axes of the curves of a run."""

import json
import math

import pytest

from lstm_jax.tasks.language_model import NATS
from lstm_jax.tasks.perplexity import PERPLEXITY
from lstm_jax.training import plots
from lstm_jax.training.metrics import Metric, number
from lstm_jax.training.run_folder import Run


@pytest.mark.parametrize(
    ("metrics", "first", "last", "scale", "label"),
    [
        ({"perplexity": PERPLEXITY, "loss": NATS}, 10.4, 7.0, "log", "perplexity"),
        ({"loss": NATS}, 4.6, 1.3, "linear", "loss (nats per token)"),
        ({"loss": Metric()}, 0.2, 1e-4, "log", "loss"),
    ],
)
def test_values_of_a_large_ratio_are_on_a_logarithmic_axis(
    tmp_path, monkeypatch, metrics, first, last, scale, label
):
    lines = [{"step": 1, "loss": first}, {"step": 2, "loss": last}]
    lines += [{"step": 2, "valid_loss": last}]
    text = "".join(json.dumps(line | {"learning_rate": 0.1}) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text)
    drawn = {}
    monkeypatch.setattr(plots, "save_figure", lambda f, path: drawn.update({path: f}))
    plots.plot_run(Run(tmp_path), metrics)
    (axes,) = drawn[tmp_path / "loss.png"].axes
    assert axes.get_yscale() == scale
    assert axes.get_ylabel() == label


@pytest.mark.parametrize("value", [1e304, 1e-9, math.exp(700), 3.0, 0.0, math.nan])
def test_no_number_takes_hundreds_of_digits(value):
    assert len(number(value)) <= 10
    assert len(PERPLEXITY.say(math.log(value) if value > 0 else 0.0)) <= 21
