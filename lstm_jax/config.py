"""One TOML file a run, read into validated, frozen dataclasses.

A config dataclass stands beside what it builds and is marked with `config`. On the
command line ``key.path=value`` is parsed as TOML, merged over the file, and validated
the same way. What is wrong is named by its path, with what came and what is valid.

A section of several kinds is a union of config dataclasses, each with a literal
``kind``, and ``Field(discriminator="kind")``: every kind has keys of its own.
"""

import dataclasses
import difflib
import json
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

import pydantic

from lstm_jax.files import read_regular

T = TypeVar("T")

CONFIG_BYTES = 2**20
"""A config file has so many bytes at the most: 1 MiB."""
DEPTH = 32
"""Sections within sections, arrays within arrays and dots in a key, at the most."""
SHOWN = 20
"""So many problems of a config are named in an error."""

_PART = r"(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')"
_LONG_KEY = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{1000,}}")
"""A key of many parts: the time that `tomllib` takes grows with their square."""


class ConfigError(ValueError):
    """A config that cannot be read; the message is meant for its author."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
def config(cls: type[T]) -> type[T]:
    """Makes ``cls`` a frozen dataclass that refuses unknown keys and wrong types."""
    made = pydantic.dataclasses.dataclass(
        cls,
        frozen=True,
        kw_only=True,
        config=pydantic.ConfigDict(
            extra="forbid",
            strict=True,
            allow_inf_nan=False,
            use_attribute_docstrings=True,
        ),
    )
    return typing.cast(type[T], made)


def read(path: str | Path) -> dict[str, Any]:
    """The contents of a TOML file.

    Raises:
        ConfigError: it cannot be read, is not TOML, has more than `CONFIG_BYTES` bytes,
            or is nested more than `DEPTH` deep.
    """
    try:
        return _loads(read_regular(path, CONFIG_BYTES).decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # ValueError: also a NUL in the path
        raise ConfigError(f"config {path} is not valid TOML: {error}.") from error


def _loads(text):
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


def override(values: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """``values`` with every ``key.path=value`` of the command line merged over them.

    Raises:
        ConfigError: an assignment has no key or no value, or is nested too deep.
    """
    for assignment in assignments:
        key, sep, text = assignment.partition("=")
        path = key.strip().split(".")
        if not sep or not all(path) or len(path) > DEPTH:
            raise ConfigError(
                f"override {_short(assignment)!r} is not of the form key.path=value, "
                f"for example train.steps=100."
            )
        if not text.strip():
            raise ConfigError(
                f"{_short(assignment)} has no value (is a variable not set?); give it "
                f"one, or leave it out."
            )
        values = _merge(values, path, _parse(text.strip(), key), key)
    return values


def _short(text):
    return text if len(text) <= 80 else f"{text[:80]}..."


def _parse(text, key):
    """A TOML value; a bare word such as a path or a name is a string."""
    try:
        return _loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except ValueError as error:
        raise ConfigError(f"{_short(key)}={_short(text)}: {error}.") from error


def _merge(values, path, value, key):
    head, *rest = path
    if not rest:
        return values | {head: value}
    inner = values.get(head, {})
    if not isinstance(inner, Mapping):
        raise ConfigError(f"{key}: {head} is a value, not a section.")
    return values | {head: _merge(dict(inner), rest, value, key)}


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of the config dataclass ``cls``, validated as a whole.

    Raises:
        ConfigError: naming every key that is unknown, missing or of the wrong type.
    """
    try:
        # As JSON, strict validation still builds dataclasses from tables.
        return pydantic.TypeAdapter(cls).validate_json(json.dumps(values, default=str))
    except pydantic.ValidationError as error:
        problems = [*_one_each(cls, error.errors())]
        lines = [_explain(cls, problem) for problem in problems[:SHOWN]]
        if len(problems) > SHOWN:
            lines.append(f"and {len(problems) - SHOWN:,} more problems.")
        raise ConfigError("\n".join(lines)) from error


