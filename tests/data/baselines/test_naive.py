"""Naive forecasts against values written by hand, and Naive2 against plain loops."""

import math

import numpy as np
import pytest

from lstm_jax.data.baselines import (
    naive,
    naive2,
    seasonal_naive,
    seasonal_naive_quantiles,
)
from lstm_jax.data.baselines.naive2 import is_seasonal, seasonal_indices
from lstm_jax.data.text import DataError

NAN = float("nan")


def test_repeats_the_last_season():
    x = [[9, 9, 1, 2, 3], [8, 8, 4, 5, 6]]
    found = seasonal_naive(x, season=3, horizon=7)
    assert found.tolist() == [[1, 2, 3, 1, 2, 3, 1], [4, 5, 6, 4, 5, 6, 4]]
    assert naive(x, horizon=2).tolist() == [[3, 3], [6, 6]]
    assert seasonal_naive(x, season=5, horizon=2).tolist() == [[9, 9], [8, 8]]


def test_missing_values_come_from_the_season_before():
    x = [7, 1, 2, 3, NAN, 5, NAN]
    # The last season is NAN, 5, NAN and the one before 1, 2, 3.
    assert seasonal_naive(x, season=3, horizon=3).tolist() == [1, 5, 3]
    assert naive(x, horizon=1).tolist() == [5]


def test_quantiles_are_those_of_a_seasonal_random_walk():
    """Simulated: the errors of the forecast have the quantiles that it says."""
    rng = np.random.default_rng(0)
    m, H, T, N = 3, 7, 3000, 400
    steps = rng.normal(scale=2.0, size=(N, T // m + 3, m))
    walks = steps.cumsum(axis=1).reshape(N, -1)
    levels = [0.1, 0.5, 0.9]
    found = seasonal_naive_quantiles(walks[:, :T], m, H, levels)
    below = (walks[:, T : T + H, None] <= found).mean(axis=0)
    np.testing.assert_allclose(below, np.tile(levels, (H, 1)), atol=0.07)
    point = seasonal_naive(walks[:, :T], m, H)
    np.testing.assert_allclose(found[..., 1], point)
    width = (found[..., 2] - found[..., 0])[:, [0, 2, 3, 6]]
    ratios = (width / width[:, :1]).mean(axis=0)
    np.testing.assert_allclose(ratios, np.sqrt([1, 1, 2, 3]))
    np.testing.assert_allclose(width[:, 0], 2 * 1.2816 * 2, rtol=0.1)


def test_missing_values_do_not_count_in_the_spread():
    full = seasonal_naive_quantiles([0, 1, 3, 4], 1, 1, [0.9])
    gap = seasonal_naive_quantiles([NAN, 0, 1, NAN, 1, 3, 4], 1, 1, [0.9])
    np.testing.assert_allclose(full, 4 + 1.2816 * math.sqrt(6 / 3), atol=1e-3)
    np.testing.assert_allclose(gap, 4 + 1.2816 * math.sqrt(6 / 3), atol=1e-3)


def loop_naive2(x, m, H):
    """R's acf and decompose, index by index."""
    T, mean = len(x), np.mean(x)
    total = sum((v - mean) ** 2 for v in x)
    r = [
        sum((x[t] - mean) * (x[t + k] - mean) for t in range(T - k)) / total
        for k in range(1, m + 1)
    ]
    limit = 1.645 / math.sqrt(T) * math.sqrt(1 + 2 * sum(v * v for v in r[:-1]))
    if m > T / 3 or abs(r[-1]) <= limit:
        return [x[-1]] * H
    ratios = [[] for _ in range(m)]
    for t in range(m // 2, T - m // 2):
        around = list(x[t - m // 2 : t + m // 2 + 1])
        if m % 2 == 0:
            around[0], around[-1] = around[0] / 2, around[-1] / 2
        ratios[t % m].append(x[t] / (sum(around) / m))
    figure = np.array([np.mean(found) for found in ratios])
    figure /= figure.mean()
    return [x[-1] / figure[(T - 1) % m] * figure[(T + h) % m] for h in range(H)]


@pytest.mark.parametrize("season", [2, 3, 4, 7])
@pytest.mark.parametrize("extra", [0, 1, 5])
def test_naive2_matches_a_loop(season, extra):
    rng = np.random.default_rng(season)
    t = np.arange(12 * season + extra)
    x = (20 + 0.1 * t) * (1 + 0.3 * (t % season)) * rng.uniform(0.9, 1.1, len(t))
    assert is_seasonal(x, season)
    found = naive2(x, season, 2 * season + 1)
    np.testing.assert_allclose(found, loop_naive2(x, season, 2 * season + 1))
    assert not np.allclose(found, x[-1])


def test_naive2_of_noise_is_naive_about_nine_times_in_ten():
    rng = np.random.default_rng(0)
    noise = rng.uniform(1, 2, (600, 60))
    seasonal = np.mean([is_seasonal(x, 4) for x in noise])
    assert 0.05 < seasonal < 0.13
    for x in noise[:50]:
        np.testing.assert_allclose(naive2(x, 4, 5), loop_naive2(x, 4, 5))


def test_naive2_needs_three_seasons_and_known_lags():
    day = np.array([1.0, 2.0, 3.0, 4.0])
    assert is_seasonal(np.tile(day, 3), 4)
    # Significant, and one value short of three seasons.
    assert not is_seasonal(np.array([2.0, 1, 8, 6, 7, 8, 1, 3, 3, 2, 6]), 4)
    # R knows autocorrelations up to lag 10 log10(T): 18 of 84 values.
    assert not is_seasonal(np.tile(np.arange(1.0, 29), 3), 28)
    assert not is_seasonal(np.ones(40), 4)
    assert naive2(np.ones(40), 4, 2).tolist() == [1, 1]
    assert naive2([3.0, -1.0], 1, 2).tolist() == [-1, -1]


def test_indices_have_mean_one_and_drop_a_trend():
    t = np.arange(48)
    found = seasonal_indices((100 + t) * np.array([0.5, 1.0, 1.5])[t % 3], 3)
    assert found.mean() == pytest.approx(1)
    np.testing.assert_allclose(found, [0.5, 1, 1.5], rtol=1e-2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: naive([NAN], 1), "season=1 without any observed value"),
        (lambda: naive([1.0], 0), "horizon=0, expected 1 or more"),
        (lambda: seasonal_naive([1, 2], 3, 1), r"shape \(2,\), expected \[..., T\] wi"),
        (lambda: seasonal_naive([1, NAN], 2, 1), "season=2 without any observed"),
        (lambda: seasonal_naive([1, np.inf], 2, 1), "infinite values"),
        (lambda: seasonal_naive(1.0, 1, 1), r"history has shape \(\)"),
        (lambda: seasonal_naive_quantiles([1, 2], 2, 1, [0.5]), "2 steps apart"),
        (lambda: seasonal_naive_quantiles([1, 2], 1, 1, [90]), r"levels=\[90\], expe"),
        (lambda: naive2([1, NAN], 2, 1), r"expected \[T\] without missing values"),
        (lambda: naive2([[1, 2]], 2, 1), r"history has shape \(1, 2\)"),
        (lambda: naive2([1, 0], 2, 1), "history has the value 0.0, expected values a"),
        (lambda: naive2([1, 2], 0, 1), "season=0, expected 1 or more"),
    ],
)
def test_what_does_not_fit(call, said):
    with pytest.raises(DataError, match=said):
        call()
