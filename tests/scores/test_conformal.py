"""Conformal intervals hold as often as they say, and not much more often."""

import numpy as np
import pytest

from lstm_jax.scores import (
    conformal_margins,
    quantile_margins,
    residual_margins,
    widen,
)
from lstm_jax.scores.forecast import coverage

NAN = float("nan")
TRIALS, H = 4000, 2


def residual_interval(calibration, new, level):
    """Around a forecast of 0."""
    margins = residual_margins(calibration, 0 * calibration, level=level)
    return widen(0 * new, 0 * new, margins)


def quantile_interval(calibration, new, level):
    """From quantiles that are much too narrow."""
    low, high = calibration * 0 - 0.1, calibration * 0 + 0.1
    margins = quantile_margins(calibration, low, high, level=level)
    return widen(0 * new - 0.1, 0 * new + 0.1, margins)


def wide_interval(calibration, new, level):
    """From quantiles that are much too far apart."""
    low, high = calibration * 0 - 9, calibration * 0 + 8
    margins = quantile_margins(calibration, low, high, level=level)
    assert (margins < 0).all()
    return widen(0 * new - 9, 0 * new + 8, margins)


@pytest.mark.parametrize(("n", "level"), [(9, 0.9), (19, 0.8), (30, 0.9), (7, 0.5)])
@pytest.mark.parametrize(
    "interval", [residual_interval, quantile_interval, wide_interval]
)
def test_coverage_is_in_the_known_band(interval, n, level):
    """Between level and level + 1 / (n + 1), over calibration splits and new values."""
    rng = np.random.default_rng(n)
    found = []
    for _ in range(TRIALS):
        values = rng.normal(size=(n + 4, H))
        low, high = interval(values[:n], values[n:], level)
        found.append(coverage(values[n:], low, high))
    slack = 4 * np.std(found) / np.sqrt(TRIALS)
    assert level - slack <= np.mean(found) <= level + 1 / (n + 1) + slack


def test_the_rank():
    """The ceil((n + 1) level)-th smallest, by column."""
    errors = np.arange(1.0, 20)[::-1, None] * [1, 10]
    for level, k in [(0.95, 19), (0.9, 18), (0.7, 14), (1 - 0.7, 6), (0.051, 2)]:
        np.testing.assert_array_equal(
            conformal_margins(errors, level=level), k * 1.0 * np.array([1, 10])
        )


def test_steps_are_calibrated_apart_and_missing_values_do_not_count():
    truth = np.array([[1.0, 5], [2, NAN], [3, 7], [NAN, 6]])
    forecast = np.where(np.isnan(truth), NAN, 0.0)
    margins = residual_margins(truth, forecast, level=0.75)
    np.testing.assert_array_equal(margins, [3, 7])


def test_ends_that_would_cross_meet_in_the_middle():
    low, high = widen([[1.0, 1.0]], [[2.0, 3.0]], margins=[-3.0, -0.5])
    assert (low.tolist(), high.tolist()) == ([[1.5, 1.5]], [[1.5, 2.5]])


@pytest.mark.parametrize(("level", "least"), [(0.95, 19), (0.9, 9), (0.8, 4), (0.5, 1)])
def test_too_few_errors_are_refused(level, least):
    errors = np.ones((least, 2))
    assert conformal_margins(errors, level=level).tolist() == [1, 1]
    errors[0, 1] = NAN
    said = f"step 1 .* has {least - 1} observed values .* level={level} needs {least};"
    with pytest.raises(ValueError, match=said):
        conformal_margins(errors, level=level)


A = np.zeros((30, 2))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: conformal_margins(A[0], level=0.5), r"errors has shape \(2,\)"),
        (lambda: conformal_margins(A, level=90), "level=90, expected a number between"),
        (lambda: residual_margins(A, A[:1], level=0.5), r"forecast \(1, 2\), expected"),
        (lambda: residual_margins(A, A * NAN, level=0.5), "forecast has values that a"),
        (lambda: quantile_margins(A, A, A * NAN, level=0.5), "upper has values that a"),
        (lambda: widen(A, A, [1.0]), r"margins \(1,\), expected \[N, H\], \[N, H\] an"),
    ],
)
def test_what_does_not_fit(call, said):
    with pytest.raises(ValueError, match=said):
        call()