def _one_each(cls, problems):
    """The problems by key: one that may be of several types has one with each."""
    found = {}
    for problem in problems:
        names, owner = _place(cls, problem)
        loc = tuple(names)
        if loc in found:
            found[loc]["msg"] += f", or {problem['msg'].removeprefix('Input ')}"
        else:
            found[loc] = {**problem, "loc": loc, "owner": owner}
    return found.values()


def _place(cls, problem):
    """The names of the keys on the path of a problem, and the class of the last one.

    The path of pydantic goes on into values, and names the kind of a section.
    """
    names, owner, kind = [], cls, cls
    for part in problem["loc"]:
        options = kinds_of(kind)
        if len(options) > 1:
            kind = options[part]
            continue
        if not options:
            break
        (owner,) = options.values()
        hints = typing.get_type_hints(owner)
        if part not in hints:
            unknown = problem["type"] == "unexpected_keyword_argument"
            return [*names, *[part] * unknown], owner
        names.append(part)
        kind = hints[part]
    return names, owner


def kinds_of(kind: Any) -> dict[str, Any]:
    """The config dataclasses that a type stands for, by their ``kind``; those without
    one are alone."""
    options = typing.get_args(kind) if _is_union(kind) else (kind,)
    found = [option for option in options if dataclasses.is_dataclass(option)]
    tag = lambda cls: next(iter(typing.get_args(typing.get_type_hints(cls)["kind"])))
    return {tag(cls) if len(found) > 1 else "": cls for cls in found}


def _explain(cls, problem):
    path, owner = [str(part) for part in problem["loc"]], problem["owner"]
    name, came = _short(".".join(path)), problem["input"]
    match problem["type"]:
        case "unexpected_keyword_argument":
            valid = [field.name for field in dataclasses.fields(owner)]
            return f"unknown key {name}; {_choices(path[-1], valid)}"
        case "literal_error":
            valid = [str(choice) for choice in _literals(owner, path[-1])]
            return f"{name} is {came!r}; {_choices(str(came), valid)}"
        case "union_tag_invalid":
            valid = [*kinds_of(typing.get_type_hints(owner)[path[-1]])]
            tag = problem["ctx"]["tag"]
            return f"{name}.kind is {tag!r}; {_choices(tag, valid)}"
        case "union_tag_not_found":
            valid = ", ".join(kinds_of(typing.get_type_hints(owner)[path[-1]]))
            return f"{name}.kind is missing; valid: {valid}"
        case "missing" | "missing_argument":
            return f"{name} is missing; set it in the config or as {name}=VALUE."
        case _:
            message = (
                problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
            )
            came = "" if isinstance(came, Mapping) else f" is {_short(repr(came))}"
            return f"{name}{came}: {message[0].lower()}{message[1:]}."


def _choices(came, valid):
    near = difflib.get_close_matches(came, valid, 1, cutoff=0.5)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"valid: {', '.join(valid)}{hint}"


def _is_union(kind):
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _literals(owner, name):
    return typing.get_args(typing.get_type_hints(owner)[name])


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple]:
    """``key.path`` to (before, after), wherever two configs differ."""
    before, after = _flatten(before), _flatten(after)
    keys = [key for key in before | after if before.get(key) != after.get(key)]
    return {key: (before.get(key), after.get(key)) for key in keys}


def _flatten(values, prefix=""):
    flat = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def dump(values: Any) -> str:
    """The TOML text of a config dataclass, from which `read` and `build` restore it.

    A key that is ``None`` is left out.
    """
    sections, lines = [], []
    for name, value in dataclasses.asdict(values).items():
        if isinstance(value, Mapping):
            entries = [f"{k} = {_toml(v)}" for k, v in value.items() if v is not None]
            sections.append("\n".join([f"[{name}]", *entries]))
        elif value is not None:
            lines.append(f"{name} = {_toml(value)}")
    return "\n\n".join(["\n".join(lines), *sections]).strip() + "\n"


def _toml(value):
    match value:
        case bool():
            return str(value).lower()
        case str():
            return _quote(value)
        case tuple() | list():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return repr(value)


def _quote(text):
    escape = {'"': '\\"', "\\": "\\\\"}
    plain = (escape.get(c, c if c.isprintable() else f"\\U{ord(c):08x}") for c in text)
    return '"' + "".join(plain) + '"'
