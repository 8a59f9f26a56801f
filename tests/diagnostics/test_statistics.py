"""Saturation, time constants and drift, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.diagnostics import carry_drift, saturation, time_constant

GATE = np.array(
    [[[0.05, 0.5], [0.95, 0.2]], [[0.01, 0.95], [9.0, 9.0]]], np.float32
)  # [T, B, H]; the last step of the second row is padding
MASK = np.array([[True, True], [True, False]])


def test_saturation_counts_real_steps():
    found = saturation(GATE, mask=MASK)
    np.testing.assert_allclose(found.low, [2 / 3, 0])
    np.testing.assert_allclose(found.high, [1 / 3, 1 / 3])


def test_a_time_constant_is_what_a_state_decays_with():
    f = np.array([[0.9], [0.5], [0.8]], np.float32)
    left = np.prod(f)  # after three steps
    np.testing.assert_allclose(np.exp(-3 / time_constant(f)), [left], rtol=1e-6)
    masked = np.where(MASK[..., None], GATE / 10 + 0.5, np.nan)
    logs = np.log(masked[MASK].astype(np.float64)).mean(0)
    found = time_constant(jnp.asarray(masked), mask=MASK)
    np.testing.assert_allclose(found, -1 / logs, rtol=1e-5)


def test_gates_that_never_or_wholly_forget():
    assert time_constant(jnp.array([[1.0, 0.0]])).tolist() == [np.inf, 0.0]


def test_drift_of_real_steps():
    c = np.stack([np.arange(6.0), np.full(6, 100.0)], axis=1)[:, :, None]
    mask = np.stack([np.ones(6, bool), np.zeros(6, bool)], axis=1)
    found = carry_drift(jnp.asarray(c, jnp.float32), mask=mask)
    np.testing.assert_allclose(found.size, np.arange(6.0))
    np.testing.assert_allclose(found.slope, 1.0)


def test_padding_at_the_end_is_no_drift():
    c, mask = np.ones((10, 2, 1), np.float32), np.arange(10)[:, None] < np.array([6, 4])
    c = np.where(mask[..., None], c, 0)
    found = carry_drift(c, mask=mask)
    np.testing.assert_allclose(found.size, mask.any(1))
    assert found.slope == 0
    rising = np.where(mask[..., None], np.arange(10.0)[:, None, None] + c, 0)
    np.testing.assert_allclose(carry_drift(rising, mask=mask).slope, 1.0)
    assert carry_drift(c, mask=np.zeros((10, 2), bool)).slope == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: saturation(GATE, low=0.9, high=0.1), "low is 0.9 and high is 0.1"),
        (lambda: time_constant(np.ones(3, np.float32)), r"\[T, ..., H\]"),
        (lambda: carry_drift(np.ones((1, 3), np.float32)), "at least two steps"),
        (lambda: saturation(GATE, mask=MASK[:1]), "mask has shape"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
