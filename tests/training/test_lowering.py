"""A training step of every task lowers for machines that this one is not."""

import re

import jax
import pytest

from lstm_jax.config import read
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.runs.shipped import config_path
from lstm_jax.runs.train import Start
from tests import every_task

pytestmark = pytest.mark.usefixtures("optax_promotion")

PRODUCTS = re.compile(r"stablehlo\.(?:dot_general|convolution)\b.*")


@pytest.mark.parametrize("task", every_task.WRITERS)
def test_lowers(task, tmp_path):
    """With all bits of float32 in every product, and no call of a kernel for CPUs."""
    path, *changed = every_task.WRITERS[task](tmp_path)
    start = Start.of(make_task(read_config(read(config_path(path)), changed)))
    data, n = start.batches.take(0, 1)
    start.batches.close()
    with jax.default_matmul_precision(None):
        for platform in ("cuda", "tpu"):
            traced = start.block.trace(start.state, data, n)
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            assert "lstm_jax_" not in text
            products = PRODUCTS.findall(text)
            assert products
            assert [product for product in products if "HIGHEST" not in product] == []
