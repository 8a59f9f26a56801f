"""Numbers as a table on the terminal."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.table import Table
from rich.text import Text

from lstm_jax.terminal import escape


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints rows under the names of their columns, numbers to the right.

    On a terminal that is too narrow, titles and text with spaces are wrapped. A number
    or a name is never cut in two. If that is not enough, lines are longer than the
    terminal.
    """
    rows = [[*row] for row in rows]
    cells = [[escape(figure(value), keep="") for value in row] for row in rows]
    titles = [escape(name, keep="") for name in columns]
    console = Console()
    if not console.is_terminal:
        _widen(console)  # what programs read is not wrapped
    by_column = [*zip(titles, *cells, strict=True)]
    narrowest = sum(max(map(_longest_word, column)) + 3 for column in by_column)
    if narrowest > console.width:
        _widen(console)
    if console.width != WIDE:
        titles = [_narrow(title, column) for title, *column in by_column]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, title in enumerate(titles):
        numbers = all(isinstance(row[n], int | float | None) for row in rows)
        words = any(" " in row[n] for row in cells)
        justify = "right" if numbers else "left"
        table.add_column(
            Text(title), justify=justify, no_wrap=not words, overflow="fold"
        )
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


WIDE = 10_000


def _widen(console):
    # The height as well: a terminal that says it is dumb is else taken to be 80 wide.
    console.size = ConsoleDimensions(WIDE, console.height)


def _longest_word(text):
    return max(map(cell_len, text.split()), default=0)


def _narrow(title, column):
    """The title of a column, wrapped where its words are narrower than its cells."""
    width = max([_longest_word(title), *map(cell_len, column)])
    return "\n".join(textwrap.wrap(title, max(width, 1), break_long_words=False))


def figure(value: Any) -> str:
    """A value as it is said: five digits of a number, a dash for what is not there.

    >>> figure(0.000123456), figure(1234567), figure(None)
    ('0.00012346', '1,234,567', '-')
    """
    match value:
        case None:
            return "-"
        case bool():
            return str(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.5g}"
        case _:
            return str(value)
