"""What a report is made of. Nothing here knows HTML."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve of a chart."""

    name: str
    xs: Any
    """Positions ``[N]``, in ascending order."""
    ys: Any
    """Values ``[N]``; NaN leaves a gap."""
    points: bool = False
    """Whether every value is marked."""


@dataclasses.dataclass(frozen=True)
class Band:
    """The area between two curves."""

    name: str
    xs: Any
    low: Any
    high: Any


@dataclasses.dataclass(frozen=True)
class Chart:
    """Curves against one axis."""

    title: str
    x: str
    """What the horizontal axis is, with its unit."""
    y: str
    lines: Sequence[Line]
    bands: Sequence[Band] = ()
    log: bool = False
    """Whether the vertical axis is logarithmic; values of 0 are left out."""
    kind = "chart"


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under titles; numbers stand to the right."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    kind = "table"


@dataclasses.dataclass(frozen=True)
class Heat:
    """A matrix as a table whose cells are shaded, such as attention or confusion."""

    caption: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: np.ndarray
    """``[R, C]``, shaded from 0 to the largest."""
    corner: str = ""
    """What rows and columns are."""
    digits: int = 2
    kind = "heat"

    def shade(self, row: int, column: int) -> int:
        """0 to 8."""
        top = float(np.max(self.values, initial=0.0)) or 1.0
        return round(8 * max(float(self.values[row, column]), 0.0) / top)

    def shown(self, row: int, column: int) -> str:
        """The value as it stands in the cell."""
        value = self.values[row, column]
        return f"{value:.{self.digits}f}" if self.digits else f"{int(value):,}"


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind = "text"


@dataclasses.dataclass(frozen=True)
class Quote:
    """Text of the data or of a model, kept as it is."""

    title: str
    text: str
    kind = "quote"


@dataclasses.dataclass(frozen=True)
class Colored:
    """A text whose pieces are colored by the state of a unit; the reader chooses it."""

    caption: str
    pieces: Sequence[str]
    units: Sequence[tuple[str, Any]]
    """The label of every unit, and its state at every piece ``[T]``, between -1 and 1.
    """
    kind = "colored"

    @property
    def levels(self) -> list[str]:
        """For every unit one letter per piece: a is -1, i is 1."""
        letters = np.array([*"abcdefghi"])
        index = lambda a: np.rint(4 + 4 * np.clip(np.nan_to_num(a), -1, 1)).astype(int)
        return ["".join(letters[index(np.asarray(state))]) for _, state in self.units]


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a report with a heading."""

    title: str
    items: Sequence[Any]

    @property
    def name(self) -> str:
        """The heading as an address in the page."""
        return "-".join(self.title.lower().split())
