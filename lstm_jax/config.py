"""One TOML file a run, read into validated, frozen dataclasses.

A config dataclass stands beside what it builds and is marked with `config`. On the
command line ``key.path=value`` is merged over the file and validated the same way. The
value of a text key is taken as it stands; any other value is parsed as TOML. An error
names the key by its path, what was given and what is valid.

A section of several kinds is a union of config dataclasses, each with a literal
``kind``, and ``Field(discriminator="kind")``: every kind has keys of its own. With
`kind_or` a section without a ``kind`` has a default one. TOML has no null: a key marked
with `NONE` takes "none" instead.
"""

import dataclasses
import datetime
import difflib
import json
import os
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic

T = TypeVar("T")


class ConfigError(ValueError):
    """A config that cannot be read; the message is meant for its author."""


def expand_home(path: str) -> str:
    """``path`` with ``~`` and ``~user`` at its start replaced by the home folder.

    A shell does so for a word that starts with ``~``, but not behind the ``=`` of
    ``key=~/text``.

    Raises:
        ValueError: there is no such user.
    """
    expanded = os.path.expanduser(path)
    if path.startswith("~") and expanded == path:
        raise ValueError(
            f"there is no user {path[1:].partition('/')[0]}; for a name that starts "
            f"with ~, write ./{path}"
        )
    return expanded


PathText = Annotated[str, pydantic.AfterValidator(expand_home)]
"""The type of a key that names a file or a folder; ``~`` stands for the home folder."""


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


def kind_or(default: str) -> pydantic.Discriminator:
    """Chooses one of several kinds of a section; ``default`` where it has no ``kind``.

    Every kind is marked with ``pydantic.Tag``, as in
    ``Annotated[Annotated[A, Tag("a")] | Annotated[B, Tag("b")], kind_or("a")]``.
    """

    def kind(section):
        if isinstance(section, Mapping):
            return section.get("kind", default)
        return getattr(section, "kind", default)

    return pydantic.Discriminator(kind)


NONE = pydantic.BeforeValidator(lambda value: None if value == "none" else value)
"""Marks a key that may be ``None`` and has another default: "none" in TOML."""


def read(path: str | Path) -> dict[str, Any]:
    """The contents of a TOML file."""
    try:
        # Some editors put a byte order mark at the start of UTF-8.
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # ValueError: also a NUL in the path
        raise ConfigError(f"config {path} is not valid TOML: {error}.") from error


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
        ConfigError: an assignment is not of this form, or names a key of a value.
    """
    for assignment in assignments:
        key, sep, text = assignment.partition("=")
        path = key.strip().split(".")
        if not sep or not all(path):
            raise ConfigError(
                f"override {assignment!r} is not of the form key.path=value, "
                f"for example train.steps=100."
            )
        value = _parse(text.strip(), _types_of(cls, path))
        values = _merge(values, path, value, key)
    return values


def _parse(text, kinds):
    """The value that ``text`` stands for, for a key of one of the types ``kinds``.

    In quotes, text is TOML. A bare word such as a path or a name is text as well.
    """
    if kinds == {str} and not text.startswith(('"', "'")):
        return text
    if kinds == {bool} and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _types_of(cls, path):
    """The plain types of the key at ``path``; none where the key is not known."""
    owners, kinds = [] if cls is None else [cls], []
    for name in path:
        hints = [typing.get_type_hints(owner) for owner in owners]
        kinds = [hint[name] for hint in hints if name in hint]
        owners = [one for kind in kinds for one in kinds_of(kind).values()]
    return {plain for kind in kinds for plain in _plain_types(kind)}


def _plain_types(kind):
    if _is_union(kind):
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
        lines = [_explain(cls, problem) for problem in _one_each(cls, error.errors())]
        raise ConfigError("\n".join(lines)) from error


_DATES = datetime.date | datetime.time


def _check_values(values):
    """Refuses what TOML or a file system knows and a config does not hold."""
    for name, value in _flatten(values).items():
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
    name, came = ".".join(path), problem["input"]
    match problem["type"]:
        case "unexpected_keyword_argument":
            return _unknown(cls, path, owner)
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
            said = "" if isinstance(came, Mapping) else f" is {came!r}"
            hint = _hint(problem["type"], came)
            return f"{name}{said}: {message[0].lower()}{message[1:]}{hint}."


def _hint(problem, came):
    """How to write what was meant."""
    if problem == "string_type" and isinstance(came, int | float):
        return f'; write it in quotes: "{json.dumps(came)}"'
    if problem == "bool_type":
        return "; write true or false"
    if problem in ("int_type", "int_from_float") and isinstance(came, float):
        return f"; write {int(came)}" if came.is_integer() else ""
    if problem == "tuple_type" and isinstance(came, str):
        return f"; write [{_quote(came)}]"
    return ""


def _unknown(cls, path, owner):
    """What to say of an unknown key, which another kind of its section may have."""
    *sections, key = path
    valid = [field.name for field in dataclasses.fields(owner)]
    said = f"unknown key {'.'.join(path)}"
    kind = {f.name: f.default for f in dataclasses.fields(owner)}.get("kind")
    if kind is None:
        return f"{said}; {_choices(key, valid)}"
    said = f"{said} of kind {kind!r}; {_choices(key, valid)}"
    others = [
        other
        for other, config_class in _kinds_at(cls, sections).items()
        if key in {field.name for field in dataclasses.fields(config_class)}
    ]
    return f"{said}; kinds that have it: {', '.join(others)}" if others else said


def _kinds_at(cls, sections):
    """The kinds of the last section of a path, in any kind of those before it."""
    found = {"": cls}
    for name in sections:
        hints = [typing.get_type_hints(kind) for kind in found.values()]
        found = {
            kind: config_class
            for each in hints
            if name in each
            for kind, config_class in kinds_of(each[name]).items()
        }
    return found


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

    A key that is ``None``, as it is by default, is left out.
    """
    return "\n\n".join(_sections(values)).strip() + "\n"


def _sections(values, path=()):
    """The text of a section, then those of the sections in it."""
    lines, inner = [f"[{'.'.join(path)}]"] if path else [], []
    for field in dataclasses.fields(values):
        value = getattr(values, field.name)
        if dataclasses.is_dataclass(value):
            inner += _sections(value, (*path, field.name))
        elif value is not None:
            lines.append(f"{field.name} = {_toml(value)}")
        elif field.default is not None:
            lines.append(f'{field.name} = "none"')
    return ["\n".join(lines), *inner]


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
