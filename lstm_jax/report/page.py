"""Elements to one HTML file that needs nothing else."""

import importlib.resources
from collections.abc import Sequence
from typing import Any

import jinja2

from lstm_jax.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, drawing
from lstm_jax.report.elements import Section
from lstm_jax.tables import figure


def render(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The page; all text of elements is escaped.

    Args:
        title: the heading of the page.
        lead: a sentence under it.
        sections: its parts; those without items are left out.
    """
    ours = importlib.resources.files("lstm_jax.report")
    read = lambda name: ours.joinpath(name).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    box = dict(width=WIDTH, height=HEIGHT, left=LEFT, right=RIGHT)
    environment.globals |= {
        "drawing": drawing,
        "figure": figure,
        "is_number": _is_number,
        "box": box | dict(top=TOP, bottom=BOTTOM),
    }
    return environment.from_string(read("page.html")).render(
        title=title,
        lead=lead,
        sections=[section for section in sections if section.items],
        style=read("page.css"),
        script=read("page.js"),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
