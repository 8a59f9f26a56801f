"""The training loss can be compared with that of validation, whatever is lowered."""

import jax
import pytest

from lstm_jax.config import read
from lstm_jax.runs.configs import make_task, read_config
from tests.tasks import labelled

pytestmark = pytest.mark.usefixtures("optax_promotion")

WHOLE = ["train.batch_size=64", "train.buckets=1", "model.output_dropout=0.0"]
"""One batch is the whole training split."""


@pytest.mark.parametrize("task", ["classification", "tagging"])
@pytest.mark.parametrize(
    "weighted",
    [["train.class_weights=balanced", "model.label_smoothing=0.0"], ["seed=1"], []],
    ids=["weights", "smoothing", "neither"],
)
def test_the_loss_of_a_step_is_that_of_evaluation(tmp_path, task, weighted):
    if task == "classification":
        (path,) = labelled.write_texts(tmp_path)
    else:
        (path,) = labelled.write_sentences(tmp_path, crf=False)
    smoothing = [
        "train.class_weights=none",
        f"model.label_smoothing={0.2 * len(weighted)}",
    ]
    task = make_task(read_config(read(path), [*WHOLE, *smoothing, *weighted]))
    params, batches = task.init(jax.random.key(0)), task.batches()
    data, _ = batches.take(0, 1)
    batch, carry = batches.at(data, (), 0, jax.random.key(1))
    value, aux = task.loss(params, carry, batch, jax.random.key(2))
    expected = task.evaluate(params, "train")["loss"]
    assert ("loss" in aux.metrics) == bool(weighted)
    if weighted:
        assert float(aux.metrics["loss"].value) == pytest.approx(expected, 1e-5)
        assert float(value) != pytest.approx(expected, 1e-3)
    else:
        assert float(value) == pytest.approx(expected, 1e-5)
