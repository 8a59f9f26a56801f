"""Seeds trained in one program are the seeds trained one by one."""

import json

import numpy as np
import pytest

from lstm_jax.cli import main
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")


def train(folder, args, *more):
    assert main(["train", *args, f"run.directory={folder}", *more]) == 0
    return folder


def losses(run, name="loss"):
    return [line[name] for line in tiny.metrics(run) if name in line]


@pytest.mark.parametrize(
    ("write", "more"),
    [
        (tiny.write_memory, ("train.steps=21", "train.evaluate_every=7")),
        (tiny.write, ("train.steps=20", "train.evaluate_every=20", "seed=4")),
    ],
    ids=["memory", "text"],
)
def test_each_seed_is_its_own_run(tmp_path, write, more, capsys):
    args = [*write(tmp_path), *more]
    together = train(tmp_path / "all", args, "train.seeds=3")
    first = 4 if "seed=4" in more else 0
    each = np.array(losses(together, "losses"))
    assert each.shape == (len(losses(together)), 3)
    np.testing.assert_allclose(each.mean(1), losses(together), rtol=1e-6)
    results = json.loads((together / "result-test.json").read_text())
    for n in range(3):
        own = train(tmp_path / f"own{n}", args, f"seed={first + n}")
        np.testing.assert_allclose(each[:20, n], losses(own)[:20], rtol=0, atol=1e-5)
    own_result = json.loads((own / "result-test.json").read_text())
    assert [result["seed"] for result in results["seeds"]] == [
        first,
        first + 1,
        first + 2,
    ]
    assert results["seeds"][2]["loss"] == pytest.approx(own_result["loss"], 1e-4)
    assert len({round(loss, 4) for loss in each[-1]}) == 3, "seeds alike"
    assert (together / f"model-seed{first + 1}.safetensors").exists()
    said = capsys.readouterr().out
    assert "3 seeds of" in said
    assert main(["evaluate", str(together), "--part", "valid"]) == 0
    figures = json.loads((together / "result-valid.json").read_text())["seeds"]
    lines = [m["valid_loss_each"] for m in tiny.metrics(together) if "valid_loss" in m]
    best = np.min(lines, axis=0)
    np.testing.assert_allclose([f["loss"] for f in figures], best, rtol=1e-6)
