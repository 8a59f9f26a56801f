"""Figures as a table on the terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lstm_jax.terminal import escape


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints rows under the names of their columns, numbers to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    rows = [[*row] for row in rows]
    for n, name in enumerate(columns):
        numbers = all(isinstance(row[n], int | float | None) for row in rows)
        justify = "right" if numbers else "left"
        table.add_column(Text(escape(name, keep="")), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(escape(figure(value), keep="")) for value in row))
    console = Console()
    if not console.is_terminal:
        console.width = 10_000  # what is read by programs is not folded
    console.print(table)


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
