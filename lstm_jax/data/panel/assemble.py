"""From rows to regular series, with missing values in the gaps."""

import numpy as np

from lstm_jax.data.panel.columns import PanelColumns
from lstm_jax.data.panel.frequency import Frequency
from lstm_jax.data.panel.notes import constant_notes, filled_note, missing_notes
from lstm_jax.data.panel.regular import regular
from lstm_jax.data.panel.rows import Rows, called, missing
from lstm_jax.data.panel.series import Panel, Series
from lstm_jax.data.text import DataError


def assemble(
    rows: Rows, columns: PanelColumns, frequency: Frequency | str | int | None = None
) -> Panel:
    """The panel of rows, by the rules of `panel_from_frame`.

    Raises:
        DataError: as `panel_from_frame`.
    """
    if frequency is not None and not isinstance(frequency, Frequency):
        frequency = Frequency(frequency)
    found = regular(rows, frequency)
    lengths, counts = found.lengths, found.counts
    ends = np.cumsum(lengths)
    firsts, total = ends - lengths, int(lengths.sum())
    at = np.repeat(firsts, counts) + found.steps

    def spread(values):
        whole = np.full((total, values.shape[1]), np.nan)
        whole[at] = values[found.order]
        return whole

    targets, past, future = map(spread, (rows.targets, rows.past, rows.future))
    static = [
        _static(rows, found, name, values)
        for name, values in zip(columns.static, rows.static, strict=True)
    ]
    within = np.arange(total) - np.repeat(firsts, lengths)
    times = found.frequency.at(np.repeat(found.origins, lengths), within)
    lasts = firsts + _observed(rows, columns, targets, firsts, bool(columns.future))

    def one(n, m):
        name, target = rows.names[n], columns.targets[m]
        cut = slice(firsts[n], lasts[n])
        return Series(
            name=target if columns.id is None else name,
            target=target,
            times=times[cut],
            values=np.ascontiguousarray(targets[cut, m]),
            past=past[cut],
            future=future[firsts[n] : ends[n]],
            static=tuple(values[n] for values in static),
        )

    return Panel(
        series=tuple(
            one(n, m) for n in range(len(counts)) for m in range(len(columns.targets))
        ),
        frequency=found.frequency,
        columns=columns,
        zone=rows.zone,
        notes=tuple(_notes(rows, columns, found, targets, firsts, ends - lasts)),
        giving=rows.giving,
    )


def _observed(rows, columns, targets, firsts, trim):
    """The steps of each series; with ``trim`` up to its last row with a target."""
    lengths = np.diff(firsts, append=len(targets))
    there = ~np.isnan(targets)
    some = np.logical_or.reduceat(there, firsts)
    if not some.all():
        n, m = np.argwhere(~some)[0]
        raise DataError(
            f"{called(rows.names[n])} has no value of {columns.targets[m]!r}, expected "
            f"one or more; leave the {'column' if columns.id is None else 'series'} "
            f"out."
        )
    if not trim:
        return lengths
    steps = np.arange(len(targets)) - np.repeat(firsts, lengths) + 1
    return np.maximum.reduceat(np.where(there.any(axis=1), steps, 0), firsts)


def _static(rows, found, name, values):
    """One value for each series."""
    values = values[found.order]
    first = np.repeat(values[found.starts], found.counts)
    if values.dtype == object:
        empty = np.array([missing(value) for value in values])
    else:
        empty = np.isnan(values)
    odd = np.flatnonzero(empty | (values != first))
    if odd.size:
        at = odd[0]
        n = int(np.searchsorted(found.starts, at, side="right")) - 1
        came = "empty" if empty[at] else f"{values[at]!s}, but {first[at]!s} before"
        raise DataError(
            f"{rows.place(found.order[at])}: {called(rows.names[n])} has the static "
            f"column {name!r} {came}, expected one value in all rows of a series."
        )
    return values[found.starts].tolist()


def _notes(rows, columns, found, targets, firsts, more):
    notes = []
    if not found.were_sorted:
        notes.append("The rows were not in the order of time and were sorted.")
    filled = found.lengths - found.counts
    if filled.any():
        notes.append(filled_note(rows.names, filled))
    if more.any():
        notes.append(
            f"{more.sum():,} rows at the ends of series have no target; they are "
            f"future rows."
        )
    there = rows.targets
    if not more.any():  # else the future rows would count as missing
        notes += missing_notes(there, columns.targets)
    return notes + constant_notes(rows.names, columns.targets, targets, firsts)
