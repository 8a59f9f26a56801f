"""The highest logits of each row, against `jax.lax.top_k`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.inference.best_tokens import CHUNK, best_tokens


@pytest.mark.parametrize("distinct", [2, 50, None], ids=["ties", "few", "all"])
@pytest.mark.parametrize(
    ("vocabulary", "count"),
    [(1, 1), (7, 7), (10 * CHUNK, 1), (10 * CHUNK - 1, 3), (40 * CHUNK + 1, 6)],
)
def test_as_a_sort_finds_them(vocabulary, count, distinct):
    rng = np.random.default_rng(vocabulary)
    rows = rng.normal(size=(30, vocabulary)).astype(np.float32)
    if distinct:
        rows = rng.integers(distinct, size=rows.shape).astype(np.float32)
    rows[rng.random(rows.shape) < 0.3] = -np.inf
    rows[:3, count:] = -np.inf
    found = jax.jit(best_tokens, static_argnums=1)(jnp.asarray(rows), count)
    order = np.argsort(-rows, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(found[1], order)
    np.testing.assert_array_equal(found[0], np.take_along_axis(rows, order, 1))


@pytest.mark.parametrize("nan", [np.nan, -np.nan])
def test_tokens_of_a_row_with_nan_exist(nan):
    rows = jnp.full((2, 10 * CHUNK - 1), nan).at[1, :-1].set(1.0)
    _, tokens = best_tokens(rows, 4)
    assert ((tokens >= 0) & (tokens < rows.shape[1])).all()
