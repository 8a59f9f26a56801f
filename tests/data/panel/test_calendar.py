"""Calendar features are what pandas says of the times, from -0.5 to 0.5."""

import numpy as np
import pandas as pd
import pytest

from lstm_jax.data.panel import Frequency, calendar_features, calendar_names
from lstm_jax.data.panel.calendar import FEATURES

TRUTH = {
    "second_of_minute": lambda t: t.second,
    "minute_of_hour": lambda t: t.minute,
    "hour_of_day": lambda t: t.hour,
    "day_of_week": lambda t: t.day_of_week,
    "day_of_month": lambda t: t.day - 1,
    "day_of_year": lambda t: t.day_of_year - 1,
    "week_of_year": lambda t: t.isocalendar().week.to_numpy().astype(int) - 1,
    "month_of_year": lambda t: t.month - 1,
    "quarter_of_year": lambda t: t.quarter - 1,
}


RULES = ("s", "7min", "h", "D", "B", "W-WED", "ME", "QS", "YE")


@pytest.mark.parametrize("rule", RULES)
def test_against_pandas(rule):
    start = "1968-12-20" if rule in ("s", "7min", "h") else "1960-12-20"
    times = pd.date_range(start, periods=900, freq=rule, unit="us")
    frequency = Frequency(rule)
    found = calendar_features(times.to_numpy(), frequency)
    names = calendar_names(frequency)
    assert found.shape == (900, len(names))
    assert found.dtype == np.float32
    for column, name in zip(found.T, names, strict=True):
        values = np.rint((column + 0.5) * (FEATURES[name] - 1))
        np.testing.assert_array_equal(values, TRUTH[name](times), name)


def test_both_ends():
    times = pd.date_range("2020-01-01", "2021-01-01", freq="h", unit="us").to_numpy()
    found = calendar_features(times, Frequency("h"))
    np.testing.assert_array_equal(found.min(axis=0), -0.5)
    np.testing.assert_array_equal(found.max(axis=0), 0.5)


def test_whole_numbers_have_none():
    assert calendar_names(Frequency(1)) == calendar_names(Frequency("YS")) == ()
    assert calendar_features(np.arange(4), Frequency(1)).shape == (4, 0)


def test_finer_frequencies_have_more():
    many = [
        len(calendar_names(Frequency(rule))) for rule in ("s", "min", "h", "D", "W")
    ]
    assert many == [6, 5, 4, 3, 1]
