"""Arguments that several commands have."""

import argparse
from pathlib import Path
from typing import Any

from lstm_jax.config import expand_home


def local_path(text: str) -> Path:
    """The type of an option that names a file or a folder.

    A shell leaves the ``~`` of ``--out=~/x`` as it is.
    """
    try:
        return Path(expand_home(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}.") from error


def count(text: str) -> int:
    """The type of an option that is a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 1 or more.")
    return int(text)


def add_overrides(
    command: Any, metavar: str = "KEY=VALUE", said: str = "changes to the config"
) -> None:
    """Adds the words that change a config; there may be none."""
    command.add_argument("overrides", nargs="*", metavar=metavar, help=said)
