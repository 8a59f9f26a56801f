"""What is wrong with a config, in the words of its keys."""

import dataclasses
import difflib
import json
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from lstm_jax.config.keys import kinds_of

SHOWN = 20
"""So many problems of a config are named in an error."""


def in_words(cls: type, problems: Sequence[Any]) -> str:
    """A line for every problem that pydantic found with a config of class ``cls``."""
    each = [*_one_each(cls, problems)]
    lines = [_explain(cls, problem) for problem in each[:SHOWN]]
    if len(each) > SHOWN:
        lines.append(f"and {len(each) - SHOWN:,} more problems.")
    return "\n".join(lines)


def short(text: str) -> str:
    """``text``, or its beginning."""
    return text if len(text) <= 80 else f"{text[:80]}..."


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


def _explain(cls, problem):
    path, owner = [str(part) for part in problem["loc"]], problem["owner"]
    name, came = short(".".join(path)), problem["input"]
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
            said = "" if isinstance(came, Mapping) else f" is {short(repr(came))}"
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
        return f"; write [{json.dumps(came)}]"
    return ""


def _unknown(cls, path, owner):
    """What to say of an unknown key, which another kind of its section may have."""
    *sections, key = path
    valid = [field.name for field in dataclasses.fields(owner)]
    said = f"unknown key {'.'.join(path)}"
    places = keys_named(cls, key)
    if places and ".".join(path) not in places:  # which another kind has
        return f"{said} (did you mean {' or '.join(places)}?)"
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


def keys_named(cls: type, name: str) -> list[str]:
    """The paths of the keys of a config class that are called ``name``."""
    found = {}
    for key, hint in typing.get_type_hints(cls).items():
        kinds = kinds_of(hint).values()
        if key == name and not kinds:
            found[key] = None
        for kind in kinds:
            found |= {f"{key}.{path}": None for path in keys_named(kind, name)}
    return [*found]


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


def _literals(owner, name):
    return typing.get_args(typing.get_type_hints(owner)[name])
