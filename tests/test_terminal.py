"""What a terminal would obey is shown, not sent."""

import io
import sys

import pytest

from lstm_jax.commands.generate import shown
from lstm_jax.terminal import escape, say

SHOWN = {
    "\x1b[2J": "\\x1b[2J",
    "\x9b31m": "\\x9b31m",
    "a\rb": "a\\rb",
    "\u202egnp.exe": "\\u202egnp.exe",
    "caf\udce9": "caf\\udce9",
    "日本 é\u00a0…": "日本 é\u00a0…",
    "two\nlines\tand": "two\nlines\tand",
}


@pytest.mark.parametrize("text", SHOWN, ids=ascii)
def test_control_characters_are_escaped(text, capsys):
    assert escape(text) == SHOWN[text]
    say(text, error=True)
    assert capsys.readouterr().err == SHOWN[text] + "\n"


def test_a_cell_of_a_table_has_one_line():
    assert escape("a\nb", keep="") == "a\\nb"


@pytest.mark.parametrize("terminal", [True, False])
def test_text_that_is_generated(monkeypatch, terminal):
    """A file or a pipe gets it as it is."""
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stdout", stream)
    assert shown("a\x1b[2J\n") == ("a\\x1b[2J\n" if terminal else "a\x1b[2J\n")
