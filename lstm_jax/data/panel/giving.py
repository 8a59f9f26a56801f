"""How forecasts get the types of the data they were made from."""

import dataclasses
from typing import Any

import numpy as np

UNITS = {7: "M", 10: "D", 13: "h", 16: "m", 19: "s", 23: "ms"}
"""Of numpy, by the length of a time in ISO 8601."""


@dataclasses.dataclass(frozen=True)
class TimeStyle:
    """How times are written: as whole numbers, as text, or as dates of a frame."""

    kind: str
    """``integer``, ``text`` or ``datetime``."""
    dtype: Any = None
    """Of the column in its frame; None in CSV files."""
    length: int = 19
    """Of the longest text, without its offset: 10 is a date."""
    separator: str = " "
    """Between date and time."""
    offset: str = ""
    """From UTC, such as ``+01:00``, at the end of each text."""

    def text(self, times: np.ndarray) -> np.ndarray:
        """Local times ``[N]`` as text in this style.

        >>> TimeStyle("text", length=16).text(np.array(["2024-02-01"], "M8[us]"))
        array(['2024-02-01 00:00'], dtype='<U17')
        """
        unit: Any = UNITS.get(self.length, "us")
        # numpy refuses to cut off what the texts of the data do not show either.
        cut = np.datetime_as_string(times, unit=unit, casting="unsafe")
        after = np.char.replace(cut, "T", self.separator)
        return np.char.add(after, self.offset)


@dataclasses.dataclass(frozen=True, eq=False)
class Giving:
    """What is remembered of a frame or a file."""

    backend: Any
    """Of narwhals: pandas, polars or pyarrow; None gives a dict of arrays."""
    ids: Any
    """The distinct ids: a series of narwhals, an array, or None in the wide form."""
    time: TimeStyle
    index: tuple[str, ...] = ()
    """The columns that were the index of a pandas frame."""
