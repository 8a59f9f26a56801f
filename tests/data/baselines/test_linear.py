"""The closed-form linear map against least squares over all windows."""

import numpy as np
import pytest

from lstm_jax.data.baselines import fit_linear, linear, windows
from lstm_jax.data.text import DataError

NAN = float("nan")
L, H, C = 6, 3, 2


def series(seed, steps=80):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(steps, C)).cumsum(axis=0)
    return 3 + noise + np.sin(np.arange(steps))[:, None]


def pairs(values):
    """Every window without a missing value, by a loop."""
    found = [
        (values[t : t + L, c], values[t + L : t + L + H, c])
        for c in range(C)
        for t in range(len(values) - L - H + 1)
        if not np.isnan(values[t : t + L + H, c]).any()
    ]
    return np.array([x for x, _ in found]), np.array([y for _, y in found])


def least_squares(values, centre, strength):
    """Ridge regression as ordinary least squares with extra rows."""
    x, y = pairs(values)
    if centre == "last":
        x, y = x - x[:, -1:], y - x[:, -1:]
    mean, bias = x.mean(axis=0), y.mean(axis=0)
    penalty = np.sqrt(strength * x.var(axis=0).mean() * len(x)) * np.eye(L)
    rows = np.concatenate([x - mean, penalty])
    targets = np.concatenate([y - bias, np.zeros((L, H))])
    w = np.linalg.lstsq(rows, targets, rcond=None)[0]
    return w, bias - mean @ w


@pytest.mark.parametrize("centre", ["last", "none"])
@pytest.mark.parametrize("strength", [1e-6, 0.1, 100.0])
@pytest.mark.parametrize("gaps", [False, True])
def test_is_ridge_regression_on_all_windows(centre, strength, gaps):
    train, valid = series(0), series(1)
    if gaps:
        train[10, 0], valid[30, 1] = NAN, NAN
    found = fit_linear(train, valid, L, H, centre=centre, strengths=[strength])
    w, b = least_squares(train, centre, strength)
    np.testing.assert_allclose(found.weights, w, atol=1e-7)
    np.testing.assert_allclose(found.bias, b, atol=1e-7)
    x, y = pairs(valid)
    s = x[:, -1:] if centre == "last" else 0
    np.testing.assert_allclose(found(x), (x - s) @ w + b + s, atol=1e-6)
    assert found.valid_mse[strength] == pytest.approx(np.mean((y - found(x)) ** 2))


def test_validation_chooses_the_strength():
    """With few training windows neither the smallest nor the largest is best."""
    train, valid = series(2, steps=14), series(3)
    found = fit_linear(train, valid, L, H)
    x, y = pairs(valid)
    errors = {}
    for strength in linear.STRENGTHS:
        one = fit_linear(train, valid, L, H, strengths=[strength])
        errors[strength] = np.mean((y - one(x)) ** 2)
    assert found.strength == min(errors, key=errors.get)
    assert found.strength not in (linear.STRENGTHS[0], linear.STRENGTHS[-1])
    assert found.valid_mse == pytest.approx(errors)


def test_the_last_value_moves_with_the_series():
    """A level that the training split never saw shifts the forecast and no more."""
    found = fit_linear(series(0), series(1), L, H, centre="last")
    x = pairs(series(4))[0]
    np.testing.assert_allclose(found(x + 50), found(x) + 50)
    assert not np.allclose(
        fit_linear(series(0), series(1), L, H, centre="none", strengths=[100.0])(
            x + 50
        ),
        found(x) + 50,
    )


def test_a_strong_penalty_is_the_naive_forecast_with_drift():
    train = series(0)
    found = fit_linear(train, series(1), L, H, strengths=[1e9])
    x, y = pairs(train)
    drift = (y - x[:, -1:]).mean(axis=0)
    np.testing.assert_allclose(found(x), x[:, -1:] + drift, atol=1e-5)


def test_windows_in_pieces_are_windows_at_once(monkeypatch):
    whole = fit_linear(series(0), series(1), L, H)
    monkeypatch.setattr(linear, "ROWS", 7)
    parts = fit_linear(series(0), series(1), L, H)
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-9)


def test_a_constant_split_is_forecast_as_constant():
    for value in (0.0, 1e6):
        for centre in ("last", "none"):
            flat = np.full((40, C), value)
            found = fit_linear(flat, flat, L, H, centre=centre)
            np.testing.assert_allclose(found(flat[:L, 0]), value)


def test_windows_are_all_there_and_in_order():
    values = np.arange(20.0).reshape(10, 2)
    x, y = windows(values, 3, 2)
    assert x.shape == (6, 2, 3)
    assert y.shape == (6, 2, 2)
    assert x[0, 1].tolist() == [1, 3, 5]
    assert y[-1, 0].tolist() == [16, 18]


A = series(0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: fit_linear(A[:8], A, L, H),
            "train: the series has shape .* T of 9 or",
        ),
        (lambda: fit_linear(A, A[:8], L, H), "valid: the series has shape"),
        (
            lambda: fit_linear(A, A * NAN, L, H),
            "valid has no window of 9 steps without",
        ),
        (lambda: fit_linear(A[:, 0], A, L, H), r"shape \(80,\), expected \[T, C\]"),
        (lambda: fit_linear(A / 0.0, A, L, H), "train: the series has infinite"),
        (lambda: fit_linear(A, A, 0, H), "lookback=0 and horizon=3, expected 1 or"),
        (lambda: fit_linear(A, A, L, H, centre="mean"), "centre='mean' must be one of"),
        (lambda: fit_linear(A, A, L, H, strengths=[0]), r"strengths=\[0\], expected"),
        (lambda: fit_linear(A, A, L, H, strengths=[]), r"strengths=\[\], expected"),
        (
            lambda: fit_linear(A, A, L, H)(A[:5, 0]),
            r"shape \(5,\), expected \[..., 6\]",
        ),
    ],
)
def test_what_does_not_fit(call, said):
    with np.errstate(divide="ignore"), pytest.raises(DataError, match=said):
        call()
