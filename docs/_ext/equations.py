"""Indented lines in a docstring are equations: they keep their spaces and line ends."""

import re

SECTIONS = {"Args:", "Returns:", "Raises:", "Yields:", "Attributes:", "Note:"}


def mark_equations(lines: list[str]) -> list[str]:
    """Puts ``::`` before every indented block that follows a paragraph.

    >>> mark_equations(["The state:", "", "    c = f * c + i * g", "", "It is kept."])
    ['The state:', '', '::', '', '    c = f * c + i * g', '', 'It is kept.']
    """
    marked: list[str] = []
    above, literal = "", False  # the last line with text; inside an indented block
    for line in lines:
        if not line.strip():
            marked.append(line)
            continue
        begins = line.startswith("    ") and bool(marked) and not marked[-1].strip()
        if not line.startswith(" "):
            literal = False
        elif begins and not literal and _is_paragraph(above):
            marked += ["::", ""]
            literal = True
        marked.append(line)
        if not line.startswith(" "):
            above = line
    return marked


def _is_paragraph(line):
    """Whether an indented block below this line belongs to nothing else."""
    listed = re.match(r"([*-]|\.\.|\d+\.) ", line)
    return not (listed or line in SECTIONS or line.endswith("::"))


def _on_docstring(app, what, name, obj, options, lines):
    lines[:] = mark_equations(lines)
    if what == "module" and name in app.config.public_modules:
        lines.clear()  # it lists files; the page has its own words
    if what in ("attribute", "property") and lines:
        # An empty comment, or napoleon takes "Rows: all" for the type "Rows".
        lines[:0] = ["..", ""]


def setup(app):
    # Before napoleon, which writes indented lines of its own.
    app.connect("autodoc-process-docstring", _on_docstring, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
