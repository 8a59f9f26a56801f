"""``key.path=value`` of the command line, over the values of a file."""

import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from lstm_jax.config.keys import ConfigError, is_union, kinds_of
from lstm_jax.config.messages import short
from lstm_jax.config.toml import DEPTH, loads


def override(
    values: dict[str, Any], assignments: Iterable[str], cls: type | None = None
) -> dict[str, Any]:
    """``values`` with every ``key.path=value`` of the command line merged over them.

    Args:
        values: the values of a file.
        assignments: words of the command line.
        cls: the config dataclass, where it is known. The value of a key whose type is
            text is then the text as it stands, such as ``data.path=123``.

    Raises:
        ConfigError: an assignment is not of this form, or names a key of a value,
            has no value, or is nested too deep.
    """
    for assignment in assignments:
        key, sep, text = assignment.partition("=")
        path = key.strip().split(".")
        if not sep or not all(path) or len(path) > DEPTH:
            raise ConfigError(
                f"override {short(assignment)!r} is not of the form key.path=value, "
                f"for example train.steps=100."
            )
        if not text.strip():
            raise ConfigError(
                f"{short(assignment)} has no value (is a variable not set?); give it "
                f"one, or leave it out."
            )
        value = _parse(text.strip(), _types_of(cls, path), key)
        values = _merge(values, path, value, key)
    return values


def _parse(text, kinds, key):
    """The value that ``text`` stands for, for a key of one of the types ``kinds``.

    In quotes, text is TOML. A bare word such as a path or a name is text as well.
    """
    if kinds == {str} and not text.startswith(('"', "'")):
        return text
    if kinds == {bool} and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except ValueError as error:
        raise ConfigError(f"{short(key)}={short(text)}: {error}.") from error


def _types_of(cls, path):
    """The plain types of the key at ``path``; none where the key is not known."""
    owners, kinds = [] if cls is None else [cls], []
    for name in path:
        hints = [typing.get_type_hints(owner) for owner in owners]
        kinds = [hint[name] for hint in hints if name in hint]
        owners = [one for kind in kinds for one in kinds_of(kind).values()]
    return {plain for kind in kinds for plain in _plain_types(kind)}


def _plain_types(kind):
    if is_union(kind):
        kinds = {plain for k in typing.get_args(kind) for plain in _plain_types(k)}
        return kinds - {types.NoneType}
    if typing.get_origin(kind) is typing.Literal:
        return {type(choice) for choice in typing.get_args(kind)}
    return {kind}


def _merge(values, path, value, key):
    head, *rest = path
    if not rest:
        return values | {head: value}
    inner = values.get(head, {})
    if not isinstance(inner, Mapping):
        raise ConfigError(f"{key}: {head} is a value, not a section.")
    return values | {head: _merge(dict(inner), rest, value, key)}
