"""Mixed precision: bfloat16 computes, float32 keeps, and the loss is the same."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from lstm_jax.cli import main
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")


def test_training_in_bfloat16(tmp_path):
    args = [*tiny.write(tmp_path), "train.steps=12", "train.evaluate_every=12"]
    losses = {}
    for dtype in ("float32", "bfloat16"):
        run = tmp_path / dtype
        assert (
            main(["train", *args, f"model.dtype={dtype}", f"run.directory={run}"]) == 0
        )
        lines = tiny.metrics(run)
        losses[dtype] = np.array([m["loss"] for m in lines if "loss" in m])
        weights = load_file(run / "model.safetensors")
        assert {array.dtype for array in weights.values()} == {np.dtype("float32")}
    assert (losses["bfloat16"] != losses["float32"]).any(), "nothing is in bfloat16"
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.03)
