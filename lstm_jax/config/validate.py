"""The values of a config file as one validated dataclass."""

import datetime
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic

from lstm_jax.config.keys import ConfigError
from lstm_jax.config.messages import in_words

T = TypeVar("T")


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of the config dataclass ``cls``, validated as a whole.

    Raises:
        ConfigError: naming every key that is unknown, missing or of the wrong type.
    """
    _check_values(values)
    try:
        # As JSON, strict validation still builds dataclasses from tables.
        return pydantic.TypeAdapter(cls).validate_json(json.dumps(values))
    except pydantic.ValidationError as error:
        raise ConfigError(in_words(cls, error.errors())) from error


_DATES = datetime.date | datetime.time


def _check_values(values):
    """Refuses what TOML or a file system knows and a config does not hold."""
    for name, value in flat(values).items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, _DATES):
                raise ConfigError(
                    f"{name} is the date or time {one}, which no key takes; write text "
                    f"in quotes."
                )
            if isinstance(one, str) and not _is_unicode(one):
                raise ConfigError(
                    f"{name} is {one!r}, which is not UTF-8, as a config must be; "
                    f"rename the file or folder."
                )


def _is_unicode(text):
    """False for names of files whose bytes are not UTF-8."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple]:
    """``key.path`` to (before, after), wherever two configs differ."""
    before, after = flat(before), flat(after)
    keys = [key for key in before | after if before.get(key) != after.get(key)]
    return {key: (before.get(key), after.get(key)) for key in keys}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``key.path`` to value, for all keys of a config."""
    found = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
