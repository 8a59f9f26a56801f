"""Rows on the grid of a frequency: in order of time, every time once."""

import dataclasses

import numpy as np

from lstm_jax.data.panel.frequency import DAY, Frequency
from lstm_jax.data.panel.infer import common_step, infer_frequency
from lstm_jax.data.panel.rows import Rows, called
from lstm_jax.data.panel.zones import to_local, to_utc
from lstm_jax.data.text import DataError

SPARSE = 100
"""A panel with more steps than so many times its rows has a wrong time somewhere."""


@dataclasses.dataclass(frozen=True, eq=False)
class Regular:
    """Where the rows stand on the grids of their series."""

    frequency: Frequency
    order: np.ndarray
    """The rows by series and time ``[N]``."""
    starts: np.ndarray
    """Where each of the ``S`` series starts in this order ``[S]``."""
    origins: np.ndarray
    """The first time of each series ``[S]``."""
    steps: np.ndarray
    """How many steps each row comes after the first of its series ``[N]``."""
    were_sorted: bool

    @property
    def counts(self) -> np.ndarray:
        """The rows of each series ``[S]``."""
        return np.diff(self.starts, append=len(self.order))

    @property
    def lengths(self) -> np.ndarray:
        """The steps of each grid ``[S]``."""
        return self.steps[self.starts + self.counts - 1] + 1


def regular(rows: Rows, frequency: Frequency | None) -> Regular:
    """Sorts rows by time and finds them on the grid of a frequency.

    Raises:
        DataError: a time appears twice in its series or is not on the grid, there is no
            frequency or several, or the gaps are so long that a time must be wrong.
    """
    order = np.argsort(rows.codes, kind="stable")
    times = rows.times[order]
    falls = (times[1:] < times[:-1]) & (np.diff(rows.codes[order]) == 0)
    were_sorted = not falls.any()
    if not were_sorted:
        order = np.lexsort((rows.times, rows.codes))
    codes, times = rows.codes[order], rows.times[order]
    _check_twice(rows, order, codes, times)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    counts = np.diff(starts, append=len(codes))
    longest = int(counts.argmax())
    example = times[starts[longest] :][: counts[longest]]
    if rows.zone is not None and not _by_clock(frequency, example):
        times = _local_days(times, rows.zone, np.repeat(times[starts], counts))
        example = times[starts[longest] :][: counts[longest]]
    told = frequency is None
    frequency = frequency or infer_frequency(example, rows.names[longest])
    if frequency.integer != np.issubdtype(times.dtype, np.integer):
        kinds = ("dates", "whole numbers")
        raise DataError(
            f"the times are {kinds[not frequency.integer]}, but frequency "
            f"{str(frequency)!r} is for {kinds[frequency.integer]}; set another "
            f"frequency, or None."
        )
    steps = frequency.positions(np.repeat(times[starts], counts), times)
    found = Regular(frequency, order, starts, times[starts], steps, were_sorted)
    _check_grid(rows, found, times, told)
    if told:
        _check_one_frequency(rows, found, times, longest)
    _check_gaps(rows, found, times)
    return found


def _by_clock(frequency, times):
    if frequency is not None:
        return frequency.by_clock
    return len(times) > 1 and common_step(times) < DAY


def _local_days(times, zone, origins):
    """Local times of times in UTC. Where daylight saving skips midnight, the day of a
    series that starts at midnight has it all the same."""
    local, first = to_local(times, zone), to_local(origins, zone)
    even = local.astype("datetime64[D]") + (first - first.astype("datetime64[D]"))
    return np.where(to_utc(even, zone) == times, even, local)


def _check_twice(rows, order, codes, times):
    same = np.flatnonzero((np.diff(codes) == 0) & (times[1:] == times[:-1]))
    if same.size:
        first, second = sorted(order[same[0] : same[0] + 2])
        clock = ""
        if rows.zone is None and " " in shown(rows, times[same[0]]):
            clock = ", or local times with daylight saving a time zone"
        raise DataError(
            f"{rows.place(second)}: {called(rows.names[codes[same[0]]])} has the time "
            f"{shown(rows, times[same[0]])} twice, first in {rows.place(first)}; give "
            f"every step a time of its own{clock}."
        )


def _check_grid(rows, found, times, told):
    off = np.flatnonzero(found.steps < 0)
    if not off.size:
        return
    at = int(off[0])
    n = int(np.searchsorted(found.starts, at, side="right")) - 1
    mine = times[found.starts[n] :][: found.counts[n]]
    like, advice = _like(mine), "correct the time, or set another frequency."
    if like is not None and like != found.frequency:
        advice = f"the series looks like {str(like)!r}; "
        advice += "make one panel for each frequency." if told else "set that instead."
    raise DataError(
        f"{rows.place(found.order[at])}: {called(rows.names[n])} has the time "
        f"{_plain(times[at])}, which is not on the grid of frequency "
        f"{str(found.frequency)!r} from {_plain(found.origins[n])}; {advice}"
    )


def _like(times):
    """The frequency a series off the grid seems to have."""
    try:
        return infer_frequency(times)
    except DataError:
        return None


def _check_one_frequency(rows, found, times, longest):
    """A series of another series' multiple fits the grid, but with gaps alone."""
    gaps = np.diff(found.steps, prepend=0)
    gaps[found.starts] = 0
    common = np.gcd.reduceat(gaps, found.starts)
    other = np.flatnonzero((common > 1) & (found.counts > 2))
    if other.size:
        n = int(other[0])
        raise DataError(
            f"{called(rows.names[n])} has a time every {common[n]} steps of "
            f"{str(found.frequency)!r}, which {called(rows.names[longest])} has; "
            f"make one panel for each frequency, or set frequency if the steps between "
            f"are missing."
        )


def _check_gaps(rows, found, times):
    lengths = found.lengths
    if lengths.sum() <= SPARSE * len(times) + 10_000:
        return
    n = int((lengths / found.counts).argmax())
    mine = times[found.starts[n] :][: found.counts[n]]
    widest = int(np.diff(mine).argmax())
    raise DataError(
        f"{rows.place(found.order[found.starts[n] + widest + 1])}: "
        f"{called(rows.names[n])} goes from {_plain(mine[widest])} to "
        f"{_plain(mine[widest + 1])}, and has {found.counts[n]:,} rows for "
        f"{lengths[n]:,} steps of {str(found.frequency)!r}; correct the time, or set a "
        f"coarser frequency."
    )


def shown(rows: Rows, time: np.generic) -> str:
    """A time of the rows for errors, local if there is a zone."""
    if rows.zone is None:
        return _plain(time)
    return f"{_plain(to_local(np.array([time]), rows.zone)[0])} ({rows.zone})"


def _plain(time):
    """2024-01-31, or 2024-01-31 12:00; whole numbers as they are."""
    if not isinstance(time, np.datetime64):
        return str(time)
    text = str(time).replace("T", " ")
    for ending in (".000000", ":00", " 00:00"):
        text = text.removesuffix(ending)
    return text
