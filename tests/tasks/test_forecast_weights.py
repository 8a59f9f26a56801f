"""What an error counts: the weighted loss is the metric it is named after."""

import numpy as np
import pytest

from lstm_jax.data.text import DataError
from lstm_jax.scores.forecast import seasonal_scale
from lstm_jax.tasks.forecast_standard import AsTheyAre, Logarithm, Standard
from lstm_jax.tasks.forecast_weights import error_weights

SEASON, ENDS = 4, [30, 24]


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    found = [rng.gamma(5, 10.0**n, 40) for n in range(2)]
    found[0][7] = np.nan
    return found


def weights(how, values, read_by):
    scale = seasonal_scale(
        [x[:end] for x, end in zip(values, ENDS, strict=True)], SEASON
    )
    units = read_by.units(values)
    return error_weights(how, values, units, scale, ENDS, SEASON), scale


@pytest.mark.parametrize(
    "read_by",
    [
        AsTheyAre(np.ones(2)),
        Logarithm(),
        Standard(np.array([3.0, 50.0]), np.array([2.0, 30.0])),
    ],
    ids=lambda read_by: type(read_by).__name__,
)
def test_small_errors_count_as_the_metric_counts_them(values, read_by):
    """A change of the model's forecast by ε moves the weighted loss of a step in
    proportion to what it moves the metric."""
    epsilon = 1e-6
    truth = read_by.apply(values)
    moved = [x + epsilon for x in truth]
    errors = [
        read_by.undo(np.stack(rows)[..., None], np.arange(2))[..., 0]
        for rows in (truth, moved)
    ]
    errors = abs(errors[1] - errors[0])
    factors = {}
    for how in ("mase", "smape", "owa"):
        found, scale = weights(how, values, read_by)
        counted = np.stack(found) * epsilon
        assert (counted[0, 7], counted[1, 7] > 0) == (0, True)
        metric = {
            "mase": errors / scale[:, None],
            "smape": errors / np.maximum(np.stack(values), scale[:, None]),
        }
        usual = []
        for x, end, s in zip(values, ENDS, scale, strict=True):
            naive = abs(x[SEASON:end] - x[: end - SEASON])
            usual.extend(naive / np.maximum(x[SEASON:end], s))
        metric["owa"] = metric["mase"] + metric["smape"] / np.nanmean(usual)
        there = ~np.isnan(metric[how])
        ratio = counted[there] / metric[how][there]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
        factors[how] = ratio[0]
        train = np.concatenate([w[:end] for w, end in zip(found, ENDS, strict=True)])
        np.testing.assert_allclose(train[train > 0].mean(), 1, rtol=1e-9)
    assert len({*factors.values()}) == 3


def test_a_series_without_a_season_counts_relative_to_its_values(values):
    values[1][:] = 5.0
    found, scale = weights("mase", values, AsTheyAre(np.ones(2)))
    assert scale[1] == 0
    assert np.isfinite(np.stack(found)).all()
    assert (found[1] > 0).all()
    values[1][:30] = 0.0
    values[0][:] = 0.0
    with pytest.raises(DataError, match="all values of the training split are 0"):
        weights("smape", values, AsTheyAre(np.ones(2)))
