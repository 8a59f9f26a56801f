"""What a config is made of: dataclasses, the types of their keys, sections of kinds."""

import dataclasses
import os
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic

T = TypeVar("T")

Count = Annotated[int, pydantic.Field(ge=1, le=1_000_000)]
"""A size or a number of things, such as units, rows or steps at a time."""
Depth = Annotated[int, pydantic.Field(ge=1, le=1_000)]
"""A number of layers."""
Weight = Annotated[float, pydantic.Field(ge=0, le=1e30)]
"""A weight or a rate, small enough for products of it to be finite in float32."""


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


def kinds_of(kind: Any) -> dict[str, Any]:
    """The config dataclasses that a type stands for, by their ``kind``; those without
    one are alone."""
    options = typing.get_args(kind) if is_union(kind) else (kind,)
    found = [option for option in options if dataclasses.is_dataclass(option)]
    tag = lambda cls: next(iter(typing.get_args(typing.get_type_hints(cls)["kind"])))
    return {tag(cls) if len(found) > 1 else "": cls for cls in found}


def is_union(kind):
    return typing.get_origin(kind) in (typing.Union, types.UnionType)
