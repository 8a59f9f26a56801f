"""Seeds trained in one program are the seeds trained one by one."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.cli import main
from lstm_jax.config import read
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.runs.train import first_params
from lstm_jax.tasks.memory import Memory
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


@pytest.mark.parametrize("weights", ["stay", "break"])
def test_one_that_diverges_leaves_the_others(tmp_path, monkeypatch, capsys, weights):
    """The first of three, in its first step: it is never evaluated."""
    args = tiny.write_memory(tmp_path, "optimizer.learning_rate=1e-4")
    task = make_task(read_config(read(args[0]), args[1:]))
    weight = lambda params: jax.tree.leaves(params)[-1].sum()
    first, *others = [weight(first_params(task, n)[0]) for n in range(3)]
    loss = Memory.loss
    assert min(abs(first - other) for other in others) > 0.1

    def breaks(self, params, *rest):
        value, aux = loss(self, params, *rest)
        bad = jnp.where(jnp.abs(weight(params) - first) < 0.05, jnp.nan, 1.0)
        if weights == "stay":  # finite
            return jnp.where(jnp.isnan(bad), jnp.nan, value), aux
        return value * bad, aux

    monkeypatch.setattr(Memory, "loss", breaks)
    run = train(tmp_path / "all", args, "train.seeds=3")
    said = capsys.readouterr().out
    assert "seed+0 diverged: loss is nan at step 1." in said
    each = np.array(losses(run, "losses"), float)
    assert np.isnan(each[:, 0]).all()
    result = json.loads((run / "result-test.json").read_text())
    assert result["seeds"][0] == {"seed": 0}
    assert json.loads((run / "run.json").read_text())["diverged"] == {"0": 1}
    assert "test: mean of 2 of 3 seeds: " in said
    assert not (run / "model-seed0.safetensors").exists()
    for n in (1, 2):
        own = train(tmp_path / f"own{n}", args, f"seed={n}")
        np.testing.assert_allclose(each[:, n], losses(own), rtol=0, atol=1e-5)
        alone = json.loads((own / "result-test.json").read_text())
        assert result["seeds"][n]["loss"] == pytest.approx(alone["loss"], 1e-4)
    means = np.mean([result["seeds"][n]["loss"] for n in (1, 2)])
    assert result["loss"] == pytest.approx(means)
    assert (
        main(["train", *args, "train.seeds=1", f"run.directory={tmp_path / '0'}"]) == 1
    )
    assert "loss is nan at step 1; there is no checkpoint" in capsys.readouterr().err
    facts = json.loads((tmp_path / "0" / "run.json").read_text())
    assert facts["diverged"] == {"0": 1}
    assert main(["runs", str(tmp_path / "0")]) == 0
    assert "diverged" in capsys.readouterr().out
