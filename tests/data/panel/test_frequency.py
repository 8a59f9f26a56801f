"""Frequencies: their times, their seasons, and how they are told from times."""

import json

import numpy as np
import pandas as pd
import pytest

from lstm_jax.data.panel import Frequency, infer_frequency
from lstm_jax.data.text import DataError

RULES = ["ms", "250ms", "s", "15min", "h", "3h", "D", "2D", "B", "W-SUN", "2W-TUE"]
RULES += ["MS", "ME", "2MS", "BMS", "BME", "QS-OCT", "QS-NOV", "QE-DEC", "BQS-OCT"]
RULES += ["BQE-DEC", "2QS-OCT", "YS-JAN", "YS-APR", "YE-DEC", "2YS-JAN", "BYS-JAN"]
RULES += ["BYE-DEC"]
START = "2001-03-05 00:00"


def times_of(rule, count=60):
    """What pandas says that the times are."""
    if isinstance(rule, int):
        return 7 + rule * np.arange(count)
    return pd.date_range(START, periods=count, freq=rule, unit="us").to_numpy()


@pytest.mark.parametrize("rule", [*RULES, "2B", "36h", 1, 5])
def test_the_times_are_those_of_pandas(rule):
    frequency, times = Frequency(rule), times_of(rule)
    np.testing.assert_array_equal(frequency.grid(times[0], times[-1]), times)
    np.testing.assert_array_equal(frequency.after(times[9], 4), times[10:14])
    assert frequency.grid(times[0], times[-1]).dtype == times.dtype
    origins = np.repeat(times[3], 57)
    np.testing.assert_array_equal(
        frequency.positions(origins, times[3:]), np.arange(57)
    )


@pytest.mark.parametrize("rule", RULES)
def test_times_between_are_not_on_the_grid(rule):
    frequency, times = Frequency(rule), times_of(rule)
    later = times + np.timedelta64(1, "us")
    assert (frequency.positions(times[:1].repeat(60), later) == -1).all()
    assert frequency.positions(times[5:6], times[:1]) == -1


@pytest.mark.parametrize("rule", ["2D", "2W-TUE", "2MS", "2B", "3h"])
def test_times_between_those_of_a_multiple(rule):
    single = Frequency(rule[1:] if rule[0].isdigit() else rule)
    times = single.grid(times_of(rule)[0], times_of(rule)[5])
    on = Frequency(rule).positions(times[:1].repeat(len(times)), times) >= 0
    np.testing.assert_array_equal(times[on], times_of(rule)[:6])


@pytest.mark.parametrize("rule", [*RULES, 1, 5])
@pytest.mark.parametrize("gaps", [[], [5, 40, 41]])
def test_is_told_from_the_times(rule, gaps):
    assert infer_frequency(np.delete(times_of(rule), gaps), "a") == Frequency(rule)


def test_a_stray_time_does_not_hide_the_frequency():
    times = np.insert(times_of("h"), 5, times_of("h")[4] + np.timedelta64(7, "m"))
    assert str(infer_frequency(times)) == "h"


def test_one_clock_time_of_all_days():
    times = times_of("ME", 9) + np.timedelta64(90, "m")
    assert str(infer_frequency(times)) == "ME"
    grid = Frequency("ME").grid(times[0], times[-1])
    np.testing.assert_array_equal(grid, times)


def test_business_days_need_a_weekend_to_be_told():
    days = pd.bdate_range("2024-01-01", periods=5).to_numpy()
    assert str(infer_frequency(days)) == "D"
    days = pd.bdate_range("2024-01-01", periods=6).to_numpy()
    assert str(infer_frequency(days)) == "B"


@pytest.mark.parametrize(
    ("rule", "season"),
    [
        ("15min", 96),
        ("min", 1440),
        ("7min", 1),
        ("h", 24),
        ("2h", 12),
        ("D", 7),
        ("B", 5),
        ("W", 52),
        ("MS", 12),
        ("2ME", 6),
        ("BME", 12),
        ("QS-OCT", 4),
        ("BQE", 4),
        ("YE", 1),
        (1, 1),
        (7, 1),
    ],
)
def test_season(rule, season):
    assert Frequency(rule).season == season


@pytest.mark.parametrize("rule", [*RULES, 1, 5])
def test_it_is_a_value_and_survives_json(rule):
    frequency = Frequency(rule)
    again = Frequency.restore(json.loads(json.dumps(frequency.facts())))
    assert again == frequency
    assert hash(again) == hash(frequency)
    assert str(frequency) == str(rule)


def test_one_name_for_one_frequency():
    assert Frequency("60min") == Frequency("h") == Frequency("3600s")
    assert str(Frequency("QS")) == "QS-JAN"
    assert Frequency("h").by_clock
    assert not Frequency("D").by_clock


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Frequency("M"), "is 'M' .did you mean 'ME'.*an alias of pandas"),
        (lambda: Frequency("H"), "is 'H' .did you mean 'h'"),
        (lambda: Frequency("fortnight"), "is 'fortnight', expected an alias"),
        (lambda: Frequency(""), "is '', expected"),
        (lambda: Frequency("-1D"), "is '-1D', expected"),
        (lambda: Frequency("0h"), "is '0h', expected"),
        (lambda: Frequency("bh"), "is 'bh', expected"),
        (lambda: Frequency("us"), "is 'us', expected"),
        (lambda: Frequency(0), "is 0, expected a whole number of 1"),
        (lambda: Frequency(1.5), "is 1.5, expected a whole"),  # type: ignore
        (lambda: Frequency.restore({}), "facts of a frequency are {}"),
        (lambda: infer_frequency(times_of("D", 2), "b"), "2 rows of series 'b'"),
        (
            lambda: infer_frequency(times_of("36h"), "b"),
            "series 'b' have no frequency .* is 1.5 days.; set frequency",
        ),
        (lambda: infer_frequency(times_of("us"), "b"), "finer than a millisecond"),
    ],
)
def test_what_cannot_be_used(make, said):
    with pytest.raises(DataError, match=said):
        make()
