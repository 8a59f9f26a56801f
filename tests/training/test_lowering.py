"""A training step of every task lowers for machines that this one is not."""

import jax
import pytest

from tests import every_task
from tests.lowered import products_of

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.mark.parametrize("task", every_task.WRITERS)
def test_lowers(task, tmp_path):
    """With all bits of float32 in every product, and no call of a kernel for CPUs."""
    start = every_task.start_of(tmp_path, every_task.WRITERS[task])
    data, n = start.batches.take(0, 1)
    start.batches.close()
    with jax.default_matmul_precision(None):
        for platform in ("cuda", "tpu"):
            traced = start.block.trace(start.state, data, n)
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            assert "lstm_jax_" not in text
            products = products_of(text)
            assert products
            assert [product for product in products if "HIGHEST" not in product] == []
