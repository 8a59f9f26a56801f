"""Calendar features: where in the day, the week and the year a time lies."""

import numpy as np

from lstm_jax.data.panel.frequency import Frequency, weekday

FEATURES = {
    "second_of_minute": 60,
    "minute_of_hour": 60,
    "hour_of_day": 24,
    "day_of_week": 7,
    "day_of_month": 31,
    "day_of_year": 366,
    "week_of_year": 53,
    "month_of_year": 12,
    "quarter_of_year": 4,
}
"""How many values each feature has."""

LONGEST_DAY = 96
"""Steps of a day with which a week is not too long to look back on."""

_DAYS = ("day_of_week", "day_of_month", "day_of_year")
_HOURS = ("hour_of_day", *_DAYS)
_OF_PERIOD = {
    "ms": ("second_of_minute", "minute_of_hour", *_HOURS),
    "s": ("second_of_minute", "minute_of_hour", *_HOURS),
    "min": ("minute_of_hour", *_HOURS),
    "h": _HOURS,
    "D": _DAYS,
    "B": _DAYS,
    "W": ("week_of_year",),
    "M": ("month_of_year",),
    "Q": ("quarter_of_year",),
}


def calendar_names(frequency: Frequency) -> tuple[str, ...]:
    """The names of the calendar features of a frequency; years and whole numbers have
    none.

    >>> calendar_names(Frequency("D"))
    ('day_of_week', 'day_of_month', 'day_of_year')
    """
    return _OF_PERIOD.get(frequency.period, ())


def usual_lags(frequency: Frequency, season: int) -> tuple[int, ...]:
    """The lags that are usually worth reading: a season, and where a season is a day a
    week as well.

    >>> usual_lags(Frequency("h"), 24), usual_lags(Frequency("MS"), 12)
    ((24, 168), (12,))
    """
    if season < 2:
        return ()
    day = frequency.period in ("min", "h") and season == frequency.season
    return (season, 7 * season) if day and season <= LONGEST_DAY else (season,)


def calendar_features(times: np.ndarray, frequency: Frequency) -> np.ndarray:
    """The calendar features of times, from -0.5 (the first value) to 0.5 (the last).

    Args:
        times: ``[T]``, datetime64 in local time, as `Panel.local` returns them.

    Returns:
        float32 ``[T, C]``; the columns are those of `calendar_names`. Weeks start on
        Monday and are those of ISO 8601.

    >>> times = np.array(["2024-01-01", "2024-12-31"], "datetime64[us]")  # Mon, Tue
    >>> calendar_features(times, Frequency("D")).round(3).tolist()
    [[-0.5, -0.5, -0.5], [-0.3330000042915344, 0.5, 0.5]]
    """
    names = calendar_names(frequency)
    if not names:
        return np.zeros((len(times), 0), np.float32)
    values = _values(times)
    scaled = [values[name] / (FEATURES[name] - 1) - 0.5 for name in names]
    return np.stack(scaled, axis=1).astype(np.float32)


def _values(times):
    """Every feature as whole numbers that start at 0."""
    day = times.astype("datetime64[D]")
    seconds = (times - day).astype("timedelta64[s]").astype(np.int64)
    month = day.astype("datetime64[M]")
    months = month.astype(np.int64) % 12
    of_week = weekday(day)
    # A week belongs to the year of its Thursday.
    thursday = day + (3 - of_week)
    return {
        "second_of_minute": seconds % 60,
        "minute_of_hour": seconds // 60 % 60,
        "hour_of_day": seconds // 3600,
        "day_of_week": of_week,
        "day_of_month": (day - month).astype(np.int64),
        "day_of_year": _day_of_year(day),
        "week_of_year": _day_of_year(thursday) // 7,
        "month_of_year": months,
        "quarter_of_year": months // 3,
    }


def _day_of_year(day):
    return (day - day.astype("datetime64[Y]")).astype(np.int64)
