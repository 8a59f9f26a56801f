"""How far apart the times of a series are: hours, business days, month ends, integers.

pandas knows the calendar. Here is what the library asks of it.
"""

import dataclasses
import functools
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_jax.data.panel.packages import need
from lstm_jax.data.text import DataError

DAY = 86_400_000_000
"""Microseconds."""

FIXED = {"ms": 1_000, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "D": DAY}
FIXED["W"] = 7 * DAY
"""Microseconds of the units that always last equally long."""

CALENDAR = ("B", "MS", "ME", "BMS", "BME", "QS", "QE", "BQS", "BQE")
CALENDAR += ("YS", "YE", "BYS", "BYE")
"""Units that need a calendar: business days, months, quarters and years."""

SEASONS = {"s": 3600, "min": 1440, "h": 24, "D": 7, "B": 5, "W": 52}
SEASONS |= {"M": 12, "Q": 4, "Y": 1}
"""The usual seasonal period of a unit, in steps of one unit."""

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


@dataclasses.dataclass(frozen=True)
class Frequency:
    """The step between neighbouring times: an alias of pandas, or a whole number.

    Aliases are ``"h"``, ``"15min"``, ``"D"``, ``"B"`` (business days), ``"W-SUN"``,
    ``"MS"`` and ``"ME"`` (starts and ends of months), ``"QS-OCT"``, ``"YE"`` and so on,
    with a number in front if wanted. Equal frequencies are equal: ``60min`` is ``h``.

    Raises:
        DataError: pandas does not know the alias, the step is not positive, or the step
            is finer than a millisecond.

    >>> frequency = Frequency("15min")
    >>> str(frequency), frequency.season
    ('15min', 96)
    >>> Frequency("ME").after(np.datetime64("2024-01-31"), 2).astype("datetime64[D]")
    array(['2024-02-29', '2024-03-31'], dtype='datetime64[D]')
    >>> Frequency(5).grid(10, 25)
    array([10, 15, 20, 25])
    """

    rule: str | int

    def __post_init__(self):
        if isinstance(self.rule, str):
            object.__setattr__(self, "rule", _canonical(self.rule))
        elif type(self.rule) is not int or self.rule < 1:
            raise DataError(
                f"frequency is {self.rule!r}, expected a whole number of 1 or more, or "
                f"an alias of pandas such as 'h', 'D' or 'MS'."
            )

    def __str__(self):
        return str(self.rule)

    @property
    def integer(self) -> bool:
        """Whether times are whole numbers."""
        return isinstance(self.rule, int)

    @property
    def unit(self) -> str:
        """The alias without number and anchor, such as ``W`` of ``2W-SUN``."""
        return "" if self.integer else _parts(self.rule)[1].partition("-")[0]

    @property
    def count(self) -> int:
        """The number in front of the unit; of whole numbers the step."""
        return int(self.rule) if self.integer else _parts(self.rule)[0]

    @property
    def period(self) -> str:
        """What the unit counts: ``ms``, ``s``, ``min``, ``h``, ``D``, ``B``, ``W``,
        ``M``, ``Q`` or ``Y``; of whole numbers an empty text."""
        unit = self.unit
        return unit if unit in (*FIXED, "B", "") else unit.lstrip("B")[0]

    @property
    def by_clock(self) -> bool:
        """Whether steps are measured by the clock, not by the calendar. Hours are even
        when daylight saving changes; a day then lasts 23 or 25 of them."""
        return self.unit in ("ms", "s", "min", "h")

    @property
    def season(self) -> int:
        """The usual seasonal period in steps: a day of hours or minutes, a week of
        days, a year of weeks, months or quarters; 1 if there is none."""
        steps, left = divmod(SEASONS.get(self.period, 1), self.count)
        return steps if steps and not left else 1

    def grid(self, first: Any, last: Any) -> np.ndarray:
        """All times from ``first`` to ``last``: datetime64[us], or int64, ``[T]``."""
        first, last = _times([first, last], self)
        return self.at(np.array([first]), np.arange(self._steps(first, last) + 1))

    def after(self, last: Any, n: int) -> np.ndarray:
        """The next ``n`` times after ``last``: datetime64[us], or int64, ``[n]``."""
        last = _times([last], self)
        return self.at(last, np.arange(1, n + 1))

    def at(self, origins: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """The times that lie ``steps`` ``[N]`` (0 or more) after origins ``[N]`` or
        ``[1]``. Origins must be times of this frequency."""
        if (size := self._size) is not None:
            return origins + steps * size
        if not len(steps):
            return origins[:0]
        days = origins.astype("datetime64[D]")
        most = int(steps.max()) * self.count
        base = _days(self._base, days.min(), days.max(), most)
        at = np.searchsorted(base, days) + steps * self.count
        return base[at].astype(origins.dtype) + (origins - days)

    def positions(self, origins: np.ndarray, times: np.ndarray) -> np.ndarray:
        """How many steps ``times`` ``[N]`` come after their origins ``[N]``, int64;
        -1 of times that are not of this frequency, or earlier."""
        if (size := self._size) is not None:
            steps, left = np.divmod(times - origins, size)
            fine = (left.astype(np.int64) == 0) & (steps >= 0)
            if self.unit == "W":
                fine &= weekday(times) == WEEKDAYS.index(_parts(self.rule)[1][2:])
            return np.where(fine, steps, -1)
        days, starts = times.astype("datetime64[D]"), origins.astype("datetime64[D]")
        both = np.concatenate([starts, days])
        base = _days(self._base, both.min(), both.max())
        at, start = np.searchsorted(base, days), np.searchsorted(base, starts)
        fine = (base[at] == days) & (base[start] == starts)
        fine &= times - days == origins - starts
        steps, left = np.divmod(at - start, self.count)
        return np.where(fine & (left == 0) & (steps >= 0), steps, -1)

    def facts(self) -> dict[str, str | int]:
        """The frequency, ready for JSON; `restore` reads it."""
        return {"rule": self.rule}

    @classmethod
    def restore(cls, facts: Mapping[str, Any]) -> "Frequency":
        """The frequency that returned these `facts`, directly or through JSON.

        Raises:
            DataError: they are not those of a frequency.

        >>> Frequency.restore(Frequency("60min").facts())
        Frequency(rule='h')
        """
        if set(facts) != {"rule"}:
            raise DataError(
                f"the facts of a frequency are {dict(facts)}, expected rule alone."
            )
        return cls(facts["rule"])

    @property
    def _base(self):
        return _parts(self.rule)[1]

    @property
    def _size(self):
        """One step, of frequencies whose steps are all equally long."""
        if self.integer:
            return np.int64(self.count)
        if self.unit in FIXED:
            return np.timedelta64(self.count * FIXED[self.unit], "us")
        return None

    def _steps(self, first, last):
        if self._size is not None:
            return int((last - first) // self._size)
        first, last = (x.astype("datetime64[D]") for x in (first, last))
        base = _days(self._base, first, last)
        inside = (base >= first) & (base <= last)
        return (int(inside.sum()) - 1) // self.count


def _times(times, frequency):
    return np.array(times, np.int64 if frequency.integer else "datetime64[us]")


def weekday(times: np.ndarray) -> np.ndarray:
    """The days of the week of datetime64 ``[T]``; 0 is Monday.

    >>> weekday(np.array(["2024-01-01"], "datetime64[us]"))
    array([0])
    """
    return (times.astype("datetime64[D]").astype(np.int64) + 3) % 7


def _days(base, first, last, more=0):
    """The days of a calendar frequency around ``first`` to ``last``, and ``more``."""
    pandas = need("pandas")
    offset = pandas.tseries.frequencies.to_offset(base)
    # Two steps of slack, so that every search ends inside.
    start, stop = pandas.Timestamp(first), pandas.Timestamp(last)
    dates = pandas.date_range(
        start - 2 * offset, stop + (more + 2) * offset, freq=offset, unit="s"
    )
    return dates.to_numpy().astype("datetime64[D]")


@functools.lru_cache
def _canonical(rule):
    frequencies = need("pandas.tseries.frequencies")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # pandas 2 still knows "M"
            offset = frequencies.to_offset(rule)
    except (ValueError, FutureWarning) as error:
        near = re.search(r"(?:lease use '|Did you mean )([\w-]+)", str(error))
        hint = f" (did you mean {near[1]!r}?)" if near else ""
        raise _unknown(rule, hint) from error
    unit = offset.base.freqstr.partition("-")[0]
    if unit not in (*FIXED, *CALENDAR) or offset.n < 1 or rule == "":
        raise _unknown(rule, "")
    if unit in FIXED and unit not in ("D", "W"):
        return coarsest(offset.n * FIXED[unit])
    return offset.freqstr


def _unknown(rule, hint):
    return DataError(
        f"frequency is {rule!r}{hint}, expected an alias of pandas with one of the "
        f"units {', '.join((*FIXED, *CALENDAR))}, such as '15min', 'W-SUN' or "
        f"'QS-OCT', or a whole number."
    )


def coarsest(microseconds: int) -> str:
    """The alias, below a day, of so many microseconds, a multiple of 1,000.

    >>> coarsest(3_600_000_000), coarsest(90 * 60 * 10**6)
    ('h', '90min')
    """
    unit = next(u for u in ("h", "min", "s", "ms") if not microseconds % FIXED[u])
    count = microseconds // FIXED[unit]
    return unit if count == 1 else f"{count}{unit}"


@functools.lru_cache
def _parts(rule):
    offset = need("pandas.tseries.frequencies").to_offset(rule)
    return offset.n, offset.base.freqstr
