"""Config files: TOML of a bounded size, read and written."""

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from lstm_jax.config.keys import ConfigError
from lstm_jax.files import read_regular

CONFIG_BYTES = 2**20
"""A config file has so many bytes at the most: 1 MiB."""
DEPTH = 32
"""Sections within sections, arrays within arrays and dots in a key, at the most."""

_PART = r"(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')"
_LONG_KEY = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{1000,}}")
"""A key of many parts: the time that `tomllib` takes grows with their square."""


def read(path: str | Path) -> dict[str, Any]:
    """The contents of a TOML file.

    Raises:
        ConfigError: it cannot be read, is not TOML, has more than `CONFIG_BYTES` bytes,
            or is nested more than `DEPTH` deep.
    """
    try:
        # Some editors put a byte order mark at the start of UTF-8.
        return loads(read_regular(path, CONFIG_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # ValueError: also a NUL in the path
        raise ConfigError(f"config {path} is not valid TOML: {error}.") from error


def loads(text):
    """The values of a TOML text; ValueError where it is not TOML or nested too deep."""
    deep = ValueError(f"it is nested too deep, expected at most {DEPTH} levels")
    if _LONG_KEY.search(text):
        raise deep
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise deep from None
    level = [values]
    for _ in range(DEPTH):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise deep
    return values


def _inside(value):
    inner = value.values() if isinstance(value, Mapping) else value
    return [v for v in inner if isinstance(v, Mapping | list)]


def dump(values: Any) -> str:
    """The TOML text of a config dataclass, from which `read` and `build` restore it.

    A key that is ``None``, as it is by default, is left out.
    """
    return tomli_w.dumps(_table(values))


def _table(section):
    table = {}
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            table[field.name] = _table(value)
        elif value is not None:
            table[field.name] = value
        elif field.default is not None:
            table[field.name] = "none"  # TOML has no null
    return table
