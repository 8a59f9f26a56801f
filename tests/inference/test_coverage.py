"""The coverage penalty."""

import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.inference import coverage_penalty


def test_words_that_are_covered_cost_nothing():
    seen = np.array([[0.5, 0.25, 3.0], [1.0, 1.0, 1.5]], np.float32)
    np.testing.assert_allclose(coverage_penalty(seen), [np.log(0.125), 0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_word_never_attended_to_is_finite(dtype):
    penalty = coverage_penalty(jnp.zeros((1, 2, 4), dtype))
    assert penalty.dtype == dtype
    assert penalty.shape == (1, 2)
    assert np.isfinite(penalty).all()
    assert (penalty < -300).all()


def test_nan_stays_nan():
    assert np.isnan(coverage_penalty(jnp.array([jnp.nan, 1.0])))


def test_numbers_are_floating():
    with pytest.raises(TypeError, match="attention has dtype int32"):
        coverage_penalty(jnp.ones((2, 3), jnp.int32))
