"""The frequency of a series, told from its times."""

import numpy as np

from lstm_jax.data.panel.frequency import (
    DAY,
    WEEKDAYS,
    Frequency,
    coarsest,
    weekday,
)
from lstm_jax.data.panel.rows import called
from lstm_jax.data.text import DataError

MONTH = 365.25 / 12
"""Days."""

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN")
MONTHS += ("JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def infer_frequency(times: np.ndarray, name: str = "") -> Frequency:
    """The frequency of a series from the most frequent difference of its times, so that
    gaps do not hide it.

    Days without Saturdays and Sundays are business days. Months, quarters and years
    start or end on a day, or a business day, that all their times share.

    Args:
        times: ``[T]``, ascending, datetime64 or int64.
        name: of the series, for errors.

    Raises:
        DataError: there are fewer than three times, or no frequency has these times.

    >>> days = np.array(["2024-01-31", "2024-02-29", "2024-04-30", "2024-05-31"], "M8")
    >>> infer_frequency(days, "a")  # March is missing
    Frequency(rule='ME')
    """
    if len(times) < 3:
        raise DataError(
            f"the frequency cannot be told from the {len(times)} rows of "
            f"{called(name)}, expected three or more; set frequency, for example 'D'."
        )
    step = common_step(times)
    if np.issubdtype(times.dtype, np.integer):
        return Frequency(step)
    times = times.astype("datetime64[us]")
    if step < DAY:
        if step % 1000:
            raise _unclear(name, "they are finer than a millisecond")
        return Frequency(coarsest(step))
    days, part = divmod(step, DAY)
    if not part and days < 28 and (days % 7 == 0 or days < 7):
        return _of_days(times, days)
    months = round(step / DAY / MONTH)
    for rule in _rules(times, months):
        frequency = Frequency(rule)
        if (frequency.positions(times[:1].repeat(len(times)), times) >= 0).all():
            return frequency
    raise _unclear(name, f"the most frequent difference is {step / DAY:g} days")


def common_step(times: np.ndarray) -> int:
    """The most frequent difference of ascending times; the smallest if there is a tie.
    Of datetime64 in microseconds."""
    if not np.issubdtype(times.dtype, np.integer):
        times = times.astype("datetime64[us]")
    sizes, counts = np.unique(np.diff(times.astype(np.int64)), return_counts=True)
    return int(sizes[counts.argmax()])


def _of_days(times, days):
    weekdays = weekday(times)
    if days == 1:
        mondays = times.astype("datetime64[D]") - weekdays
        several_weeks = mondays[0] < mondays[-1]
        return Frequency("B" if several_weeks and weekdays.max() < 5 else "D")
    if days % 7:
        return Frequency(f"{days}D")
    anchor = WEEKDAYS[np.bincount(weekdays).argmax()]
    return Frequency(f"{days // 7}W-{anchor}")


def _rules(times, months):
    """Aliases of so many months, the plainest first."""
    if months < 1:
        return
    month = times.astype("datetime64[M]").astype(np.int64) % 12
    anchor = MONTHS[month[0]]
    if months % 12 == 0:
        count, unit, anchor = months // 12, "Y", f"-{anchor}"
    elif months % 3 == 0:
        # pandas names quarters by the last of the months they may start or end in.
        count, unit, anchor = months // 3, "Q", f"-{MONTHS[9 + month[0] % 3]}"
    else:
        count, unit, anchor = months, "M", ""
    for business in ("", "B"):
        for side in ("S", "E"):
            yield f"{count}{business}{unit}{side}{anchor}"


def _unclear(name, why):
    return DataError(
        f"the times of {called(name)} have no frequency that can be told ({why}); set "
        f"frequency, for example 'D'."
    )
